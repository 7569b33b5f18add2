"""Batches of structures of all kinds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import fields

import torch
from hypothesis import strategies as st

from gemnet_blocks.structures import Structures
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
    """Put structures, or batches of them, one after another into one batch; without any, an empty one in float64."""
    if not many:
        return Structures.from_ase([])
    columns = {
        field.name: torch.cat([getattr(one, field.name) for one in many])
        for field in fields(Structures)
        if field.name != "structure"
    }
    counts = torch.cat([one.atom_counts for one in many])
    index = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return Structures(structure=index, **columns)


def structures(
    max_atoms: int = 60, cutoff: float = 4.0, elements: Sequence[int] = ELEMENTS, tags: bool = True
) -> st.SearchStrategy[Structures]:
    """One structure of any kind, generic or degenerate.

    Args:
        max_atoms: the largest number of atoms, at least 3.
        cutoff: of neighbors, in Å, among which nothing is special in generic structures.
        elements: atomic numbers, the simplest first.
        tags: whether all atoms have tags; otherwise some structures have none.
    """
    return generic_structures(max_atoms, cutoff, elements, tags) | degenerate_structures(max_atoms, elements, tags)


@st.composite
def batches(
    draw: st.DrawFn,
    structures: st.SearchStrategy[Structures] | None = None,
    max_structures: int = 4,
    min_structures: int = 0,
) -> Structures:
    """Several structures in one batch, or none at all.

    Args:
        structures: what each is drawn from; None for all kinds of up to 15 atoms.
        max_structures: the largest number of them.
        min_structures: the smallest.
    """
    one = _any_small() if structures is None else structures
    return concatenate(draw(st.lists(one, min_size=min_structures, max_size=max_structures)))


def _any_small() -> st.SearchStrategy[Structures]:
    return structures(max_atoms=15)


_ANGLES = st.sampled_from((0.0, math.pi / 2, math.pi)) | st.floats(0, 6.25)
_COORDINATES = st.floats(-100, 100)


def rotations(reflections: bool = True) -> st.SearchStrategy[Rotation]:
    """Rotations by any angles, right ones among them.

    Args:
        reflections: whether half of them are combined with the inversion.
    """
    reflect = st.booleans() if reflections else st.just(False)
    return st.builds(Rotation, alpha=_ANGLES, beta=_ANGLES, gamma=_ANGLES, reflect=reflect)


def translations() -> st.SearchStrategy[Translation]:
    """Translations of up to 100 Å along each axis."""
    return st.builds(Translation, x=_COORDINATES, y=_COORDINATES, z=_COORDINATES)


@st.composite
def permutations(draw: st.DrawFn, structures: Structures) -> Permutation:
    """Other orders of the atoms of each structure.

    Args:
        structures: the batch whose atoms are permuted.
    """
    order: list[int] = []
    for count in structures.atom_counts.tolist():
        order += draw(st.permutations(range(len(order), len(order) + count)))
    return Permutation(tuple(order))


def cell_changes() -> st.SearchStrategy[CellChange]:
    """Other cells of the same crystals: up to three shears and some images of atoms."""
    axes = st.sampled_from(tuple(itertools.permutations(range(3), 2)))
    shears = st.lists(st.tuples(axes, st.sampled_from((1, -1, 2, -2))).map(_shear), max_size=3).map(tuple)
    whole = st.integers(-3, 3)
    shifts = st.lists(st.tuples(whole, whole, whole), max_size=4).map(tuple)
    return st.builds(CellChange, shears=shears, shifts=shifts)


def reorderings() -> st.SearchStrategy[Reordering]:
    """All orders of the lattice vectors."""
    return st.builds(Reordering, axes=st.sampled_from(tuple(itertools.permutations(range(3)))))


def supercells(max_images: int = 4, extensive: bool = True) -> st.SearchStrategy[Supercell]:
    """Supercells, the smallest first.

    Args:
        max_images: the largest number of images of an atom.
        extensive: whether the energy is a sum over atoms.
    """
    repeats = [
        repeats for repeats in itertools.product(range(1, max_images + 1), repeat=3) if math.prod(repeats) <= max_images
    ]
    return st.builds(Supercell, repeats=st.sampled_from(sorted(repeats, key=math.prod)), extensive=st.just(extensive))


def symmetries(structures: Structures, extensive: bool = True, max_images: int = 4) -> st.SearchStrategy[Symmetry]:
    """Any symmetry that means something for these structures.

    Args:
        structures: what it will be applied to.
        extensive: whether the energy is a sum over atoms.
        max_images: the largest number of images of an atom in supercells.
    """
    kinds: list[st.SearchStrategy[Symmetry]] = [translations(), rotations(), permutations(structures)]
    if len(structures):
        kinds.append(st.builds(Alone, index=st.integers(0, len(structures) - 1)))
    if bool(structures.periodic.any()):
        kinds += [reorderings(), cell_changes(), supercells(max_images, extensive)]
    return st.one_of(*kinds)


def _shear(drawn: tuple[Sequence[int], int]) -> tuple[int, int, int]:
    (i, j), n = drawn
    return i, j, n
