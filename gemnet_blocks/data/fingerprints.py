"""Fingerprints from interatomic distances, which recognize a structure in another orientation or order of atoms."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols
from torch import Tensor

from gemnet_blocks.graph.neighbor_list import neighbor_search
from gemnet_blocks.structures import Structures

Hashes = npt.NDArray[np.uint64]

_WAVES, _FIRST, _SPACING = 10, 130.0, 3.7
"""The number of wave numbers q, the smallest, and their spacing, in 1/Å: the phases q·d change if a distance changes by
0.01 Å, but hardly if it is rounded to 0.0001 Å."""

_SPREADS = 2
"""The number of wave numbers whose spread over the atoms is a feature too."""

_STEP = 0.1
"""The rounding of features, which are of the order of 1."""

_REACH = 5.0
"""Cutoff of the distances in Å."""


def fingerprints(structures: Structures) -> Hashes:
    """Hash each structure by its elements, the number of its periodic directions, and the distances between its atoms.

    With a phase c_m(Z) of each element, w(d) = (1 - (d/reach)²)², and n_s pairs, the features of a structure are

        A_im = Σ_j c_m(Z_i) c_m(Z_j) w(d_ij) exp(i q_m d_ij),   F_m = Σ_i A_im / 2,
        f_m = Re[(1 + F_m) exp(i q_m R)] / √(1 + Σ_pairs w² + |F_m|²),
        g_m = log(1 + Σ_i |A_im - mean of A_m over the atoms of Z_i|²),

    rounded to multiples of 0.1. R is the standard deviation of the positions perpendicular to the periodic directions,
    which depends on the distance of fragments, plus the edge of a cube (square, line) as large as the periodic part of
    the cell; the g_m distinguish a perfect crystal from one with a single displaced atom.
    Fingerprints are invariant under rotations, reflections, translations, permutations of the atoms, periodic images
    and the choice of lattice vectors.

    Args:
        structures: on the CPU.
    """
    rounded = np.rint(_features(structures)).astype(int).tolist()
    found = zip(_kinds(structures), rounded, strict=True)
    return np.array([np.bitwise_xor.reduce([kind, *map(_hash, enumerate(row))]) for kind, row in found], np.uint64)


def possible_fingerprints(structures: Structures) -> Iterator[Hashes]:
    """List the fingerprints of each structure with every feature rounded up or down.

    They include the fingerprint that the structure had before its coordinates were rounded to 0.0001 Å.

    Args:
        structures: on the CPU.
    """
    for kind, row in zip(_kinds(structures), _features(structures), strict=True):
        found = np.array([kind], np.uint64)
        for m, (low, high) in enumerate(zip(np.floor(row).astype(int), np.ceil(row).astype(int), strict=True)):
            found = np.concatenate([found ^ _hash((m, int(low))), found ^ _hash((m, int(high)))])
        yield found


def _features(structures: Structures) -> npt.NDArray[np.float64]:
    """The features of each structure, in units of their rounding."""
    pairs = neighbor_search("vesin")(structures, _REACH)  # each pair in both directions
    distance, target = pairs.distance.numpy(), pairs.target.numpy()
    numbers, home = structures.numbers.numpy(), structures.structure.numpy()
    weight = (1 - (distance / _REACH) ** 2) ** 2
    squares = _sums(weight**2, home[target], len(structures)) / 2
    of_elements = numbers[pairs.source.numpy()] + numbers[target]
    _, element, count = np.unique(home * len(chemical_symbols) + numbers, return_inverse=True, return_counts=True)
    factors = np.exp(1j * (_SPACING * distance + of_elements))  # c_m(Z) = exp(i m Z)
    terms = weight * np.exp(1j * _FIRST * distance)
    extent = _extents(structures)
    features, spreads = [], []
    for wave in range(_WAVES):
        of_atoms = _sums(terms, target, len(numbers))
        total = _sums(of_atoms, home, len(structures)) / 2
        turned = (1 + total) * np.exp(1j * (_FIRST + wave * _SPACING) * extent)
        features.append(turned.real / np.sqrt(1 + squares + np.abs(total) ** 2))
        if wave < _SPREADS:
            mean = (_sums(of_atoms, element, len(count)) / count)[element]
            spreads.append(np.log1p(_sums(np.abs(of_atoms - mean) ** 2, home, len(structures))))
        terms = terms * factors
    return np.stack([*features, *spreads], axis=-1) / _STEP


def _extents(structures: Structures) -> npt.NDArray[np.float64]:
    """R of each structure in Å."""
    extents = []
    cells, periodic = structures.cells.double().numpy(), structures.periodic.numpy()
    for positions, cell, on in zip(_split(structures.positions.double(), structures), cells, periodic, strict=True):
        along, lengths = np.linalg.qr(cell[on].T)
        across = positions - positions @ along @ along.T
        edge = abs(np.linalg.det(lengths)) ** (1 / len(lengths)) if len(lengths) else 0.0
        extents.append(edge + (np.sqrt(across.var(axis=0).sum()) if len(across) else 0.0))
    return np.array(extents)


def _sums(values: npt.NDArray[Any], index: npt.NDArray[np.int64], count: int) -> npt.NDArray[Any]:
    """Sum the real or complex values of each index."""
    if np.iscomplexobj(values):
        return _sums(values.real, index, count) + 1j * _sums(values.imag, index, count)
    return np.bincount(index, values, minlength=count)


def _kinds(structures: Structures) -> list[np.uint64]:
    """Hash the elements, the number of periodic directions, and the charge and spin, if known, of each structure."""
    directions = structures.periodic.sum(dim=-1).tolist()
    numbers = _split(structures.numbers, structures)
    states = [one.tolist() for one in (structures.charge, structures.spin) if one is not None]
    return [_hash((sorted(row.tolist()), *known)) for row, *known in zip(numbers, directions, *states, strict=True)]


def _split(values: Tensor, structures: Structures) -> list[npt.NDArray[Any]]:
    return np.split(values.numpy(), np.cumsum(structures.atom_counts.numpy())[:-1])


def _hash(value: object) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(repr(value).encode()).digest()[:8], "little"))
