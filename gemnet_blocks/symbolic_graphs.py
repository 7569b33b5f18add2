"""Graphs whose indices are real and whose distances and directions are symbols."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor, nn

from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.graph.builder import GraphBuilder, Graphs, Selection
from gemnet_blocks.graph.chains import chains
from gemnet_blocks.graph.index_sets import IndexRequest, QuadrupletRequest
from gemnet_blocks.graph.pairs import Neighbors, Pairs
from gemnet_blocks.graph.quadruplets import Quadruplets, of_different_atoms, triplets_around_source
from gemnet_blocks.graph.ragged import Join, row_pointers
from gemnet_blocks.graph.triplets import triplets
from gemnet_blocks.model.shape_tracing import SymbolicBookkeeper
from gemnet_blocks.structures import Structures


@final
class SymbolicGraphs(nn.Module):
    """Builds the graphs of given structures, as if from symbols.

    Args:
        builder: how graphs are built.
        structures: the structures.
        bookkeeper: makes the symbols.

    Attributes:
        counts: edges, triplets and quadruplets of what was built.
    """

    def __init__(self, builder: GraphBuilder, structures: Structures, bookkeeper: SymbolicBookkeeper) -> None:
        super().__init__()
        self._structures = builder.as_periodic(structures)
        self._bookkeeper = bookkeeper
        self._requests = {request: _counted(request, bookkeeper) for request in builder.requests}
        self._builder = copy(builder)
        self._builder.requests = tuple(self._requests.values())
        self.counts: dict[str, int] = {}

    def forward(self, structures: Structures, dtype: torch.dtype, given: Pairs | Neighbors | None = None) -> Graphs:
        """The graphs; of `structures` positions and cells are read, which may be symbols."""
        builder = self._builder
        with self._bookkeeper.real(), torch.no_grad():
            builder.check(self._structures)
            selected = builder.select(self._structures, given)
        symbolic = {name: self._symbolic(selection) for name, selection in selected.items()}
        graphs = builder.measure(builder.as_periodic(structures), dtype, symbolic)
        self.counts = graphs.counts()
        indices = {request: graphs.indices[counted] for request, counted in self._requests.items()}
        return replace(graphs, indices=indices)

    def _symbolic(self, selection: Selection) -> Selection:
        weight = selection.weight
        return selection if weight is None else replace(selection, weight=self._bookkeeper.symbol(weight))


def _counted(request: IndexRequest, bookkeeper: SymbolicBookkeeper) -> IndexRequest:
    return _CountedQuadruplets(request, bookkeeper) if isinstance(request, QuadrupletRequest) else request


@final
@dataclass(frozen=True, slots=True)
class _CountedQuadruplets(IndexRequest):
    """As many quadruplets around each edge c→a as there are, without saying which."""

    request: QuadrupletRequest
    bookkeeper: SymbolicBookkeeper

    @property
    def name(self) -> str:
        """What is counted, for tables."""
        return self.request.name

    def build(self, edge_sets: Mapping[str, EdgeSet]) -> Quadruplets:
        """Count the quadruplets; what listing them takes is entered into the ledger too."""
        edges, middle = edge_sets[self.request.outer], edge_sets[self.request.middle]
        with self.bookkeeper.unseen():
            count = _per_edge(edges, middle)
        around_target, around_source = triplets(edges, middle), triplets_around_source(edges, middle)
        joined = int(around_source.outer.bincount(minlength=middle.count)[around_target.inner].sum())
        number = self.bookkeeper.symbol(torch.empty(1, dtype=torch.long, device="meta"))
        pairs = Join(number.repeat(joined), number.repeat(joined))
        of_different_atoms(pairs, edges, middle, around_source, around_target)
        item = pairs.item
        del pairs
        first = row_pointers(around_target.outer, edges.count)[:-1]
        target_triplet = torch.repeat_interleave(first, count)
        kept = number.repeat(len(target_triplet))
        return Quadruplets(around_source, around_target, item.index_select(0, kept), target_triplet)


def _per_edge(edges: EdgeSet, middle: EdgeSet) -> Int[Tensor, " edges"]:
    """The number of quadruplets c→a←b←d of each edge c→a."""
    found = chains(edges, middle)
    count = torch.zeros_like(edges.source)
    for group, closing in zip(found.around_target.groups, found.closing, strict=True):
        here = found.sources[group.inner][:, None, :] * group.pair - (closing >= 0).long()
        count = count.index_add(0, group.outer.flatten(), here.sum(dim=2).flatten())
    return count
