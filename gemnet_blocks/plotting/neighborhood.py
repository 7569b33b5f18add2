"""Which neighbors of atoms belong to an edge set, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gemnet_blocks.geometry.edges import pack_shift
from gemnet_blocks.graph.builder import EdgeSetOptions, GraphBuilder, Graphs, Selection
from gemnet_blocks.graph.neighbor_list import neighbor_search
from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.spec.schema import Spec
from gemnet_blocks.structures import Structures

KEPT, FADING, ADDED, REMOVED, BEYOND, OTHER_TAGS = (
    "neighbor",
    "neighbor that fades out",
    "added by symmetrization",
    "removed by symmetrization",
    "beyond the cap",
    "other tags",
)
"""What can become of an atom within the cutoff."""


@dataclass(frozen=True, slots=True, eq=False)
class EdgeSets:
    """The edge sets of structures with all that they were selected from.

    Attributes:
        builder: what selected them.
        structures: as periodic as they count.
        selected: before symmetrization.
        graphs: afterwards.
        candidates: the pairs within each set's cutoff, before its cap and tags.
    """

    builder: GraphBuilder
    structures: Structures
    selected: Mapping[str, Selection]
    graphs: Graphs
    candidates: Mapping[str, Pairs]

    @property
    def rules(self) -> Mapping[str, EdgeSetOptions]:
        """What belongs to each set."""
        return self.builder.rules


@dataclass(frozen=True, slots=True, eq=False)
class Neighborhood:
    """The atoms around one atom, for one edge set.

    Attributes:
        source: the index of each.
        shift: which image.
        status: what became of each.
        weight: of each edge, from 0 to 1; 1 without smooth caps.
        tied: whether it is as far away as the last one that the cap admits, where there are several.
    """

    source: Tensor
    shift: Tensor
    status: tuple[str, ...]
    weight: Tensor
    tied: Tensor


def edge_sets_of(spec: Spec, structures: Structures) -> EdgeSets:
    """Build the edge sets in use of a spec.

    Raises:
        StructureError: a structure cannot be computed.
    """
    used = spec.graphs_in_use()
    names = [name for name in spec.graphs if name in used]
    neighbors = spec.neighbors
    builder = GraphBuilder(
        spec.graphs,
        measured=names,
        requests=[],
        search=neighbor_search("auto"),
        ties=neighbors.ties,
        tie_tolerance=neighbors.tie_tolerance,
        fade_width=neighbors.fade_width,
        periodic=neighbors.periodic,
        element_count=spec.elements,
    )
    structures = builder.as_periodic(structures)
    builder.check(structures)
    with torch.no_grad():
        selected = builder.select(structures)
        graphs = builder.measure(structures, torch.float64, selected)
        everything = builder.search(structures, builder.reach)
    candidates = {}
    for name, rule in builder.rules.items():
        parent = everything if rule.within is None else selected[rule.within].pairs
        candidates[name] = parent.select(parent.distance <= rule.cutoff)
    return EdgeSets(builder, structures, selected, graphs, candidates)


def neighborhood(found: EdgeSets, name: str, atom: int) -> Neighborhood:
    """The atoms around one atom within the cutoff of an edge set, and those that symmetrization adds."""
    rule, edges = found.rules[name], found.graphs.edge_sets[name]
    candidates = found.candidates[name].select(found.candidates[name].target == atom)
    chosen = found.selected[name].pairs
    chosen = chosen.select(chosen.target == atom)
    first, last = int(edges.first[atom]), int(edges.first[atom + 1])
    final_source, final_shift = edges.source[first:last], edges.shift[first:last]
    weights = edges.distance.new_ones(last - first) if edges.weight is None else edges.weight[first:last]
    final = dict(zip(_keys(final_source, final_shift), weights.tolist(), strict=True))
    among = _keys(candidates.source, candidates.shift)
    selected = set(_keys(chosen.source, chosen.shift))
    new = [number for number, key in enumerate(_keys(final_source, final_shift)) if key not in set(among)]
    status = []
    for key in among:
        if key in final:
            status.append(ADDED if key not in selected else KEPT if final[key] == 1 else FADING)
        elif key in selected:
            status.append(REMOVED)
        else:
            status.append(BEYOND if _fits(found.structures, rule, key[0], atom) else OTHER_TAGS)
    every = [*among, *(_keys(final_source[new], final_shift[new]))]
    tied = torch.zeros(len(every), dtype=torch.bool, device="cpu")
    tied[: len(among)] = _tied(candidates.distance, rule, found.builder.tie_tolerance)
    return Neighborhood(
        source=torch.cat((candidates.source, final_source[new])),
        shift=torch.cat((candidates.shift, final_shift[new])),
        status=(*status, *(ADDED for _ in new)),
        weight=torch.tensor([final.get(key, 0.0) for key in every], dtype=torch.float64, device="cpu"),
        tied=tied,
    )


def _keys(source: Tensor, shift: Tensor) -> list[tuple[int, int]]:
    return list(zip(source.tolist(), pack_shift(shift).tolist(), strict=True))


def _fits(structures: Structures, rule: EdgeSetOptions, source: int, target: int) -> bool:
    """Whether the tags of a pair are those that the rule keeps."""
    return rule.tags is None or bool({int(structures.tags[source]), int(structures.tags[target])} & set(rule.tags))


def _tied(distance: Tensor, rule: EdgeSetOptions, tolerance: float) -> Tensor:
    """Which of the sorted distances are the same as the last one within the cap, where one beyond it is, too."""
    cap = rule.max_neighbors
    if not cap or len(distance) <= cap or distance[cap] - distance[cap - 1] > tolerance:
        return torch.zeros_like(distance, dtype=torch.bool)
    return (distance - distance[cap - 1]).abs() <= tolerance
