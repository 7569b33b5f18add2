"""Generic structures have no special case, whatever is asked for, and shrink to few atoms."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from gemnet_blocks.graph.neighbor_list import VesinSearch
from gemnet_blocks.structures import UNKNOWN_TAG, Structures
from gemnet_blocks.testing.strategies import (
    clusters,
    crystals,
    generic_structures,
    is_generic,
    margins,
    molecules,
    slabs,
)

quick = partial(settings, derandomize=True, deadline=None, database=None, phases=(Phase.generate, Phase.shrink))
KINDS = [molecules, clusters, crystals, slabs]
Kind = Callable[..., st.SearchStrategy[Structures]]


def all_examples(strategy: st.SearchStrategy[Structures], count: int = 30) -> list[Structures]:
    seen: list[Structures] = []

    @quick(max_examples=count)
    @given(strategy)
    def collect(structures: Structures) -> None:
        seen.append(structures)

    collect()
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_is_generic(kind: Kind) -> None:
    for structures in all_examples(kind()):
        structures.validate(element_count=83, needs_tags=True)
        assert len(structures) == 1
        assert structures.positions.dtype == torch.float64
        assert is_generic(structures, 4.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("max_atoms", "cutoff", "min_atoms"), [(1, 4.0, 0), (3, 6.0, 2), (20, 2.0, 10), (12, 8.0, 0)])
def test_requested_properties_hold(kind: Kind, max_atoms: int, cutoff: float, min_atoms: int) -> None:
    for structures in all_examples(kind(max_atoms, cutoff, (26, 8), min_atoms=min_atoms), count=15):
        assert min_atoms <= structures.atom_count <= max_atoms
        assert set(structures.numbers.tolist()) <= {26, 8}
        assert is_generic(structures, cutoff)


def test_margins_of_known_structures() -> None:
    chain = margins(Structures.from_ase(Atoms("H3", [[0, 0, 0], [1, 0, 0], [2, 0, 0]])), 5)
    assert (chain.distance, chain.difference, chain.sine, chain.own_image) == (1, 0, 0, math.inf)
    corner = margins(Structures.from_ase(Atoms("H3", [[0, 0, 0], [1, 0, 0], [0, 2, 0]])), 2.1)
    assert (corner.distance, corner.difference, corner.sine) == (1, 1, 1)
    cell = Atoms("H", [[7, 8, 9]], cell=[[3, 0, 0], [2.9, 1, 0], [0, 0, 9]], pbc=[True, True, True])
    assert margins(Structures.from_ase(cell), 4).own_image == pytest.approx(math.hypot(0.1, 1))
    assert margins(Structures.from_ase([]), 4).distance == math.inf
    twins = margins(Structures.from_ase(Atoms("H2", [[1, 1, 1], [1, 1, 1]])), 4)
    assert (twins.distance, twins.sine) == (0, math.inf)


@pytest.mark.parametrize(
    "positions",
    [
        [[0, 0, 0], [0.6, 0, 0]],
        [[0, 0, 0], [1, 0, 0], [0, 1, 0]],
        [[0, 0, 0], [1, 0, 0], [2.5, 0, 0]],
        [[0, 0, 0], [1, 0, 0], [0, 1 + 1e-7, 0]],
        [[0, 0, 0], [1, 0, 0], [2.5, 1e-4, 0]],
    ],
)
def test_special_cases_are_noticed(positions: list[list[float]]) -> None:
    structures = Structures.from_ase(Atoms(f"H{len(positions)}", positions))
    assert not is_generic(structures, 4.0)
    assert is_generic(structures, 0.1)


@quick(max_examples=40)
@given(generic_structures(max_atoms=12))
def test_margins_see_the_neighbors_that_a_search_finds(structures: Structures) -> None:
    found = margins(structures, 4.0)
    pairs = VesinSearch()(structures, 4.0)
    assert found.distance == pytest.approx(float(pairs.distance.min()) if len(pairs.distance) else math.inf)
    assert found.own_image == math.inf
    assert not bool((pairs.source == pairs.target).any())


@quick(max_examples=20)
@given(crystals(max_atoms=6), st.tuples(*[st.integers(-2, 2)] * 3))
def test_margins_do_not_depend_on_which_images_are_given(structures: Structures, shift: tuple[int, int, int]) -> None:
    moves = torch.tensor(shift) * structures.periodic[0]
    structures.positions[: structures.atom_count // 2] += moves.double() @ structures.cells[0]
    assert is_generic(structures, 4.0)


def test_examples_are_of_all_kinds() -> None:
    seen = all_examples(generic_structures(tags=False), 400)
    counts = np.array([structures.atom_count for structures in seen])
    assert counts.min() == 0
    assert counts.max() > 40
    assert np.median(counts) < 15
    assert {tuple(structures.periodic[0].tolist()) for structures in seen} == set(np.ndindex(2, 2, 2))
    assert any(float(structures.cells.abs().max()) > 100 for structures in seen), "huge cells"
    assert any(not bool(structures.cells.any()) for structures in seen), "no cells"
    assert any(float(structures.cells[0].det()) < 0 for structures in seen), "left-handed cells"
    assert any(bool(structures.fixed.any()) for structures in seen)
    assert any(bool((structures.tags == UNKNOWN_TAG).any()) for structures in seen)
    inside = [
        (structures.positions @ structures.cells[0].inverse() - 0.5).abs().max() < 0.6
        for structures in seen
        if bool(structures.periodic.all()) and structures.atom_count
    ]
    assert any(inside)
    assert not all(inside), "atoms outside of their cells"


def test_slabs_are_tagged_from_the_bottom_to_the_top() -> None:
    seen = all_examples(slabs(min_atoms=5))
    assert {tag for structures in seen for tag in structures.tags.tolist()} == {0, 1, 2}
    assert any(bool(structures.periodic.all()) for structures in seen)
    for structures in seen:
        assert int(structures.periodic.sum()) >= 2
        assert not bool(structures.fixed.any()) or torch.equal(structures.fixed, structures.tags == 0)
        assert any(bool(in_order(structures.positions[:, axis], structures.tags)) for axis in range(3))
        metal = structures.numbers[structures.tags < 2]
        assert len(metal.unique()) <= 1


def in_order(heights: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """Whether every atom is higher than all of a smaller tag."""
    return ((heights[:, None] > heights) | (tags[:, None] <= tags)).all()


def two_neighbors_of_oxygen(structures: Structures) -> bool:
    pairs = VesinSearch()(structures, 2.5)
    neighbors = pairs.target.bincount(minlength=structures.atom_count)
    return bool(((structures.numbers == 8) & (neighbors >= 2)).any())


@pytest.mark.parametrize("kind", [crystals, generic_structures])
def test_examples_shrink_to_what_matters(kind: Kind) -> None:
    smallest = find(kind(max_atoms=6), two_neighbors_of_oxygen, settings=quick(max_examples=1000))
    assert smallest.atom_count <= 3
    assert set(smallest.numbers.tolist()) <= {1, 8}
    if kind is generic_structures:
        assert not bool(smallest.periodic.any())
        assert not bool(smallest.cells.any())


def test_large_examples_shrink_too() -> None:
    large = find(
        molecules(max_atoms=30), lambda structures: structures.atom_count >= 4, settings=quick(max_examples=1000)
    )
    assert large.atom_count == 4
    assert set(large.numbers.tolist()) == {1}


def test_dropping_an_atom_leaves_the_others_in_place() -> None:
    """Jitters belong to sites, so that shrinking does not move everything."""
    seen = all_examples(molecules(max_atoms=2, min_atoms=1), 100)
    places = {tuple(position) for one in seen if one.atom_count == 1 for position in one.positions.tolist()}
    shared = [one for one in seen if one.atom_count == 2 and tuple(one.positions[0].tolist()) in places]
    assert shared
