from __future__ import annotations

import pytest
import torch
from ase import Atoms
from helpers import KINDS, graphs_of

from gemnet_blocks.geometry.edges import EdgeSet, measure
from gemnet_blocks.graph.neighbor_list import VesinSearch
from gemnet_blocks.graph.padded import Chains, chains
from gemnet_blocks.graph.quadruplets import quadruplets
from gemnet_blocks.graph.symmetrize import Symmetrization, symmetrize
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles


def as_set(found: Chains) -> set[oracles.Quadruplet]:
    """Both kinds of triplets joined at the middle edge, without those that close."""
    at_source: dict[int, list[int]] = {}
    for triplet, middle in enumerate(found.around_source.outer.tolist()):
        at_source.setdefault(middle, []).append(triplet)
    inner_edge = found.around_source.inner.tolist()
    members = []
    for group, closing in zip(found.around_target.groups, found.closing, strict=True):
        for place in group.pair.nonzero().tolist():
            atom, outer, inner = place
            middle, closed = int(group.inner[atom, inner]), int(closing[atom, outer, inner])
            triplets = at_source.get(middle, [])
            assert closed in (-1, *triplets)
            members += [
                oracles.Quadruplet(int(group.outer[atom, outer]), middle, inner_edge[triplet])
                for triplet in triplets
                if triplet != closed
            ]
        assert (closing[~group.pair] == -1).all()
    assert len(members) == len(set(members)) == found.count
    return set(members)


def all_edges(structures: Structures, cutoff: float) -> EdgeSet:
    return measure(VesinSearch()(structures, cutoff), structures, torch.float64)


def closed(found: Chains) -> int:
    return sum(int((closing >= 0).sum()) for closing in found.closing)


@pytest.mark.parametrize("symmetrization", ["union", "lower_index"])
def test_equal_to_the_oracle(any_structures: Structures, symmetrization: Symmetrization) -> None:
    edge_sets = graphs_of(any_structures, symmetrize=symmetrization).edge_sets
    main = edge_sets["main"]
    for middle in (edge_sets["quad"], main, edge_sets["atom_edge"]):
        expected = oracles.quadruplets(oracles.edges_of(main), oracles.edges_of(middle))
        listed = quadruplets(main, middle)
        for most in (None, 2):
            found = chains(main, middle).in_slices(most)
            assert as_set(found) == expected
            assert found.count == listed.count
            assert all(len(group.outer) <= (most or 9) for group in found.around_target.groups)
            assert (found.around_source.outer.diff() >= 0).all()
            assert torch.equal(found.sources, torch.bincount(listed.around_source.outer, minlength=middle.count))


@pytest.mark.parametrize("cap", [1, 2, 4])
def test_middle_edges_of_one_direction_only(cap: int) -> None:
    structures = KINDS["molecules"]()
    pairs = VesinSearch()(structures, 3.0)
    edges = measure(symmetrize(pairs, "union").pairs, structures, torch.float64)
    middle = measure(pairs.select((pairs.source % 3 == cap % 3) & (pairs.distance < 2)), structures, torch.float64)
    outer, through = oracles.edges_of(edges), oracles.edges_of(middle)
    assert any(edge.opposite not in through for edge in through)
    assert as_set(chains(edges, middle).in_slices(cap)) == oracles.quadruplets(outer, through) != set()


def test_a_chain_of_four_atoms_is_one_quadruplet_each_way() -> None:
    chain = Structures.from_ase(Atoms("CCCC", positions=[[0, 1, 0], [0, 0, 0], [1, 0, 0], [1, 0, 1]]))
    edges = all_edges(chain, 1.1)
    found = chains(edges, edges)
    ends = {
        (int(edges.source[q.outer]), int(edges.source[q.middle]), int(edges.source[q.inner])) for q in as_set(found)
    }
    assert ends == {(0, 2, 3), (3, 1, 0)}  # c, b, d: c→a is 0→1 or 3→2
    assert closed(found) == 0


def test_rings_of_three_are_closed() -> None:
    triangle = Structures.from_ase(Atoms("OOO", positions=[[0, 0, 0], [1, 0, 0], [0.5, 0.9, 0]]))
    edges = all_edges(triangle, 1.5)
    found = chains(edges, edges)
    assert (found.count, closed(found)) == (0, 6)


def test_images_are_compared_along_the_whole_chain() -> None:
    # One atom on a line: every c and d is the same atom, and only images say which chains are closed.
    chain = Structures.from_ase(Atoms("H", cell=[1, 0, 0], pbc=[True, False, False]))
    near, wide = all_edges(chain, 1.5), all_edges(chain, 2.5)
    assert (chains(near, near).count, closed(chains(near, near))) == (2, 0)
    # as counted for listed quadruplets: of the 9 combinations of each middle edge, 2 have d = c
    assert (chains(wide, near).count, closed(chains(wide, near))) == (2 * 7, 2 * 2)


def test_closing_triplets_compare_atoms_and_images() -> None:
    edges = graphs_of(KINDS["small cell"]()).main.edges
    found = chains(edges, edges)
    outer, around_source = oracles.edges_of(edges), found.around_source
    images = 0
    for group, closing in zip(found.around_target.groups, found.closing, strict=True):
        for atom, i, j in (closing >= 0).nonzero().tolist():
            ca, ba = outer[int(group.outer[atom, i])], outer[int(group.inner[atom, j])]
            triplet = int(closing[atom, i, j])
            db = outer[int(around_source.inner[triplet])]
            assert int(around_source.outer[triplet]) == int(group.inner[atom, j])
            assert db.source == ca.source
            assert tuple(n + m for n, m in zip(db.shift, ba.shift, strict=True)) == ca.shift
            images += db.shift != ca.shift
    assert images >= 5


@pytest.mark.parametrize("kind", ["no structures", "no atoms", "one atom", "no edges"])
def test_without_edges_there_are_no_chains(kind: str) -> None:
    edges = all_edges(KINDS[kind](), 3)
    found = chains(edges, edges).in_slices(128)
    assert found.count == found.around_source.count == len(found.closing) == 0
