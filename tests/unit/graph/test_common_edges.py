"""Edges that two edge sets have in common, compared with a search by hand."""

from __future__ import annotations

import pytest
from helpers import KINDS, graphs_of

from gemnet_blocks.graph.common_edges import CommonEdgeRequest, CommonEdges
from gemnet_blocks.graph.symmetrize import Symmetrization
from gemnet_blocks.testing.oracles import edges_of


@pytest.mark.parametrize("kind", ["slab", "small cell", "molecules", "no triplets"])
@pytest.mark.parametrize("symmetrize", ["union", "lower_index"])
def test_common_edges_have_the_same_source_image_and_target(kind: str, symmetrize: Symmetrization) -> None:
    for one, other in (("atom_edge", "main"), ("quad", "main"), ("main", "main"), ("main", "quad")):
        request = CommonEdgeRequest(one, other)
        graphs = graphs_of(KINDS[kind](), (request,), symmetrize)
        found = graphs.indices[request]
        assert isinstance(found, CommonEdges)
        edges, others = edges_of(graphs.edge_sets[one]), edges_of(graphs.edge_sets[other])
        expected = [(i, others.index(edge)) for i, edge in enumerate(edges) if edge in set(others)]
        assert list(zip(found.edge.tolist(), found.other.tolist(), strict=True)) == expected
        assert found.count == len(expected)
