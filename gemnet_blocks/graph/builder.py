"""Builder of topologies: one neighbor search, the edge sets selected from it, and the index sets of these."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import and_, or_
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from gemnet_blocks.graph.edge_index import EdgeIndex, edge_index, joint_edges
from gemnet_blocks.graph.index_sets import IndexRequest
from gemnet_blocks.graph.max_neighbors import CapRule, soft_weights, within_cap
from gemnet_blocks.graph.neighbor_list import NeighborSearch
from gemnet_blocks.graph.pairs import Neighbors, Pairs
from gemnet_blocks.graph.symmetrize import SymmetricPairs, Symmetrization, symmetrize
from gemnet_blocks.graph.topology import BothDirections, Fading, Topology
from gemnet_blocks.options import Options
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.charges import Quantity
from gemnet_blocks.util.derivatives import check_graphs_can_be_built, is_traced

MAIN = "main"
"""The name of the symmetrized edge set that carries edge embeddings."""


class EdgeSetOptions(Options):
    """Rules that select the pairs of atoms that are edges of one set."""

    cutoff: Annotated[float, Field(gt=0)]
    """Largest distance in Å, typically 5 to 12. Radial functions vanish at the cutoff, so that the energy is continuous
    when edges appear or disappear, unless the set is within another one with a smaller cutoff."""
    max_neighbors: Annotated[int, Field(ge=0)] | None = None
    """Largest number of neighbors of a target atom, of which the nearest are kept; null for no limit."""
    tags: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)] | None = None
    """Keep edges whose source or target atom has one of these tags (0 below the surface, 1 surface, 2 adsorbate);
    null for all edges."""
    within: str | None = None
    """Select from the edges of this set, before its symmetrization, instead of from all pairs."""
    symmetrize: Symmetrization | None = None
    """Rule by which `main` gets the reverse of every edge; the default is union. Other sets are not symmetrized."""


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Pairs that were selected for one edge set.

    Attributes:
        pairs: the pairs, sorted by target and distance.
        reach: an upper bound of all distances, in Å.
        weight: weights between 0 and 1 if neighbors fade out; None for 1.
        origin: the index of each pair among the pairs that it was selected from; None if all were kept.
        fading: the recipe for computing the weights from distances, if neighbors fade out.
    """

    pairs: Pairs
    reach: float = math.inf
    weight: Float[Tensor, " pairs"] | None = None
    origin: Int[Tensor, " pairs"] | None = None
    fading: Fading | None = None

    def select(self, which: Bool[Tensor, " pairs"] | Int[Tensor, " chosen"]) -> Selection:
        """Select pairs by a mask or by indices, in the given order."""
        if which.dtype == torch.bool:
            which = which.nonzero()[:, 0]
            if not is_traced(which) and len(which) == len(self.pairs):
                return self
        return replace(
            self,
            pairs=self.pairs.select(which),
            weight=None if self.weight is None else self.weight.index_select(0, which),
            origin=None if self.origin is None else self.origin.index_select(0, which),
        )


