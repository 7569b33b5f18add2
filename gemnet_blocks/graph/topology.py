"""The topology of a batch of structures: who is next to whom, as integers and masks alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from gemnet_blocks.graph.edge_index import EdgeIndex
from gemnet_blocks.graph.index_sets import IndexRequest, IndexSet


@dataclass(frozen=True, slots=True, eq=False)
class Fading:
    """How the weights of an edge set follow from distances if `max_neighbors` lets neighbors fade out smoothly.

    Attributes:
        parent: the edge set whose weights the candidates inherit; None for weights of 1.
        in_parent: the pair of the parent that each candidate is.
        candidates: the pairs among which neighbors fade out; None if weights are inherited as they are, by the pairs of
            the edge set in place of candidates.
        kept: the candidate that each pair of the edge set is; None without candidates.
        max_neighbors: the number of neighbors above which they fade out.
        reach: the greatest distance of a candidate, in Å.
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
    """Where the weights of one-way pairs belong after symmetrization.

    Attributes:
        pair: the pairs that symmetrization kept.
        edge: the symmetric edge that each of them is.
    """

    pair: Int[Tensor, " kept"]
    edge: Int[Tensor, " kept"]


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """Everything that a model reads of its structures besides positions, cells and atomic numbers.

    Made once per batch, without gradients. It belongs to the positions that it was built from: the nearest neighbors
    change with every move.

    Attributes:
        edges: the edges of each edge set, `main` symmetrized.
        reverse: the opposite of each main edge; None without an edge set `main`.
        indices: combinations of edges, by request.
        fading: how neighbors fade out, by edge set, parents first; empty unless neighbors do.
        both_directions: from one-way pairs to main edges, if neighbors fade out.
    """

    edges: Mapping[str, EdgeIndex]
    reverse: Int[Tensor, " main_edges"] | None
    indices: Mapping[IndexRequest, IndexSet]
    fading: Mapping[str, Fading]
    both_directions: BothDirections | None

    def counts(self) -> dict[str, int]:
        """Edges of each set and members of each index set, for tables."""
        edges = {f"edges of {name}": index.count for name, index in self.edges.items()}
        return edges | {request.name: found.count for request, found in self.indices.items() if request.name}
