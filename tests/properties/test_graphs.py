"""Graphs against their definitions, on structures of every kind and under every rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from helpers import graphs_by
from hypothesis import strategies as st
from properties.harness import holds_for

from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.graph.builder import MAIN, EdgeSetOptions, GraphBuilder
from gemnet_blocks.graph.index_sets import QuadrupletRequest, TripletRequest
from gemnet_blocks.graph.neighbor_list import neighbor_search
from gemnet_blocks.graph.padded import atom_groups, chains
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles
from gemnet_blocks.testing import strategies as some
from gemnet_blocks.testing.assertions import assert_close, assert_same_function

SMALL = some.structures(max_atoms=8, cutoff=3.0)
TRIPLETS, MIXED = TripletRequest(MAIN, MAIN), TripletRequest(MAIN, "other")
SYMMETRIZATIONS = st.sampled_from(("lower_index", "union"))
QUADRUPLETS = QuadrupletRequest(MAIN, "other")


def keys(edges: EdgeSet) -> list[tuple[int, int, tuple[int, ...]]]:
    """Source, target and shift of each edge, in order."""
    return [(edge.source, edge.target, edge.shift) for edge in oracles.edges_of(edges)]


@holds_for(SMALL, quick=30)
def test_neighbors(structures: Structures, data: Any) -> None:
    cutoff = data.draw(st.sampled_from((3.0, 2.55, 1.0, 0.0)) | st.floats(0.5, 4.5))
    expected = {(edge.source, edge.target, edge.shift) for edge, _ in oracles.neighbors(structures, cutoff)}
    for name in ("vesin", "torch"):
        found = neighbor_search(name)(structures, cutoff)
        assert {(one.source, one.target, one.shift) for one in oracles.edges_of(found)} == expected
        assert len(found) == len(expected)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, EdgeSetOptions]:
    """Two edge sets, `other` perhaps within `main`."""
    caps, tags = st.sampled_from((None, 2, 1, 3, 5, 8, 0)), st.none() | st.lists(st.integers(0, 2), max_size=2)
    main = EdgeSetOptions(
        cutoff=draw(st.sampled_from((3.0, 2.0, 4.0))),
        max_neighbors=draw(caps),
        symmetrize=draw(SYMMETRIZATIONS),
    )
    other = EdgeSetOptions(
        cutoff=draw(st.sampled_from((2.6, 1.5, 3.4))),
        max_neighbors=draw(caps),
        tags=draw(tags),
        within=draw(st.sampled_from((None, MAIN))),
    )
    return {MAIN: main, "other": other}


def built(structures: Structures, data: Any) -> tuple[Graphs, GraphBuilder]:
    """Graphs by drawn rules, and what built them."""
    builder = GraphBuilder(
        data.draw(rules()),
        [MAIN, "other"],
        [TRIPLETS, MIXED, QUADRUPLETS],
        neighbor_search("auto"),
        ties=data.draw(st.sampled_from(("inclusive", "strict", "inclusive_next", "smooth"))),
        fade_width=data.draw(st.sampled_from((0.5, 0.1, 1.5))),
    )
    return graphs_by(builder, structures), builder


@holds_for(SMALL | some.tiny_cells(), quick=80)
def test_edge_sets(structures: Structures, data: Any) -> None:
    assert_edge_sets(structures, built(structures, data)[1])


@holds_for(some.tiny_cells(), quick=20)
def test_caps_that_split_an_image_from_its_opposite(structures: Structures, data: Any) -> None:
    """Where `lower_index` must know which of the two it keeps."""
    rule = EdgeSetOptions(
        cutoff=3.5, max_neighbors=data.draw(st.sampled_from((1, 3, 5))), symmetrize=data.draw(SYMMETRIZATIONS)
    )
    assert_edge_sets(structures, GraphBuilder({MAIN: rule}, [MAIN], [], neighbor_search("auto"), ties="strict"))


def assert_edge_sets(structures: Structures, builder: GraphBuilder) -> None:
    structures = replace(structures, positions=structures.positions.clone().requires_grad_())
    graphs = graphs_by(builder, structures)
    expected = oracles.graphs_of(oracles.edge_sets_of(builder, structures), structures, torch.float64)
    for name, fast in graphs.edge_sets.items():
        slow = expected.edge_sets[name]
        # a weight that is but rounding noise may or may not make an edge
        fast_keys, slow_keys = visible(fast), visible(slow)
        assert set(fast_keys) == set(slow_keys)
        assert len(fast_keys) == len(set(fast_keys))
        rows = torch.tensor([fast_keys[key] for key in slow_keys], dtype=torch.long)
        places = torch.tensor(list(slow_keys.values()), dtype=torch.long)
        one = torch.ones_like(fast.distance)
        for a, b in (
            (fast.distance, slow.distance),
            (fast.direction, slow.direction),
            (one if fast.weight is None else fast.weight, slow.weight),
        ):
            assert b is not None
            assert_same_function(a[rows], b[places], [structures.positions], 1e-8)
    assert_close(graphs.main.edges.distance[graphs.main.reverse], graphs.main.edges.distance)
    opposite = [(t, s, tuple(-n for n in shift)) for s, t, shift in keys(graphs.main.edges)]
    assert [keys(graphs.main.edges)[i] for i in graphs.main.reverse.tolist()] == opposite


def visible(edges: EdgeSet) -> dict[tuple[int, int, tuple[int, ...]], int]:
    """The index of each edge whose weight is more than rounding noise."""
    weight = torch.ones(edges.count) if edges.weight is None else edges.weight
    return {key: i for i, (key, w) in enumerate(zip(keys(edges), weight.tolist(), strict=True)) if w > 1e-12}


@holds_for(some.structures(max_atoms=5, cutoff=3.0), quick=20)
def test_triplets_and_quadruplets(structures: Structures, data: Any) -> None:
    graphs, _ = built(structures, data)
    main, other = (oracles.edges_of(graphs.edge_sets[name]) for name in (MAIN, "other"))
    for request, inner in ((TRIPLETS, main), (MIXED, other)):
        found: Any = graphs.indices[request]
        pairs = list(zip(found.outer.tolist(), found.inner.tolist(), strict=True))
        assert len(pairs) == len(set(pairs))
        assert set(pairs) == oracles.triplets(main, inner)
        assert found.outer.tolist() == sorted(found.outer.tolist())
    four: Any = graphs.indices[QUADRUPLETS]
    found_four = [
        (
            int(four.around_target.outer[target]),
            int(four.around_target.inner[target]),
            int(four.around_source.inner[source]),
        )
        for source, target in zip(four.source_triplet.tolist(), four.target_triplet.tolist(), strict=True)
    ]
    middle_of_source = four.around_source.outer[four.source_triplet].tolist()
    assert middle_of_source == [middle for _, middle, _ in found_four]
    assert len(found_four) == len(set(found_four))
    assert set(found_four) == oracles.quadruplets(main, other)


@holds_for(some.structures(max_atoms=6, cutoff=3.0), quick=20)
def test_triplets_and_quadruplets_that_are_not_listed(structures: Structures, data: Any) -> None:
    graphs, _ = built(structures, data)
    assert_not_listed(graphs.edge_sets[MAIN], graphs.edge_sets["other"], data.draw(st.sampled_from((None, 1, 2))))


@holds_for(some.tiny_cells(), quick=15)
def test_quadruplets_among_few_images(structures: Structures, data: Any) -> None:
    """Where many images of a neighbor are no neighbors."""
    near = EdgeSetOptions(cutoff=3.0, max_neighbors=data.draw(st.sampled_from((2, 1, 3))))
    builder = GraphBuilder({MAIN: near}, [MAIN], [], neighbor_search("auto"), ties="strict")
    edges = graphs_by(builder, structures).main.edges
    assert_not_listed(edges, edges, None)


def assert_not_listed(main: EdgeSet, other: EdgeSet, most: int | None) -> None:
    for outer, inner in ((main, main), (main, other), (other, main)):
        groups = atom_groups(outer, inner).in_slices(most)
        pairs = [
            (int(group.outer[atom, i]), int(group.inner[atom, j]))
            for group in groups.groups
            for atom, i, j in group.pair.nonzero().tolist()
        ]
        assert len(pairs) == len(set(pairs)) == groups.count
        assert set(pairs) == oracles.triplets(oracles.edges_of(outer), oracles.edges_of(inner))
        paired = torch.isin(outer.target, inner.target)
        assert torch.equal(groups.outer[groups.row_of_edge[paired]], paired.nonzero()[:, 0])
    four = chains(main, other).in_slices(most)
    found = [
        (int(group.outer[atom, i]), int(group.inner[atom, j]), int(four.around_source.inner[triplet]))
        for group, closing in zip(four.around_target.groups, four.closing, strict=True)
        for atom, i, j in group.pair.nonzero().tolist()
        for triplet in (four.around_source.outer == group.inner[atom, j]).nonzero()[:, 0].tolist()
        if triplet != int(closing[atom, i, j])
    ]
    assert len(found) == len(set(found)) == four.count
    assert set(found) == oracles.quadruplets(oracles.edges_of(main), oracles.edges_of(other))
