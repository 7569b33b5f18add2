"""Degenerate structures are what their names say, can all be computed, and shrink to few atoms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gemnet_blocks.graph.neighbor_list import VesinSearch
from gemnet_blocks.structures import UNKNOWN_TAG, Structures
from gemnet_blocks.testing.strategies import (
    chains,
    coincident,
    degenerate_structures,
    empty,
    isolated,
    margins,
    perfect_crystals,
    perfect_slabs,
    planar,
    shells,
    tiny_cells,
)
from gemnet_blocks.testing.strategies.degenerate import SHELLS

quick = partial(settings, derandomize=True, deadline=None, database=None, phases=(Phase.generate, Phase.shrink))
KINDS = [isolated, chains, planar, shells, coincident, tiny_cells, perfect_crystals, perfect_slabs]
Kind = Callable[..., st.SearchStrategy[Structures]]


def all_examples(strategy: st.SearchStrategy[Structures], count: int = 60) -> list[Structures]:
    seen: list[Structures] = []

    @quick(max_examples=count)
    @given(strategy)
    def collect(structures: Structures) -> None:
        seen.append(structures)

    collect()
    return seen


def rank(structures: Structures) -> int:
    """The dimensions that the atoms extend in."""
    positions = structures.positions
    return int(torch.linalg.matrix_rank(positions - positions[:1], atol=1e-9)) if len(positions) else 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_atoms", [3, 20])
def test_every_example_can_be_computed(kind: Kind, max_atoms: int) -> None:
    for structures in all_examples(kind(max_atoms, (26, 8)), 15):
        structures.validate(element_count=83, needs_tags=True)
        assert len(structures) == 1
        assert structures.positions.dtype == torch.float64
        assert structures.atom_count <= max_atoms
        assert set(structures.numbers.tolist()) <= {26, 8}
        VesinSearch()(structures, 3.0)


@pytest.mark.parametrize("kind", KINDS)
def test_some_have_no_tags_if_allowed(kind: Kind) -> None:
    unknown = [bool((one.tags == UNKNOWN_TAG).any()) for one in all_examples(kind(tags=False), 30)]
    assert any(unknown)
    assert not all(unknown)


def test_isolated_atoms_have_no_neighbors() -> None:
    for structures in all_examples(isolated()):
        assert structures.atom_count >= 1
        assert len(VesinSearch()(structures, 12.0)) == 0


def test_chains_are_straight() -> None:
    seen = all_examples(chains())
    assert all(rank(structures) <= 1 for structures in seen)
    assert {tuple(structures.periodic[0].tolist()) for structures in seen} == {(True, False, False), (False,) * 3}
    ties = [margins(structures, 3.0).difference < 1e-9 for structures in seen if structures.atom_count > 3]
    assert any(ties)
    assert not all(ties)


def test_planes_are_flat() -> None:
    seen = all_examples(planar())
    assert max(map(rank, seen)) == 2
    assert {int(structures.periodic.sum()) for structures in seen} == {0, 1, 2}


def test_shells_have_ties() -> None:
    for structures in all_examples(shells()):
        away = (structures.positions - structures.positions[0]).norm(dim=1)[1:]
        assert len(away) >= 2
        assert float(away.max() - away.min()) < 1e-12


def test_shells_are_regular() -> None:
    assert {name: len(corners) for name, corners in SHELLS.items()} == {
        "triangle": 3,
        "square": 4,
        "pentagon": 5,
        "hexagon": 6,
        "tetrahedron": 4,
        "octahedron": 6,
        "cube": 8,
        "cuboctahedron": 12,
        "icosahedron": 12,
    }
    neighbors = {"tetrahedron": 3, "octahedron": 4, "cube": 3, "cuboctahedron": 4, "icosahedron": 5}
    for name, corners in SHELLS.items():
        points = torch.tensor(corners, dtype=torch.float64)
        distances = torch.cdist(points, points).fill_diagonal_(math.inf)
        nearest = (distances < distances.min() + 1e-6).sum(dim=1)
        assert torch.allclose(points.norm(dim=1), torch.ones(len(points), dtype=torch.float64)), name
        assert nearest.tolist() == [neighbors.get(name, 2)] * len(points), name


def test_coincident_atoms_coincide() -> None:
    seen = all_examples(coincident(), 200)
    for structures in seen:
        assert margins(structures, 1.0).distance < 1e-9
    exact = [len(structures.positions.unique(dim=0)) < structures.atom_count for structures in seen]
    assert any(exact)
    assert not all(exact), "through periodic images too"


def test_tiny_cells_are_smaller_than_cutoffs() -> None:
    seen = all_examples(tiny_cells())
    for structures in seen:
        assert 1 <= structures.atom_count <= 3
        assert margins(structures, 4.0).own_image < 4
        assert margins(structures, 4.0).distance > 0.4
    assert any(float(structures.cells.tril(-1).abs().max()) > 0 for structures in seen)


def test_empty_structures_have_cells_or_none() -> None:
    seen = all_examples(empty())
    assert all(structures.atom_count == 0 and len(structures) == 1 for structures in seen)
    assert {bool(structures.periodic.any()) for structures in seen} == {True, False}


def test_perfect_crystals_have_the_right_neighbors() -> None:
    """Coordination numbers 6, 12, 8, 12, 4 and 6; every atom sees the same distances, or one of two sorts."""
    seen = all_examples(perfect_crystals(), 150)
    coordination: set[int] = set()
    for structures in seen:
        if bool(structures.periodic.all()):
            pairs = VesinSearch()(structures, 7.5)
            nearest = pairs.distance <= pairs.distance.min() + 1e-6
            counts = pairs.target[nearest].bincount(minlength=structures.atom_count)
            assert len(counts.unique()) == 1
            coordination.add(int(counts[0]))
    assert {4, 6, 8, 12} <= coordination
    assert len({tuple(structures.periodic[0].tolist()) for structures in seen}) == 7
    assert any(len(structures.numbers.unique()) == 2 for structures in seen), "rocksalt"


def heights(structures: Structures, tag: int) -> Tensor:
    return structures.positions[structures.tags == tag, 2]


def test_perfect_slabs_are_tagged() -> None:
    seen = all_examples(perfect_slabs(), 150)
    present: Counter[tuple[int, ...]] = Counter()
    for structures in seen:
        present[tuple(structures.tags.unique().tolist())] += 1
        top = heights(structures, 1)
        assert len(top) >= 1
        assert float(top.max() - top.min()) < 1e-9
        assert bool((heights(structures, 0) < top[0] - 0.3).all())
        assert bool((heights(structures, 2) > top[0] + 0.9).all())
        assert structures.periodic[0, :2].all()
        assert not bool(structures.fixed.any()) or torch.equal(structures.fixed, structures.tags == 0)
    assert set(present) == {(1,), (0, 1), (1, 2), (0, 1, 2)}
    assert any(bool(structures.fixed.any()) for structures in seen)


def two_neighbors_of_oxygen(structures: Structures) -> bool:
    pairs = VesinSearch()(structures, 2.5)
    neighbors = pairs.target.bincount(minlength=structures.atom_count)
    return bool(((structures.numbers == 8) & (neighbors >= 2)).any())


@pytest.mark.parametrize("kind", [chains, shells, degenerate_structures])
def test_examples_shrink_to_what_matters(kind: Kind) -> None:
    smallest = find(kind(max_atoms=6), two_neighbors_of_oxygen, settings=quick(max_examples=1000))
    assert smallest.atom_count <= 3
    assert set(smallest.numbers.tolist()) <= {1, 8}


def test_all_kinds_are_drawn() -> None:
    seen = all_examples(degenerate_structures(), 300)
    assert {0, 1, 2, 3} < {structures.atom_count for structures in seen}
    assert any(margins(structures, 4.0).distance < 1e-9 for structures in seen)
    assert any(margins(structures, 4.0).own_image < 2 for structures in seen)
    assert any(structures.atom_count > 20 for structures in seen)
