"""Requests for index sets, by which interactions declare their triplets and quadruplets and share equal ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, final

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.graph.edge_index import EdgeIndex
from gemnet_blocks.graph.padded import AtomGroups, Chains, atom_groups, chains
from gemnet_blocks.graph.quadruplets import Quadruplets, quadruplets
from gemnet_blocks.graph.ragged import Segments, kept_items, segments, worth_a_group
from gemnet_blocks.graph.triplets import Triplets, triplets


class IndexSet(Protocol):
    """List of combinations of edges."""

    @property
    def count(self) -> int:
        """The number of combinations."""
        ...


class IndexRequest(ABC):
    """Base class of requests for combinations of edges. Equal requests share one result."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the combinations in tables; empty for index sets that tables do not show."""

    @abstractmethod
    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> IndexSet:
        """Build the index set from the edge sets."""

    @property
    def listed(self) -> IndexRequest:
        """The request for an explicit list of the same combinations."""
        return self

    def suited(self, dtype: torch.dtype) -> IndexRequest:
        """Return the request for the form of the same combinations that suits the floating-point type of the model."""
        return self


@final
@dataclass(frozen=True, slots=True)
class TripletRequest(IndexRequest):
    """Request for triplets c→a←b with edges c→a of the edge set `outer` and edges b→a of `inner`."""

    outer: str
    inner: str

    @property
    @override
    def name(self) -> str:
        return "triplets" if self.outer == self.inner else f"triplets {self.inner} to {self.outer}"

    @override
    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> Triplets:
        return triplets(edge_sets[self.outer], edge_sets[self.inner])


@final
@dataclass(frozen=True, slots=True)
class QuadrupletRequest(IndexRequest):
    """Request for quadruplets c→a←b←d with edges b→a of the edge set `middle` and the other edges of `outer`."""

    outer: str
    middle: str

    @property
    @override
    def name(self) -> str:
        return f"quadruplets through {self.middle}"

    @override
    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> Quadruplets:
        return quadruplets(edge_sets[self.outer], edge_sets[self.middle])


@final
@dataclass(frozen=True, slots=True)
class AtomGroupRequest(IndexRequest):
    """Request for the triplets c→a←b of a `TripletRequest` as padded groups of atoms a instead of a list."""

    outer: str
    inner: str

    @property
    @override
    def name(self) -> str:
        return self.listed.name

    @property
    @override
    def listed(self) -> TripletRequest:
        return TripletRequest(self.outer, self.inner)

    @override
    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> AtomGroups:
        return atom_groups(edge_sets[self.outer], edge_sets[self.inner])


@final
@dataclass(frozen=True, slots=True)
class ChainRequest(IndexRequest):
    """Request for the quadruplets c→a←b←d of a `QuadrupletRequest` as two kinds of triplets instead of a list.

    With `listed_in_double`, models in double precision use a list nevertheless.
    """

    outer: str
    middle: str
    listed_in_double: bool = False

    @property
    @override
    def name(self) -> str:
        return self.listed.name

    @property
    @override
    def listed(self) -> QuadrupletRequest:
        return QuadrupletRequest(self.outer, self.middle)

    @override
    def suited(self, dtype: torch.dtype) -> IndexRequest:
        return self.listed if self.listed_in_double and dtype == torch.float64 else self

    @override
    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> Chains:
        return chains(edge_sets[self.outer], edge_sets[self.middle])


@final
@dataclass(frozen=True, slots=True, eq=False)
class AtomPairs:
    """Pairs of atoms that at least one edge connects, sorted by target atom; periodic images share one pair.

    Attributes:
        source: the source atom of each pair.
        by_target: the pairs of each target atom.
        of_edge: the pair of each edge.
    """

    source: Int[Tensor, " pairs"]
    by_target: Segments
    of_edge: Int[Tensor, " edges"]

    @property
    def count(self) -> int:
        """The number of pairs."""
        return self.source.shape[0]


@final
@dataclass(frozen=True, slots=True)
class AtomPairRequest(IndexRequest):
    """Request for the pairs of atoms that the edges of the edge set `graph` connect."""

    graph: str

    @property
    @override
    def name(self) -> str:
        return ""  # tables show the edges instead

    @override
    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> AtomPairs:
        edges = edge_sets[self.graph]
        count, atom_count = edges.atom_count, max(edges.atom_count, 1)
        key, order = (edges.target * count + edges.source).sort()
        is_first = torch.cat([key[:1] >= 0, key[1:] != key[:-1]])
        of_edge = torch.empty_like(order).scatter_(0, order, is_first.cumsum(0) - 1)
        chosen, lengths = kept_items(is_first, key // atom_count, count)
        pairs = key.index_select(0, chosen)
        by_target = segments(pairs // atom_count, count, worth_a_group(key.device), lengths)
        return AtomPairs(pairs % atom_count, by_target, of_edge)
