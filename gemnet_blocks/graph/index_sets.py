"""Requests for index sets, so that interactions name what they need and each set is made once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, final

import torch
from jaxtyping import Int
from torch import Tensor

from gemnet_blocks.graph.edge_index import EdgeIndex
from gemnet_blocks.graph.padded import AtomGroups, Chains, atom_groups, chains
from gemnet_blocks.graph.ragged import Segments, segments
from gemnet_blocks.graph.triplets import Quadruplets, Triplets, quadruplets, triplets


class IndexSet(Protocol):
    """Something that lists combinations of edges."""

    @property
    def count(self) -> int:
        """The number of combinations."""
        ...


class IndexRequest(ABC):
    """Which combinations of edges of which edge sets; equal requests share one result."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of what is counted, for tables; empty for index sets that no table shows."""

    @abstractmethod
    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> IndexSet:
        """List the combinations."""

    @property
    def listed(self) -> IndexRequest:
        """The request for a list of the same combinations."""
        return self

    def suited(self, dtype: torch.dtype) -> IndexRequest:
        """The request for the same combinations in the form that suits the model's floating-point type."""
        return self


@final
@dataclass(frozen=True, slots=True)
class TripletRequest(IndexRequest):
    """Triplets c→a←b with c→a from the edge set `outer` and b→a from `inner`."""

    outer: str
    inner: str

    @property
    def name(self) -> str:
        """What is counted, for tables."""
        return "triplets" if self.outer == self.inner else f"triplets {self.inner} to {self.outer}"

    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> Triplets:
        """List the triplets."""
        return triplets(edge_sets[self.outer], edge_sets[self.inner])


@final
@dataclass(frozen=True, slots=True)
class QuadrupletRequest(IndexRequest):
    """Quadruplets c→a←b←d with b→a from the edge set `middle` and the others from `outer`."""

    outer: str
    middle: str

    @property
    def name(self) -> str:
        """What is counted, for tables."""
        return f"quadruplets through {self.middle}"

    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> Quadruplets:
        """List the quadruplets."""
        return quadruplets(edge_sets[self.outer], edge_sets[self.middle])


@final
@dataclass(frozen=True, slots=True)
class AtomGroupRequest(IndexRequest):
    """The triplets c→a←b of `TripletRequest`, as groups of atoms a instead of a list."""

    outer: str
    inner: str

    @property
    def name(self) -> str:
        """What is counted, for tables."""
        return self.listed.name

    @property
    def listed(self) -> TripletRequest:
        """The request for a list of the same triplets."""
        return TripletRequest(self.outer, self.inner)

    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> AtomGroups:
        """Group the atoms."""
        return atom_groups(edge_sets[self.outer], edge_sets[self.inner])


@final
@dataclass(frozen=True, slots=True)
class ChainRequest(IndexRequest):
    """The quadruplets c→a←b←d of `QuadrupletRequest`, as two kinds of triplets instead of a list.

    With `listed_in_double`, models in double precision list them all the same.
    """

    outer: str
    middle: str
    listed_in_double: bool = False

    @property
    def name(self) -> str:
        """What is counted, for tables."""
        return self.listed.name

    @property
    def listed(self) -> QuadrupletRequest:
        """The request for a list of the same quadruplets."""
        return QuadrupletRequest(self.outer, self.middle)

    def suited(self, dtype: torch.dtype) -> IndexRequest:
        """The request for a list if the model is in double precision and asks for one."""
        return self.listed if self.listed_in_double and dtype == torch.float64 else self

    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> Chains:
        """List the triplets around b and group the atoms a."""
        return chains(edge_sets[self.outer], edge_sets[self.middle])


@final
@dataclass(frozen=True, slots=True, eq=False)
class AtomPairs:
    """Pairs of atoms that at least one edge connects, sorted by the target; images of an atom make one pair.

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
    """The pairs of atoms that the edges of the edge set `graph` connect."""

    graph: str

    @property
    def name(self) -> str:
        """Empty: tables show the edges."""
        return ""

    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> AtomPairs:
        """List the pairs."""
        edges = edge_sets[self.graph]
        pairs, of_edge = torch.unique(edges.target * edges.atom_count + edges.source, return_inverse=True)
        atom_count = max(edges.atom_count, 1)
        return AtomPairs(pairs % atom_count, segments(pairs // atom_count, edges.atom_count), of_edge)
