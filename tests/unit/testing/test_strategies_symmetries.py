"""Symmetries are drawn of every kind that means something, the simplest first."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from ase import Atoms
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.strategies import (
    batches,
    cell_changes,
    permutations,
    reorderings,
    rotations,
    structures,
    supercells,
    symmetries,
    translations,
)
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

quick = partial(settings, derandomize=True, deadline=None, database=None, phases=(Phase.generate, Phase.shrink))
CRYSTAL = Structures.from_ase([Atoms("CO", [[0, 0, 0], [0, 0, 1]], cell=[4, 4, 4], pbc=True), Atoms("H")])
MOLECULE = Structures.from_ase(Atoms("CO", [[0, 0, 0], [0, 0, 1]]))


def kinds_for(structures: Structures) -> set[type[Symmetry]]:
    kinds: set[type[Symmetry]] = set()

    @quick(max_examples=100)
    @given(symmetries(structures))
    def collect(symmetry: Symmetry) -> None:
        kinds.add(type(symmetry))

    collect()
    return kinds


def test_all_that_apply() -> None:
    everywhere = {Rotation, Translation, Permutation}
    assert kinds_for(CRYSTAL) == everywhere | {Alone, CellChange, Reordering, Supercell}
    assert kinds_for(MOLECULE) == everywhere | {Alone}
    assert kinds_for(Structures.from_ase([])) == everywhere


@quick(max_examples=60)
@given(st.data())
def test_whatever_is_drawn_fits(data: st.DataObject) -> None:
    many = data.draw(batches(structures(max_atoms=6)))
    data.draw(symmetries(many)).apply(many).validate()


@quick(max_examples=50)
@given(permutations(CRYSTAL))
def test_permutations_keep_atoms_in_their_structures(permutation: Permutation) -> None:
    assert permutation.order in ((0, 1, 2), (1, 0, 2))


def test_reflections_are_optional() -> None:
    seen: set[bool] = set()

    @quick(max_examples=30)
    @given(rotations(reflections=False), rotations())
    def collect(proper: Rotation, any_rotation: Rotation) -> None:
        assert float(torch.det(proper.matrix)) == pytest.approx(1)
        seen.add(any_rotation.reflect)

    collect()
    assert seen == {True, False}


@quick(max_examples=50)
@given(supercells(max_images=5, extensive=False))
def test_supercells_are_small(supercell: Supercell) -> None:
    assert math.prod(supercell.repeats) <= 5
    assert not supercell.extensive


@pytest.mark.parametrize(
    ("strategy", "simplest"),
    [
        (rotations(), Rotation(0, 0, 0)),
        (translations(), Translation(0, 0, 0)),
        (cell_changes(), CellChange(())),
        (reorderings(), Reordering((0, 1, 2))),
        (supercells(), Supercell((1, 1, 1))),
        (permutations(CRYSTAL), Permutation((0, 1, 2))),
    ],
)
def test_the_simplest_is_the_identity(strategy: st.SearchStrategy[Symmetry], simplest: Symmetry) -> None:
    assert find(strategy, lambda symmetry: True, settings=quick()) == simplest


def test_symmetries_shrink() -> None:
    shear = find(cell_changes(), lambda change: any(abs(n) > 1 for *_, n in change.shears), settings=quick())
    assert shear == CellChange(((0, 1, 2),))
