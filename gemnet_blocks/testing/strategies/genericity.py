"""How far structures are from special cases: ties, lines, neighbors of their own; by brute force over images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemnet_blocks.structures import Structures

Array = np.ndarray[Any, np.dtype[np.float64]]

LEAST_DISTANCE = 0.7
"""Atoms of generic structures are at least so far apart, in Å: less than any bond."""
LEAST_DIFFERENCE = 1e-6
"""Distances from the same atom differ by more, in Å: rounding must not decide which neighbor is nearer."""
LEAST_SINE = 1e-3
"""The sine of any angle between two neighbors is greater: derivatives of angles grow with its inverse."""


@dataclass(frozen=True, slots=True)
class Margins:
    """The distance to the nearest special case among the neighbors of all atoms; infinite where there is none.

    Attributes:
        distance: the shortest distance of two atoms in Å.
        difference: the smallest difference of two distances from the same atom in Å.
        sine: the smallest sine of the angle between two neighbors of the same atom.
        own_image: the shortest distance of an atom from an image of itself in Å.
    """

    distance: float
    difference: float
    sine: float
    own_image: float


def margins(structures: Structures, cutoff: float) -> Margins:
    """Measure all structures together, with neighbors within a cutoff in Å."""
    found = [_of_atom(vectors, own) for vectors, own in _neighbors(structures, cutoff)]
    columns = zip(*found, strict=True) if found else [(math.inf,)] * 4
    return Margins(*(min(column) for column in columns))


def is_generic(structures: Structures, cutoff: float) -> bool:
    """Whether no atom has neighbors at the same distance, in line with it, upon it or that are its own images.

    Args:
        structures: one or many.
        cutoff: of neighbors, in Å.
    """
    found = margins(structures, cutoff)
    return (
        found.distance >= LEAST_DISTANCE
        and found.difference > LEAST_DIFFERENCE
        and found.sine > LEAST_SINE
        and found.own_image == math.inf
    )


def _neighbors(structures: Structures, cutoff: float) -> Iterator[tuple[Array, Array]]:
    """For each atom, the vectors to its neighbors, and whether each is its own image."""
    for index in range(len(structures)):
        one = structures[index]
        positions = one.positions.detach().double().numpy()
        translations = _translations(one, positions, cutoff)
        atoms = np.arange(len(positions))
        for atom in atoms:
            vectors = positions[None] - positions[atom] + translations[:, None]
            own = np.broadcast_to(atoms == atom, vectors.shape[:2])
            itself = own & (translations == 0).all(axis=1, keepdims=True)
            near = (np.einsum("tnc,tnc->tn", vectors, vectors) <= cutoff**2) & ~itself
            yield vectors[near], own[near]


def _translations(one: Structures, positions: Array, cutoff: float) -> Array:
    """All lattice translations that may bring an image of an atom within the cutoff of another atom."""
    cell: Array = one.cells[0][one.periodic[0]].detach().double().numpy()
    if not len(cell) or not len(positions):
        return np.zeros((1, 3))
    reciprocal = np.linalg.pinv(cell)  # columns b_k with a_k · b_l = δ_kl, in the span of the lattice
    reach = cutoff * np.linalg.norm(reciprocal, axis=0) + np.ptp(positions @ reciprocal, axis=0)
    counts = [np.arange(-math.ceil(most), math.ceil(most) + 1) for most in reach]
    return np.array(list(itertools.product(*counts))) @ cell


def _of_atom(vectors: Array, own: Array) -> tuple[float, float, float, float]:
    """The four margins of one atom."""
    distances = np.linalg.norm(vectors, axis=1)
    away = distances > 1e-9
    units = vectors[away] / distances[away, None]
    cosines = (units @ units.T)[np.triu_indices(len(units), k=1)]
    return (
        float(distances.min(initial=math.inf)),
        float(np.diff(np.sort(distances)).min(initial=math.inf)),
        float(np.sqrt(np.clip(1 - cosines**2, 0, None)).min(initial=math.inf)),
        float(distances[own].min(initial=math.inf)),
    )
