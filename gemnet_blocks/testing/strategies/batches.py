"""Strategies of batches and of symmetries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import fields

import torch
from hypothesis import strategies as st

from gemnet_blocks.structures import NEUTRAL, Structures, joined_states
from gemnet_blocks.testing.strategies.degenerate import degenerate_structures
from gemnet_blocks.testing.strategies.generic import ELEMENTS, generic_structures
from gemnet_blocks.testing.symmetries import (
    Alone,
    CellChange,
    Permutation,
    Reordering,
    Rotation,
    Supercell,
    Symmetry,
    Translation,
)


def concatenate(many: Sequence[Structures]) -> Structures:
    """Concatenate structures or batches to one batch; without structures, it is an empty batch in float64."""
    if not many:
        return Structures.from_ase([])
    columns = {
        field.name: torch.cat([getattr(one, field.name) for one in many])
        for field in fields(Structures)
        if field.name not in ("structure", *NEUTRAL)
    }
    counts = torch.cat([one.atom_counts for one in many])
    index = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return Structures(
        structure=index, charge=joined_states("charge", many), spin=joined_states("spin", many), **columns
    )


def structures(
    max_atoms: int = 60, cutoff: float = 4.0, elements: Sequence[int] = ELEMENTS, tags: bool = True
) -> st.SearchStrategy[Structures]:
    """Draw a generic or degenerate structure.

    Args:
        max_atoms: maximum number of atoms, at least 3.
        cutoff: cutoff in Å within which neighborhoods of generic structures are generic.
        elements: atomic numbers, of which the first is the simplest.
        tags: give all atoms tags; otherwise some structures do not have tags.
    """
    return generic_structures(max_atoms, cutoff, elements, tags) | degenerate_structures(max_atoms, elements, tags)


@st.composite
def batches(
    draw: st.DrawFn,
    structures: st.SearchStrategy[Structures] | None = None,
    max_structures: int = 4,
    min_structures: int = 0,
) -> Structures:
    """Draw a batch of structures, which may be empty.

    Args:
        structures: strategy of a structure; None: structures of all kinds with up to 15 atoms.
        max_structures: maximum number of structures.
        min_structures: minimum number of structures.
    """
    one = _SMALL if structures is None else structures
    return concatenate(draw(st.lists(one, min_size=min_structures, max_size=max_structures)))


_SMALL = structures(max_atoms=15)


_ANGLES = st.sampled_from((0.0, math.pi / 2, math.pi)) | st.floats(0, 6.25)
_COORDINATES = st.floats(-100, 100)


def rotations(reflections: bool = True) -> st.SearchStrategy[Rotation]:
    """Draw a rotation by random or right angles.

    Args:
        reflections: combine half of the rotations with the inversion.
    """
    reflect = st.booleans() if reflections else st.just(False)
    return st.builds(Rotation, alpha=_ANGLES, beta=_ANGLES, gamma=_ANGLES, reflect=reflect)


def translations() -> st.SearchStrategy[Translation]:
    """Draw a translation of up to 100 Å along each axis."""
    return st.builds(Translation, x=_COORDINATES, y=_COORDINATES, z=_COORDINATES)


@st.composite
def permutations(draw: st.DrawFn, structures: Structures) -> Permutation:
    """Draw a permutation of the atoms of each structure.

    Args:
        structures: batch whose atoms are permuted.
    """
    order: list[int] = []
    for count in structures.atom_counts.tolist():
        order += draw(st.permutations(range(len(order), len(order) + count)))
    return Permutation(tuple(order))


def cell_changes() -> st.SearchStrategy[CellChange]:
    """Draw up to three shears of the cell and translations of atoms to their images."""
    axes = st.sampled_from(tuple(itertools.permutations(range(3), 2)))
    shear = st.builds(lambda axes, n: (*axes, n), axes, st.sampled_from((1, -1, 2, -2)))
    shears = st.lists(shear, max_size=3).map(tuple)
    shifts = st.lists(st.tuples(*[st.integers(-3, 3)] * 3), max_size=4).map(tuple)
    return st.builds(CellChange, shears=shears, shifts=shifts)


def reorderings() -> st.SearchStrategy[Reordering]:
    """Draw a permutation of the lattice vectors."""
    return st.builds(Reordering, axes=st.sampled_from(tuple(itertools.permutations(range(3)))))


def supercells(max_images: int = 4, extensive: bool = True) -> st.SearchStrategy[Supercell]:
    """Draw a supercell, of which the smallest is the simplest.

    Args:
        max_images: maximum number of images of an atom.
        extensive: True if the energy is a sum over atoms, False if it is their mean.
    """
    repeats = [
        repeats for repeats in itertools.product(range(1, max_images + 1), repeat=3) if math.prod(repeats) <= max_images
    ]
    return st.builds(Supercell, repeats=st.sampled_from(sorted(repeats, key=math.prod)), extensive=st.just(extensive))


def symmetries(structures: Structures, extensive: bool = True, max_images: int = 4) -> st.SearchStrategy[Symmetry]:
    """Draw a symmetry of any kind that applies to the structures.

    Args:
        structures: structures to which the symmetry will be applied.
        extensive: True if the energy is a sum over atoms, False if it is their mean.
        max_images: maximum number of images of an atom in supercells.
    """
    kinds: list[st.SearchStrategy[Symmetry]] = [translations(), rotations(), permutations(structures)]
    if len(structures):
        kinds.append(st.builds(Alone, index=st.integers(0, len(structures) - 1)))
    if bool(structures.periodic.any()):
        kinds += [reorderings(), cell_changes(), supercells(max_images, extensive)]
    return st.one_of(*kinds)