class GraphBuilder(nn.Module):
    """Builder of the topology of structures: only the edge sets and index sets that a model uses.

    One search with the largest cutoff finds all pairs. Each edge set keeps the pairs within its cutoff, then the
    nearest `max_neighbors` of each target atom, then those with a matching tag. Finally, `main` is symmetrized,
    if there is one.

    Args:
        rules: the rules of each edge set; a set must follow the one that it is `within`.
        measured: the names of the edge sets that the model uses.
        requests: the index sets that the model uses.
        search: the neighbor search.
        ties: the treatment of neighbors at the same distance as the last one within `max_neighbors`, see `Ties`;
            `smooth` lets neighbors fade out, see `soft_weights`.
        tie_tolerance: the largest difference of distances that count as equal, in Å; with `inclusive_next`, the
            largest difference of squared distances in Å² for sets that are not within another one.
        fade_width: the distance over which neighbors fade out with `smooth`, in Å.
        periodic: False to treat all structures as isolated.
        element_count: the largest atomic number that the model knows; None for no limit.
        reads: whichever of charge and spin the model reads.
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
        reads: frozenset[Quantity] = frozenset(),
    ) -> None:
        super().__init__()
        always = (MAIN,) if MAIN in rules else ()
        self.measured = tuple(dict.fromkeys((*always, *measured)))
        self.rules = {name: rules[name] for name in rules if name in _with_parents(self.measured, rules)}
        self.requests = tuple(dict.fromkeys(requests))
        self.search = search
        self.ties = ties
        self.tie_tolerance = tie_tolerance
        self.fade_width = fade_width
        self.periodic = periodic
        self.element_count = element_count
        self.reads = reads

    @torch.no_grad()
    def forward(
        self,
        structures: Structures,
        dtype: torch.dtype,
        given: Pairs | Neighbors | None = None,
    ) -> Topology:
        """Build the topology.

        Args:
            structures: a batch of structures.
            dtype: the floating-point type of the model.
            given: neighbors that replace the search; or pairs that replace all edge sets that are not within another
                one, without any selection.

        Raises:
            StructureError: a structure is not valid; the message names it, the cause and the fix.
        """
        structures = self.as_periodic(structures)
        self.check(structures)
        return self.topology(structures, self.select(structures, given), dtype)

    def check(self, structures: Structures) -> None:
        """Check that the topology of these structures can be built.

        Raises:
            StructureError: a structure is not valid; the message names the first one, the cause and the fix.
            NotImplementedError: a torch.func transform is applied to positions or cells.
        """
        check_graphs_can_be_built(structures.positions, structures.cells)
        needs_tags = any(rule.tags is not None for rule in self.rules.values())
        structures.validate(self.element_count, needs_tags, self.reads)

    def as_periodic(self, structures: Structures) -> Structures:
        """Return the structures, without periodicity if `periodic` is False."""
        return structures if self.periodic else replace(structures, periodic=torch.zeros_like(structures.periodic))

    @property
    def reach(self) -> float:
        """The cutoff of the neighbor search in Å."""
        return max(rule.cutoff for rule in self.rules.values() if rule.within is None)

    def neighbors(self, structures: Structures) -> Neighbors:
        """Search for neighbors, which can be passed to `forward`.

        Raises:
            StructureError: a structure is not valid; the message names it, the cause and the fix.
        """
        structures = self.as_periodic(structures)
        self.check(structures)
        return Neighbors(self.search(structures, self.reach))

    def select(self, structures: Structures, given: Pairs | Neighbors | None = None) -> dict[str, Selection]:
        """Select the pairs of each edge set, before symmetrization."""
        if given is None:
            found = Selection(self.search(structures, self.reach), reach=self.reach)
        else:
            pairs = given.pairs if isinstance(given, Neighbors) else given
            # their reach is unknown, so that every cutoff is applied; their bounds are read once for all sets
            found = Selection(replace(pairs, bounds=pairs.bounded()))
        selected: dict[str, Selection] = {}
        for depth, level in enumerate(_levels(self.rules)):
            parents = {name: selected[rule.within] if rule.within else found for name, rule in level.items()}
            selected |= parents if isinstance(given, Pairs) and not depth else self._keep(parents, structures)
        return {name: selected[name] for name in self.rules}

    def topology(self, structures: Structures, selected: Mapping[str, Selection], dtype: torch.dtype) -> Topology:
        """Build the topology of selected pairs: symmetrize `main` and list the index sets."""
        pairs = {name: selected[name].pairs for name in self.measured}
        symmetric, fades = None, False
        if MAIN in pairs:
            symmetric = symmetrize(pairs[MAIN], self.rules[MAIN].symmetrize or "union")
            pairs[MAIN], fades = symmetric.pairs, selected[MAIN].fading is not None
        largest = max((one.bounded().shift for one in pairs.values()), default=0)
        joint, edges = joint_edges(pairs, structures, largest) if pairs else (None, {})
        known, without_volume = _read(edges, structures)
        return Topology(
            edges=edges,
            reverse=None if symmetric is None else symmetric.reverse,
            indices={request: request.suited(dtype).build(known) for request in self.requests},
            fading={name: one.fading for name, one in selected.items() if one.fading is not None},
            both_directions=_both_directions(symmetric) if symmetric is not None and fades else None,
            without_volume=without_volume,
            joint=joint,
        )

    def _keep(self, parents: Mapping[str, Selection], structures: Structures) -> dict[str, Selection]:
        """Select the pairs of several sets, given the pairs that each one is within; waits for the device once."""
        fading = {
            name: self._keep_fading(name, within, structures)
            for name, within in parents.items()
            if self.ties == "smooth" and (self.rules[name].max_neighbors is not None or within.weight is not None)
        }
        others = {name: within for name, within in parents.items() if name not in fading}
        masks = {
            name: mask for name, within in others.items() if (mask := self._mask(name, within, structures)) is not None
        }
        kept = {name: replace(within, fading=None) for name, within in others.items()}
        for name, chosen in _chosen(masks).items():
            within = kept[name] if chosen is None else kept[name].select(chosen)
            kept[name] = replace(within, reach=min(within.reach, self.rules[name].cutoff))
        return kept | fading

    def _mask(self, name: str, within: Selection, structures: Structures) -> Bool[Tensor, " pairs"] | None:
        """Select the pairs of a set among those that it is within; None for all of them."""
        rule, pairs = self.rules[name], within.pairs
        masks: list[Tensor] = []
        if rule.cutoff < within.reach:
            masks.append(pairs.distance <= rule.cutoff)
        if rule.max_neighbors is not None and self.ties != "smooth":
            # pairs beyond the cutoff come after all others and do not change which of these are the nearest
            squared = self.ties == "inclusive_next" and rule.within is None
            count = structures.atom_count
            masks.append(within_cap(pairs, count, rule.max_neighbors, self.ties, self.tie_tolerance, squared))
        if rule.tags is not None:
            masks.append(_has_tag(pairs, rule.tags, structures))
        return reduce(and_, masks) if masks else None

    def _keep_fading(self, name: str, within: Selection, structures: Structures) -> Selection:
        rule = self.rules[name]
        everything = _indices(within.pairs)
        kept = candidates = replace(within, origin=everything, fading=None)
        if rule.cutoff < within.reach:
            kept = candidates = replace(kept.select(kept.pairs.distance <= rule.cutoff), reach=rule.cutoff)
        if rule.max_neighbors is not None:
            pairs = kept.pairs
            weight = soft_weights(
                pairs.distance,
                pairs.target,
                structures.atom_count,
                rule.max_neighbors,
                reach_of(name, self.rules),
                self.fade_width,
                kept.weight,
            )
            kept = replace(kept, weight=weight, origin=_indices(pairs)).select(weight > 0)
        if rule.tags is not None:
            kept = kept.select(_has_tag(kept.pairs, rule.tags, structures))
        return replace(kept, fading=self._fading(name, within, candidates, kept, structures))

    def _fading(
        self, name: str, within: Selection, candidates: Selection, kept: Selection, structures: Structures
    ) -> Fading:
        rule = self.rules[name]
        assert candidates.origin is not None
        assert kept.origin is not None
        own = rule.max_neighbors is not None
        return Fading(
            parent=rule.within if within.weight is not None else None,
            in_parent=candidates.origin if own else kept.origin,
            candidates=edge_index(candidates.pairs, structures) if own else None,
            kept=kept.origin if own else None,
            max_neighbors=rule.max_neighbors or 0,
            reach=reach_of(name, self.rules),
            width=self.fade_width,
        )


def _indices(pairs: Pairs) -> Int[Tensor, " pairs"]:
    return torch.arange(pairs.source.shape[0], device=pairs.source.device)


def _has_tag(pairs: Pairs, tags: Sequence[int], structures: Structures) -> Bool[Tensor, " pairs"]:
    """Select the pairs whose source or target atom has one of the tags."""
    fits = reduce(or_, (structures.tags == tag for tag in tags), torch.zeros_like(structures.tags, dtype=torch.bool))
    return fits.index_select(0, pairs.source) | fits.index_select(0, pairs.target)


def reach_of(name: str, rules: Mapping[str, EdgeSetOptions]) -> float:
    """Return the smallest cutoff of a set and all sets that it is within, in Å."""
    rule = rules[name]
    return rule.cutoff if rule.within is None else min(rule.cutoff, reach_of(rule.within, rules))


def _chosen(masks: Mapping[str, Bool[Tensor, " pairs"]]) -> Mapping[str, Tensor | None]:
    """Convert masks to indices, and those that keep all pairs to None; waits for the device once."""
    if not masks or any(map(is_traced, masks.values())):
        return masks
    counts = torch.stack([mask.sum() for mask in masks.values()]).tolist()
    return {
        name: None if count == len(mask) else torch.nonzero_static(mask, size=count)[:, 0]
        for (name, mask), count in zip(masks.items(), counts, strict=True)
    }


def _levels(rules: Mapping[str, EdgeSetOptions]) -> list[dict[str, EdgeSetOptions]]:
    """Divide edge sets by the number of sets that they are within, those within none first."""
    depth: dict[str, int] = {}
    for name, rule in rules.items():
        depth[name] = 0 if rule.within is None else depth[rule.within] + 1
    deepest = max(depth.values(), default=-1)
    return [{name: rules[name] for name in rules if depth[name] == level} for level in range(deepest + 1)]


def _read(edges: Mapping[str, EdgeIndex], structures: Structures) -> tuple[dict[str, EdgeIndex], int | None]:
    """Read the number of edges into each atom and the first structure that is not periodic in all directions.

    Neither is read while operations are traced.
    """
    if is_traced(structures.periodic):
        return dict(edges), None
    count, atoms = len(structures), structures.atom_count
    index = torch.arange(count + 1, device=structures.periodic.device)
    # the last entry stands for no structure
    place = torch.where(structures.periodic.all(dim=-1), count, index[:-1])
    first = torch.cat([place, index[-1:]]).min()
    on_host = torch.cat([first[None], *(one.degree for one in edges.values())]).cpu().numpy()
    first_open, degrees = int(on_host[0]), on_host[1:].reshape(len(edges), atoms)
    read = zip(edges, edges.values(), degrees, strict=True)
    known = {name: replace(one, degree_on_host=degree) for name, one, degree in read}
    return known, first_open if first_open < count else None


def _both_directions(symmetric: SymmetricPairs) -> BothDirections:
    kept = (symmetric.place >= 0).nonzero()[:, 0]
    return BothDirections(kept, symmetric.place.index_select(0, kept))


def _with_parents(names: Sequence[str], rules: Mapping[str, EdgeSetOptions]) -> set[str]:
    needed: set[str] = set()
    for name in names:
        parent: str | None = name
        while parent is not None and parent not in needed:
            needed.add(parent)
            parent = rules[parent].within
    return needed
