"""Edges that two edge sets have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.graph.edge_index import EdgeIndex
from gemnet_blocks.graph.index_sets import IndexRequest
from gemnet_blocks.graph.pairs import pack_shift
from gemnet_blocks.graph.ragged import join


@final
@dataclass(frozen=True, slots=True, eq=False)
class CommonEdges:
    """The edges of one set that another set has too, with the same source image and target.

    Attributes:
        edge: the index of each common edge in the first set, ascending.
        other: its index in the other set.
    """

    edge: Int[Tensor, " common"]
    other: Int[Tensor, " common"]

    @property
    def count(self) -> int:
        """The number of common edges."""
        return self.edge.shape[0]


def common_edges(edges: EdgeIndex, others: EdgeIndex) -> CommonEdges:
    """Find the edges of one set among those of another."""
    pairs = join(others.first[edges.target], others.degree[edges.target])
    same_atom = edges.source[pairs.row] == others.source[pairs.item]
    same_image = pack_shift(edges.shift)[pairs.row] == pack_shift(others.shift)[pairs.item]
    same = same_atom & same_image
    return CommonEdges(pairs.row[same], pairs.item[same])


@final
@dataclass(frozen=True, slots=True)
class CommonEdgeRequest(IndexRequest):
    """Request for the edges of the edge set `graph` that the edge set `other` has too."""

    graph: str
    other: str

    @property
    @override
    def name(self) -> str:
        return ""  # tables show the edges of both sets

    @override
    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> CommonEdges:
        return common_edges(edge_sets[self.graph], edge_sets[self.other])
