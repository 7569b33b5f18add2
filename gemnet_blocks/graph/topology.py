"""Topology of a batch of structures: edges and combinations of edges as integers and masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from gemnet_blocks.graph.edge_index import EdgeIndex, JointEdges
from gemnet_blocks.graph.index_sets import IndexRequest, IndexSet


@dataclass(frozen=True, slots=True, eq=False)
class Fading:
    """Recipe for computing the weights of an edge set from distances if neighbors fade out smoothly.

    Attributes:
        parent: the edge set from which the candidates inherit weights; None for weights of 1.
        in_parent: the index of each candidate in the parent.
        candidates: the pairs among which neighbors fade out; None if the pairs of this edge set inherit their weights
            unchanged and take the place of candidates.
        kept: the index of each pair of the edge set among the candidates; None without candidates.
        max_neighbors: the number of neighbors above which they fade out.
        reach: the largest distance of candidates, in Å.
        width: the distance over which neighbors fade out, in Å.
    """

    parent: str | None
    in_parent: Int[Tensor, " candidates"]
    candidates: EdgeIndex | None
    kept: Int[Tensor, " pairs"] | None
    max_neighbors: int
    reach: float
    width: float


@dataclass(frozen=True, slots=True, eq=False)
class BothDirections:
    """Map from selected pairs to symmetrized edges.

    Attributes:
        pair: the pairs that the symmetrization kept.
        edge: the symmetrized edge of each of these pairs.
    """

    pair: Int[Tensor, " kept"]
    edge: Int[Tensor, " kept"]


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """Topology of a batch of structures: all input of a model besides positions, cells and atomic numbers.

    It is built once per batch and without gradients. It is valid only for the positions that it was built from, because
    the nearest neighbors change when atoms move.

    Attributes:
        edges: the edges of each edge set, with `main` symmetrized.
        reverse: the index of the reverse of each main edge; None without an edge set `main`.
        indices: the index sets, such as triplets and quadruplets, by request.
        fading: the recipes for the weights of fading neighbors by edge set, parents first; empty if none fade out.
        both_directions: the map from selected pairs to main edges, if neighbors fade out.
        without_volume: the first structure that is not periodic in all three directions; None if all are.
        joint: the edges of all edge sets one after another, in their order in `edges`, for joint operations; None: edge
            sets are measured one by one.
    """

    edges: Mapping[str, EdgeIndex]
    reverse: Int[Tensor, " main_edges"] | None
    indices: Mapping[IndexRequest, IndexSet]
    fading: Mapping[str, Fading]
    both_directions: BothDirections | None
    without_volume: int | None = None
    joint: JointEdges | None = None

    def counts(self) -> dict[str, int]:
        """Count the edges of each edge set and the members of each index set, for tables."""
        edges = {f"edges of {name}": index.count for name, index in self.edges.items()}
        return edges | {request.name: found.count for request, found in self.indices.items() if request.name}
