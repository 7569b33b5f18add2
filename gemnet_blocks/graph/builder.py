"""From structures to graphs: one neighbor search, the edge sets selected from it, and their index sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from gemnet_blocks.geometry.edges import EdgeSet, SymmetricEdges, measure, safe_norm, vectors
from gemnet_blocks.graph.index_sets import IndexRequest, IndexSet
from gemnet_blocks.graph.max_neighbors import CapRule, either, nearest_runs, soft_weights
from gemnet_blocks.graph.neighbor_list import NeighborSearch
from gemnet_blocks.graph.pairs import Neighbors, Pairs
from gemnet_blocks.graph.ragged import join
from gemnet_blocks.graph.symmetrize import SymmetricPairs, Symmetrization, symmetrize
from gemnet_blocks.options import Options
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.derivatives import check_graphs_can_be_built

MAIN = "main"
"""The name of the edge set that carries edge embeddings; it is symmetrized."""


class EdgeSetOptions(Options):
    """Which pairs of atoms are edges of one set."""

    cutoff: Annotated[float, Field(gt=0)]
    """Greatest distance, in Å. Radial functions vanish there, so that edges come and go without a jump of the energy,
    unless the set is within another one that ends before."""
    max_neighbors: Annotated[int, Field(ge=0)] | None = None
    """Greatest number of neighbors of a target atom, the nearest ones; null: no limit."""
    tags: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)] | None = None
    """Keep edges with a source or target of one of these tags (0 below the surface, 1 surface, 2 adsorbate);
    null: all."""
    within: str | None = None
    """Select among the edges of this set, before its symmetrization, instead of among all pairs."""
    symmetrize: Symmetrization | None = None
    """How every edge gets its opposite: of `main` only, by default union."""


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The pairs of one edge set.

    Attributes:
        pairs: sorted by target and distance.
        weight: from 0 to 1 where the cap lets neighbors fade out, as a function of positions; None for 1.
        reach: no pair is longer, in Å.
    """

    pairs: Pairs
    weight: Float[Tensor, " pairs"] | None = None
    reach: float = math.inf

    def select(self, which: Bool[Tensor, " pairs"] | Int[Tensor, " chosen"]) -> Selection:
        """The pairs that a mask or indices choose, in their order."""
        if which.dtype == torch.bool:
            which = which.nonzero()[:, 0]
        weight = None if self.weight is None else self.weight.index_select(0, which)
        return Selection(self.pairs.select(which), weight, self.reach)


@dataclass(frozen=True, slots=True, eq=False)
class Graphs:
    """Everything that interactions read of the structures.

    Attributes:
        structures: what the graphs were built from.
        main: the symmetric edges that carry embeddings.
        edge_sets: all measured edge sets by name, `main` among them.
        indices: the index sets by request.
    """

    structures: Structures
    main: SymmetricEdges
    edge_sets: Mapping[str, EdgeSet]
    indices: Mapping[IndexRequest, IndexSet]

    def counts(self) -> dict[str, int]:
        """Edges of each set and members of each index set, for tables."""
        edges = {f"edges of {name}": edge_set.count for name, edge_set in self.edge_sets.items()}
        return edges | {request.name: index_set.count for request, index_set in self.indices.items()}


