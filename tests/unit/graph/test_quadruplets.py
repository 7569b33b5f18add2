from __future__ import annotations

import pytest
import torch
from ase import Atoms
from helpers import graphs_of

from gemnet_blocks.geometry.edges import EdgeSet, measure
from gemnet_blocks.graph.neighbor_list import VesinSearch
from gemnet_blocks.graph.quadruplets import Quadruplets, quadruplets
from gemnet_blocks.graph.symmetrize import Symmetrization
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles


def as_set(found: Quadruplets) -> set[oracles.Quadruplet]:
    outer, middle = (getattr(found.around_target, name)[found.target_triplet].tolist() for name in ("outer", "inner"))
    same_middle, inner = (
        getattr(found.around_source, name)[found.source_triplet].tolist() for name in ("outer", "inner")
    )
    assert middle == same_middle
    assert outer == found.outer.tolist()
    members = [oracles.Quadruplet(*three) for three in zip(outer, middle, inner, strict=True)]
    assert len(members) == len(set(members)) == found.count
    return set(members)


def all_edges(structures: Structures, cutoff: float) -> EdgeSet:
    return measure(VesinSearch()(structures, cutoff), structures, torch.float64)


@pytest.mark.parametrize("symmetrization", ["union", "lower_index"])
@pytest.mark.parametrize("middle", ["quad", "main", "atom_edge"])
def test_equal_to_the_oracle(any_structures: Structures, middle: str, symmetrization: Symmetrization) -> None:
    edge_sets = graphs_of(any_structures, symmetrize=symmetrization).edge_sets
    found = quadruplets(edge_sets["main"], edge_sets[middle])
    edges, through = oracles.edges_of(edge_sets["main"]), oracles.edges_of(edge_sets[middle])
    assert as_set(found) == oracles.quadruplets(edges, through)


def test_outer_edges_and_their_triplets_ascend(any_structures: Structures) -> None:
    edges = graphs_of(any_structures).main.edges
    found = quadruplets(edges, edges)
    assert (found.target_triplet.diff() >= 0).all()
    assert (found.outer.diff() >= 0).all()


def test_a_chain_of_four_atoms_is_one_quadruplet_each_way() -> None:
    chain = Structures.from_ase(Atoms("CCCC", positions=[[0, 1, 0], [0, 0, 0], [1, 0, 0], [1, 0, 1]]))
    edges = all_edges(chain, 1.1)
    found = quadruplets(edges, edges)
    ends = {
        (int(edges.source[q.outer]), int(edges.source[q.middle]), int(edges.source[q.inner])) for q in as_set(found)
    }
    assert ends == {(0, 2, 3), (3, 1, 0)}  # c, b, d: c→a is 0→1 or 3→2


def test_rings_of_three_close_no_quadruplet() -> None:
    triangle = Structures.from_ase(Atoms("OOO", positions=[[0, 0, 0], [1, 0, 0], [0.5, 0.9, 0]]))
    edges = all_edges(triangle, 1.5)
    assert edges.count == 6
    assert quadruplets(edges, edges).count == 0


def test_images_are_compared_along_the_whole_chain() -> None:
    # One atom on a line, edges ±1 only. From a at 0 through b at -1: c at +1 (not b), d at -2 (not a). From a through
    # b at +1 likewise. Comparing atoms without images would exclude everything, comparing d without b's image too much.
    chain = Structures.from_ase(Atoms("H", cell=[1, 0, 0], pbc=[True, False, False]))
    near = all_edges(chain, 1.5)
    assert quadruplets(near, near).count == 2
    # With edges ±1 and ±2 and the middle at -1: c in {+1, -2, +2}, d - b in {±1, ±2} without a, so d in {-2, -3, +1};
    # of these 9 combinations d ≠ c excludes (c, d) = (+1, +1) and (-2, -2).
    wide = all_edges(chain, 2.5)
    assert quadruplets(wide, near).count == 2 * 7


def test_the_triplets_around_the_middle_edge_are_all_of_them() -> None:
    structures = Structures.from_ase(Atoms("CCCC", positions=[[0, 1, 0], [0, 0, 0], [1, 0, 0], [1, 0, 1]]))
    edges = all_edges(structures, 3)
    found = quadruplets(edges, edges)
    # d→b→a with d ≠ a is the triplet d, a around b
    assert found.around_source.count == found.around_target.count == 4 * 3 * 2
