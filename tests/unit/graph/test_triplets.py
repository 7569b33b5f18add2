from __future__ import annotations

import pytest
import torch
from ase import Atoms
from helpers import graphs_of

from gemnet_blocks.geometry.edges import EdgeSet, measure
from gemnet_blocks.graph.neighbor_list import VesinSearch
from gemnet_blocks.graph.symmetrize import Symmetrization, symmetrize
from gemnet_blocks.graph.triplets import Triplets, triplets
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles


def as_set(found: Triplets) -> set[oracles.Triplet]:
    members = [oracles.Triplet(*pair) for pair in zip(found.outer.tolist(), found.inner.tolist(), strict=True)]
    assert len(members) == len(set(members)) == found.count
    return set(members)


def all_edges(structures: Structures, cutoff: float) -> EdgeSet:
    return measure(symmetrize(VesinSearch()(structures, cutoff), "union").pairs, structures, torch.float64)


@pytest.mark.parametrize("symmetrization", ["union", "lower_index"])
@pytest.mark.parametrize(
    ("outer", "inner"), [("main", "main"), ("main", "atom_edge"), ("atom_edge", "main"), ("atom", "quad")]
)
def test_equal_to_the_oracle(
    any_structures: Structures, outer: str, inner: str, symmetrization: Symmetrization
) -> None:
    edge_sets = graphs_of(any_structures, symmetrize=symmetrization).edge_sets
    found = triplets(edge_sets[outer], edge_sets[inner])
    expected = oracles.triplets(oracles.edges_of(edge_sets[outer]), oracles.edges_of(edge_sets[inner]))
    assert as_set(found) == expected


def test_outer_edges_ascend(any_structures: Structures) -> None:
    edges = all_edges(any_structures, 4.0)
    assert (triplets(edges, edges).outer.diff() >= 0).all()


def test_a_molecule_of_three_has_an_angle_each_way_at_each_atom() -> None:
    water = Structures.from_ase(Atoms("HOH", positions=[[0.8, 0.6, 0], [0, 0, 0], [-0.8, 0.6, 0]]))
    assert triplets(all_edges(water, 3), all_edges(water, 3)).count == 6
    assert triplets(all_edges(water, 1.2), all_edges(water, 1.2)).count == 2


def test_images_of_one_atom_are_different_neighbors() -> None:
    # one atom repeated along a line sees four images of itself: ±1, ±2
    chain = Structures.from_ase(Atoms("H", cell=[1, 0, 0], pbc=[True, False, False]))
    edges = all_edges(chain, 2.5)
    assert edges.count == 4
    assert triplets(edges, edges).count == 4 * 3


def test_mixed_triplets_exclude_only_the_edge_itself() -> None:
    chain = Structures.from_ase(Atoms("H", cell=[1, 0, 0], pbc=[True, False, False]))
    near, far = all_edges(chain, 1.5), all_edges(chain, 2.5)
    assert triplets(near, far).count == 2 * 3
    assert triplets(far, near).count == 2 * 1 + 2 * 2
