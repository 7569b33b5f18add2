from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from helpers import KINDS, graphs_of

from gemnet_blocks.geometry.edges import EdgeSet, measure
from gemnet_blocks.graph.neighbor_list import VesinSearch
from gemnet_blocks.graph.padded import AtomGroups, atom_groups
from gemnet_blocks.graph.ragged import GROUPS
from gemnet_blocks.graph.symmetrize import Symmetrization
from gemnet_blocks.graph.triplets import triplets
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles

PAIRS_OF_SETS = [("main", "main"), ("main", "atom_edge"), ("atom_edge", "main"), ("atom", "quad"), ("quad", "quad")]


def as_set(groups: AtomGroups) -> set[oracles.Triplet]:
    members = [
        oracles.Triplet(int(group.outer[atom, outer]), int(group.inner[atom, inner]))
        for group in groups.groups
        for atom, outer, inner in group.pair.nonzero().tolist()
    ]
    assert len(members) == len(set(members)) == groups.count
    return set(members)


def check_rows(groups: AtomGroups, outer: EdgeSet, inner: EdgeSet) -> None:
    """Every outer edge at an atom with inner edges has a row of its own, in the order of the groups."""
    grouped = (outer.degree > 0) & (inner.degree > 0)
    has_row = grouped[outer.target]
    rows = groups.row_of_edge[has_row]
    assert torch.equal(groups.outer[rows], has_row.nonzero()[:, 0])
    assert (groups.row_of_edge[~has_row] == len(groups.outer)).all()
    atoms = torch.cat([outer.target[:0], *(outer.target[group.outer[:, 0]] for group in groups.groups)])
    assert torch.equal(atoms[groups.row_of_atom[grouped]], grouped.nonzero()[:, 0])
    assert (groups.row_of_atom[~grouped] == len(atoms)).all()
    for group in groups.groups:
        target = outer.target[group.outer[:, :1]]
        assert (outer.target[group.outer] == target).all()
        assert (inner.target[group.inner] == target).all()


def all_edges(structures: Structures, cutoff: float) -> EdgeSet:
    return measure(VesinSearch()(structures, cutoff), structures, torch.float64)


def chosen(structures: Structures, cutoff: float, share: float, seed: int) -> EdgeSet:
    """Some of all edges, whether their opposites are among them or not."""
    pairs = VesinSearch()(structures, cutoff)
    chosen = torch.rand(len(pairs), generator=torch.Generator().manual_seed(seed)) < share
    return measure(pairs.select(chosen), structures, torch.float64)


def cloud(count: int = 80) -> Structures:
    """Atoms that become fewer and fewer from the center, so that they have anything from no to many neighbors."""
    random = np.random.default_rng(3)
    radius = 0.2 + 9 * np.sort(random.uniform(size=count)) ** 2
    direction = random.normal(size=(count, 3))
    return Structures.from_ase(
        Atoms(f"H{count}", positions=radius[:, None] * direction / np.linalg.norm(direction, axis=1, keepdims=True))
    )


@pytest.mark.parametrize("symmetrization", ["union", "lower_index"])
def test_every_triplet_once(any_structures: Structures, symmetrization: Symmetrization) -> None:
    edge_sets = graphs_of(any_structures, symmetrize=symmetrization).edge_sets
    edges = {name: oracles.edges_of(edge_sets[name]) for name in edge_sets}
    for outer, inner in PAIRS_OF_SETS:
        expected = oracles.triplets(edges[outer], edges[inner])
        for most in (None, 1, 3):
            groups = atom_groups(edge_sets[outer], edge_sets[inner]).in_slices(most)
            assert as_set(groups) == expected
            check_rows(groups, edge_sets[outer], edge_sets[inner])


@pytest.mark.parametrize("most", [None, 1, 2, 7])
def test_one_sided_edges_of_any_degree(most: int | None) -> None:
    structures = cloud()
    outer, inner = chosen(structures, 3, 0.6, seed=1), chosen(structures, 4, 0.3, seed=2)
    assert len(outer.degree.unique()) > 10
    assert ((outer.degree == 0) & (inner.degree > 0)).any()
    assert ((outer.degree > 0) & (inner.degree == 0)).any()
    groups, listed = atom_groups(outer, inner).in_slices(most), triplets(outer, inner)
    assert groups.count == listed.count
    assert as_set(groups) == {
        oracles.Triplet(*pair) for pair in zip(listed.outer.tolist(), listed.inner.tolist(), strict=True)
    }
    check_rows(groups, outer, inner)
    sizes = [len(group.outer) for group in groups.groups]
    assert max(sizes) <= (most or len(structures.numbers))
    assert len(sizes) > 2


def test_little_is_padded() -> None:
    edges = all_edges(cloud(300), 4)
    assert int(edges.degree.max()) > 100
    groups = atom_groups(edges, edges).groups
    for group in groups:
        degree = edges.degree[edges.target[group.outer[:, :1]]]
        assert degree.numel() == 0 or int(degree.max()) == group.outer.shape[1] == group.inner.shape[1]
    assert sum(group.pair.numel() for group in groups) < 1.25 * int(edges.degree.square().sum())


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_groups_does_not_depend_on_the_structures(kind: str) -> None:
    edge_sets = graphs_of(KINDS[kind]()).edge_sets
    assert len(atom_groups(edge_sets["main"], edge_sets["atom_edge"]).groups) == GROUPS
    assert len(triplets(edge_sets["main"], edge_sets["main"]).by_outer.buckets) == GROUPS


def test_images_of_one_atom_are_different_neighbors() -> None:
    chain = Structures.from_ase(Atoms("H", cell=[1, 0, 0], pbc=[True, False, False]))
    near, far = all_edges(chain, 1.5), all_edges(chain, 2.5)
    assert atom_groups(far, far).count == 4 * 3
    assert atom_groups(near, far).count == 2 * 3
    assert atom_groups(far, near).count == 2 * 1 + 2 * 2


@pytest.mark.parametrize("kind", ["no structures", "no atoms", "one atom", "no edges"])
def test_without_edges_there_are_no_groups(kind: str) -> None:
    structures = KINDS[kind]()
    edges = all_edges(structures, 3)
    groups = atom_groups(edges, edges)
    assert groups.in_slices(128).groups == ()
    assert groups.count == len(groups.outer) == len(groups.inner) == 0
    assert groups.row_of_atom.tolist() == [0] * structures.atom_count


def test_edges_without_anything_to_pair_with_have_no_row() -> None:
    structures = Structures.from_ase(Atoms("H2", positions=[[0, 0, 0], [1, 0, 0]]))
    edges = all_edges(structures, 1.5)
    none = chosen(structures, 1.5, 0, seed=0)
    for outer, inner in ((edges, none), (none, edges)):
        groups = atom_groups(outer, inner)
        assert groups.in_slices(None).groups == ()
        assert groups.row_of_edge.tolist() == [0] * outer.count
    # an edge and itself are no triplet, but the atom is there
    assert [group.pair.any().item() for group in atom_groups(edges, edges).in_slices(None).groups] == [False]
