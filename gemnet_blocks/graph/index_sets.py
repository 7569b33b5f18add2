"""Requests for index sets, so that interactions name what they need and each set is made once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, final

from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.graph.padded import AtomGroups, Chains, atom_groups, chains
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
        """What is counted, for tables."""

    @abstractmethod
    def build(self, edge_sets: Mapping[str, EdgeSet]) -> IndexSet:
        """List the combinations."""

    @property
    def listed(self) -> IndexRequest:
        """The request for a list of the same combinations."""
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

    def build(self, edge_sets: Mapping[str, EdgeSet]) -> Triplets:
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

    def build(self, edge_sets: Mapping[str, EdgeSet]) -> Quadruplets:
        """List the quadruplets."""
        return quadruplets(edge_sets[self.outer], edge_sets[self.middle])


@final
@dataclass(frozen=True, slots=True)
class AtomGroupRequest(IndexRequest):
    """The triplets c→a←b of `TripletRequest`, as groups of atoms a instead of a list."""

    outer: str
    inner: str
    atoms_at_most: int | None = None

    @property
    def name(self) -> str:
        """What is counted, for tables."""
        return self.listed.name

    @property
    def listed(self) -> TripletRequest:
        """The request for a list of the same triplets."""
        return TripletRequest(self.outer, self.inner)

    def build(self, edge_sets: Mapping[str, EdgeSet]) -> AtomGroups:
        """Group the atoms."""
        return atom_groups(edge_sets[self.outer], edge_sets[self.inner], self.atoms_at_most)


@final
@dataclass(frozen=True, slots=True)
class ChainRequest(IndexRequest):
    """The quadruplets c→a←b←d of `QuadrupletRequest`, as two kinds of triplets instead of a list."""

    outer: str
    middle: str
    atoms_at_most: int | None = None

    @property
    def name(self) -> str:
        """What is counted, for tables."""
        return self.listed.name

    @property
    def listed(self) -> QuadrupletRequest:
        """The request for a list of the same quadruplets."""
        return QuadrupletRequest(self.outer, self.middle)

    def build(self, edge_sets: Mapping[str, EdgeSet]) -> Chains:
        """List the triplets around b and group the atoms a."""
        return chains(edge_sets[self.outer], edge_sets[self.middle], self.atoms_at_most)