class GraphBuilder(nn.Module):
    """Build the edge sets and index sets that a model names, and nothing else.

    One search with the widest cutoff finds all pairs. Each set keeps those within its cutoff, then the nearest
    `max_neighbors` of each target, then those with a fitting tag; `main` is symmetrized last.

    Args:
        rules: what belongs to each set, a set after the one that it is `within`.
        measured: the names of the sets that something reads.
        requests: the index sets that something reads.
        search: finds all pairs within a cutoff.
        ties: what becomes of neighbors at the same distance as the last one that a cap admits; smooth: caps let
            neighbors fade out, see `soft_weights`.
        tie_tolerance: distances that differ by no more are the same, in Å; with `inclusive_next`, in Å² for sets
            that are within no other.
        fade_width: over what distance neighbors fade out with smooth caps, in Å.
        periodic: whether structures repeat where they say so; False treats all as isolated.
        element_count: the greatest atomic number that the model knows.
    """

    def __init__(
        self,
        rules: Mapping[str, EdgeSetOptions],
        measured: Sequence[str],
        requests: Sequence[IndexRequest],
        search: NeighborSearch,
        ties: CapRule = "strict",
        tie_tolerance: float = 0.01,
        fade_width: float = 0.5,
        periodic: bool = True,
        element_count: int | None = None,
    ) -> None:
        super().__init__()
        self.measured = tuple(dict.fromkeys((MAIN, *measured)))
        self.rules = {name: rules[name] for name in rules if name in _with_parents(self.measured, rules)}
        self.requests = tuple(dict.fromkeys(requests))
        self.search = search
        self.ties = ties
        self.tie_tolerance = tie_tolerance
        self.fade_width = fade_width
        self.periodic = periodic
        self.element_count = element_count

    def forward(self, structures: Structures, dtype: torch.dtype, given: Pairs | Neighbors | None = None) -> Graphs:
        """Build all graphs.

        Args:
            structures: distances and directions carry gradients to their positions and cells.
            dtype: the floating-point type of distances and directions.
            given: pairs that stand for the sets within no other, as they are; or neighbors that stand for a search.

        Raises:
            StructureError: a structure cannot be computed.
        """
        structures = self.as_periodic(structures)
        self.check(structures)
        selected = self.select(structures, given)
        return self.measure(structures, dtype, selected)

    def check(self, structures: Structures) -> None:
        """Check that graphs of these structures can be built.

        Raises:
            StructureError: names the first structure that cannot be computed, why, and the fix.
            NotImplementedError: torch.func transforms the positions or cells.
        """
        check_graphs_can_be_built(structures.positions, structures.cells)
        needs_tags = any(rule.tags is not None for rule in self.rules.values())
        structures.validate(self.element_count, needs_tags)

    def as_periodic(self, structures: Structures) -> Structures:
        """The structures with the periodicity that counts: their own, or none."""
        return structures if self.periodic else replace(structures, periodic=torch.zeros_like(structures.periodic))

    @property
    def reach(self) -> float:
        """How far neighbors are searched for, in Å."""
        return max(rule.cutoff for rule in self.rules.values() if rule.within is None)

    def neighbors(self, structures: Structures) -> Neighbors:
        """What `forward` searches for, to be given to it.

        Raises:
            StructureError: a structure cannot be computed.
        """
        structures = self.as_periodic(structures)
        self.check(structures)
        return Neighbors(self.search(structures, self.reach))

    def select(self, structures: Structures, given: Pairs | Neighbors | None = None) -> dict[str, Selection]:
        """The pairs of each set, before symmetrization."""
        if given is None:
            found = Selection(self.search(structures, self.reach), reach=self.reach)
        elif isinstance(given, Neighbors):
            found = Selection(given.pairs)  # of unknown reach, so that every cutoff is applied
        selected: dict[str, Selection] = {}
        for name, rule in self.rules.items():
            if rule.within is not None:
                selected[name] = self._keep(name, selected[rule.within], structures)
            else:
                selected[name] = Selection(given) if isinstance(given, Pairs) else self._keep(name, found, structures)
        return selected

    def measure(self, structures: Structures, dtype: torch.dtype, selected: Mapping[str, Selection]) -> Graphs:
        """Distances, directions and index sets of selected pairs, `main` symmetrized."""
        symmetric = symmetrize(selected[MAIN].pairs, self.rules[MAIN].symmetrize or "union")
        selected = {**selected, MAIN: Selection(symmetric.pairs, _of_both_directions(selected[MAIN].weight, symmetric))}
        edge_sets = {
            name: measure(selected[name].pairs, structures, dtype, selected[name].weight) for name in self.measured
        }
        with torch.no_grad():
            indices = {request: request.build(edge_sets) for request in self.requests}
        return Graphs(structures, SymmetricEdges(edge_sets[MAIN], symmetric.reverse), edge_sets, indices)

    def _keep(self, name: str, within: Selection, structures: Structures) -> Selection:
        rule = self.rules[name]
        kept = within
        if rule.cutoff < within.reach:
            kept = replace(within.select(within.pairs.distance <= rule.cutoff), reach=rule.cutoff)
        if rule.max_neighbors is not None:
            kept = self._capped(kept, name, rule.max_neighbors, structures)
        if rule.tags is not None:
            fits = torch.isin(structures.tags, torch.tensor(rule.tags, device=structures.tags.device))
            kept = kept.select(fits.index_select(0, kept.pairs.source) | fits.index_select(0, kept.pairs.target))
        return kept

    def _capped(self, kept: Selection, name: str, max_neighbors: int, structures: Structures) -> Selection:
        pairs = kept.pairs
        if self.ties != "smooth":
            squared = self.ties == "inclusive_next" and self.rules[name].within is None
            nearest = nearest_runs(pairs, structures.atom_count, max_neighbors, self.ties, self.tie_tolerance, squared)
            return kept if nearest.complete else kept.select(join(nearest.start, nearest.length).item)
        weight = soft_weights(
            safe_norm(vectors(pairs, structures, torch.float64)),
            pairs.target,
            structures.atom_count,
            max_neighbors,
            _reach(name, self.rules),
            self.fade_width,
            kept.weight,
        )
        return replace(kept, weight=weight).select(weight > 0)


def _reach(name: str, rules: Mapping[str, EdgeSetOptions]) -> float:
    """The greatest distance in a set, in Å: its cutoff, or that of a set that it is within."""
    rule = rules[name]
    return rule.cutoff if rule.within is None else min(rule.cutoff, _reach(rule.within, rules))


def _of_both_directions(weight: Tensor | None, symmetric: SymmetricPairs) -> Tensor | None:
    """The weights of symmetrized pairs, from those of the pairs that were selected."""
    if weight is None:
        return None
    kept = (symmetric.place >= 0).nonzero()[:, 0]
    one_way = weight.new_zeros(len(symmetric.pairs)).index_copy(0, symmetric.place[kept], weight.index_select(0, kept))
    return either(one_way, one_way.index_select(0, symmetric.reverse))


def _with_parents(names: Sequence[str], rules: Mapping[str, EdgeSetOptions]) -> set[str]:
    needed: set[str] = set()
    for name in names:
        parent: str | None = name
        while parent is not None and parent not in needed:
            needed.add(parent)
            parent = rules[parent].within
    return needed
