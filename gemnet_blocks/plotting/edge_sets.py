"""Drawings of edge sets: the neighbors of an atom, and numbers of neighbors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gemnet_blocks.errors import StructureError
from gemnet_blocks.geometry.graphs import Graphs, measured_graphs
from gemnet_blocks.graph.builder import EdgeSetOptions, GraphBuilder, Selection
from gemnet_blocks.graph.neighbor_list import neighbor_search
from gemnet_blocks.graph.pairs import Pairs, pack_shift
from gemnet_blocks.plotting.picture import FigurePicture, new_figure, plain, tidy
from gemnet_blocks.plotting.views import (
    Array,
    as_structures,
    atom_colors,
    bare,
    chosen_atom,
    image_positions,
    one_structure,
    scale_bar,
    symbols,
    view_of,
)
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms


KEPT, FADING, ADDED, REMOVED, BEYOND, OTHER_TAGS = (
    "neighbor",
    "neighbor that fades out",
    "added by symmetrization",
    "removed by symmetrization",
    "beyond max_neighbors",
    "other tags",
)
"""Status of an atom within the cutoff."""


@dataclass(frozen=True, slots=True, eq=False)
class EdgeSets:
    """The edge sets of structures and the pairs from which they were selected.

    Attributes:
        builder: builder of the edge sets.
        structures: structures with the periodicity that the spec prescribes.
        selected: edge sets before symmetrization.
        graphs: edge sets after symmetrization.
        candidates: pairs within the cutoff of each set, before the selection by `max_neighbors` and tags.
    """

    builder: GraphBuilder
    structures: Structures
    selected: Mapping[str, Selection]
    graphs: Graphs
    candidates: Mapping[str, Pairs]

    @property
    def rules(self) -> Mapping[str, EdgeSetOptions]:
        """The options of each set."""
        return self.builder.rules


@dataclass(frozen=True, slots=True, eq=False)
class Neighborhood:
    """The neighborhood of one atom in one edge set.

    Attributes:
        source: index of each atom.
        shift: image of each atom in lattice vectors.
        status: status of each atom.
        weight: weight of each edge from 0 to 1, which is 1 unless neighbors fade out.
        tied: True for atoms that are as far as the last neighbor within `max_neighbors`, if some are beyond it.
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
        topology = builder.topology(structures, selected, torch.float64)
        graphs = measured_graphs(structures, topology, torch.float64)
        everything = builder.search(structures, builder.reach)
    candidates = {}
    for name, rule in builder.rules.items():
        parent = everything if rule.within is None else selected[rule.within].pairs
        candidates[name] = parent.select(parent.distance <= rule.cutoff)
    return EdgeSets(builder, structures, selected, graphs, candidates)


def neighborhood(found: EdgeSets, name: str, atom: int) -> Neighborhood:
    """Return the atoms within the cutoff of one atom and those that symmetrization adds."""
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
    """Return True if the rule keeps pairs with these tags."""
    return rule.tags is None or bool({int(structures.tags[source]), int(structures.tags[target])} & set(rule.tags))


def _tied(distance: Tensor, rule: EdgeSetOptions, tolerance: float) -> Tensor:
    """Return a mask of the sorted distances equal to the last one within `max_neighbors`, if the next one is too."""
    cap = rule.max_neighbors
    if not cap or len(distance) <= cap or distance[cap] - distance[cap - 1] > tolerance:
        return torch.zeros_like(distance, dtype=torch.bool)
    return (distance - distance[cap - 1]).abs() <= tolerance


COLORS = {KEPT: "#1f5fbf", FADING: "#6fa0e8", ADDED: "#1a7f45", REMOVED: "#b3261e", BEYOND: "0.6", OTHER_TAGS: "0.6"}
DASHES = {ADDED: (0, (5, 2)), REMOVED: (0, (1, 1.5))}
"""Line styles of edges that symmetrization adds or removes, which differ without colors too."""

TIE = "tie at max_neighbors"
TIE_COLOR = "#d9730d"
WIDTH, PANEL = 5.4, 2.75

MANY = 60
"""Number of edges above which lines are thin."""


def draw_edge_sets(
    spec: Spec, structures: Structures | Atoms | Sequence[Atoms], *, atom: int | None = None
) -> FigurePicture:
    """Draw all neighbors of one atom, with a panel for each edge set in use.

    Lines are edges into the atom. Dots are atoms within the cutoff that `max_neighbors` or tags exclude. Rings are
    atoms at the distance of the last neighbor within `max_neighbors`, some of which are excluded. The dotted circle is
    the cutoff.

    Args:
        spec: the architecture.
        structures: one structure.
        atom: index of the central atom; None: the first atom with the largest tag, for example of an adsorbate.

    Raises:
        StructureError: the structure cannot be computed, or does not have such an atom.
        ImportError: matplotlib is not installed.
    """
    structure = one_structure(structures)
    middle = chosen_atom(structure, atom)
    found = edge_sets_of(spec, structure)
    names = list(found.rules)
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(WIDTH, PANEL * rows + 1.3)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    shown: dict[str, Any] = {}
    for panel, name in zip(axes, names, strict=False):
        _panel(panel, found, name, middle, shown)
    for panel in axes[len(names) :]:
        panel.set_visible(False)
    figure.suptitle(f"neighbors of atom {middle} ({symbols(structure)[middle]})\n", fontsize=11)
    order = [label for label in (*COLORS, TIE) if label in shown]
    handles = [shown[label] for label in order]
    figure.legend(handles, order, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return FigurePicture(figure)


def _panel(axes: Any, found: EdgeSets, name: str, middle: int, shown: dict[str, Any]) -> None:
    from matplotlib.patches import Circle

    structure, rule = found.structures, found.rules[name]
    view = view_of(structure)
    around = neighborhood(found, name, middle)
    center = view @ structure.positions[middle].detach().double().numpy()
    places = (image_positions(structure, around.source, around.shift) @ view.T).reshape(-1, 3) - center
    axes.add_patch(Circle((0, 0), rule.cutoff, fill=False, edgecolor="0.5", linestyle=":"))
    _others(axes, around, places, shown)
    _edges(axes, structure, around, places, shown)
    number = structure.numbers[middle : middle + 1].numpy()
    axes.scatter([0], [0], s=70, c=atom_colors(number), edgecolors="black", linewidths=1.6, zorder=1e4)
    edges = found.graphs.edge_sets[name]
    count = int(edges.degree[middle])
    limit = "no limit" if rule.max_neighbors is None else f"max_neighbors {rule.max_neighbors}"
    text = f"{name}: {count} neighbor{'' if count == 1 else 's'}\n{rule.cutoff:g} Å, {limit}"
    axes.set_title(plain(text), fontsize=9.5)
    bare(axes)
    reach = max(rule.cutoff, float(np.abs(places[:, :2]).max(initial=0))) * 1.06
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    scale_bar(axes)


def _others(axes: Any, around: Neighborhood, places: Array, shown: dict[str, Any]) -> None:
    """Draw the atoms within the cutoff that are not neighbors, and ties."""
    for status, marker in ((BEYOND, "o"), (OTHER_TAGS, "x")):
        chosen = [number for number, found in enumerate(around.status) if found == status]
        if chosen:
            look = {"facecolors": "none", "edgecolors": COLORS[status]} if marker == "o" else {"c": COLORS[status]}
            shown[status] = axes.scatter(*places[chosen, :2].T, s=11, marker=marker, linewidths=0.8, zorder=1, **look)
    tied = around.tied.numpy()
    if tied.any():
        shown[TIE] = axes.scatter(
            *places[tied, :2].T, s=95, facecolors="none", edgecolors=TIE_COLOR, linewidths=1.6, zorder=2e4
        )


def _edges(axes: Any, structure: Structures, around: Neighborhood, places: Array, shown: dict[str, Any]) -> None:
    """Draw the edges into the atom, with those near the viewer on top."""
    numbers = structure.numbers[around.source].numpy()
    many = len(around.status) - around.status.count(BEYOND) - around.status.count(OTHER_TAGS) > MANY
    colors = atom_colors(numbers)
    for number in np.argsort(places[:, 2], kind="stable"):
        status = around.status[number]
        if status in (BEYOND, OTHER_TAGS):
            continue
        x, y, depth = places[number]
        (line,) = axes.plot(
            [x, 0],
            [y, 0],
            color=COLORS[status],
            linestyle=DASHES.get(status, "-"),
            alpha=0.25 + 0.75 * float(around.weight[number]) if status == FADING else 0.9,
            linewidth=0.5 if many else 1.3,
            zorder=100 + depth,
        )
        shown.setdefault(status, line)
        axes.scatter([x], [y], s=34, c=[colors[number]], edgecolors="0.25", linewidths=0.7, zorder=100.5 + depth)


HISTOGRAM_WIDTH, HISTOGRAM_PANEL = 5.4, 1.9
BINS = 40
"""Maximum number of bars of a histogram."""

FREE = 3
"""Margin of a histogram in numbers of neighbors."""


@dataclass(frozen=True, slots=True, eq=False)
class NeighborCounts:
    """Numbers of neighbors in one edge set.

    Attributes:
        edge_set: name of the edge set.
        cutoff: cutoff in Å.
        cap: maximum number of neighbors; None: no limit.
        counts: number of neighbors of each atom after symmetrization.
        within_cutoff: number of atoms within the cutoff of each atom.
    """

    edge_set: str
    cutoff: float
    cap: int | None
    counts: Array
    within_cutoff: Array

    @property
    def capped(self) -> float:
        """The fraction of atoms with more than `max_neighbors` atoms within the cutoff."""
        return 0.0 if self.cap is None or not len(self.counts) else float((self.within_cutoff > self.cap).mean())

    def row(self) -> tuple[str, ...]:
        """Return a row of the table with the columns `COLUMNS`."""
        cap = "none" if self.cap is None else str(self.cap)
        low, high = int(self.counts.min()), int(self.counts.max())
        return (
            self.edge_set,
            f"{self.cutoff:g} Å",
            cap,
            f"{self.counts.mean():.1f}",
            f"{low} to {high}",
            f"{self.within_cutoff.mean():.1f}",
            f"{100 * self.capped:.0f} %",
        )


COLUMNS = ("edge set", "cutoff", "max_neighbors", "mean", "range", "within cutoff", "limited")
"""Columns of the table of neighbors."""


def neighbor_counts(spec: Spec, structures: Structures | Atoms | Sequence[Atoms]) -> list[NeighborCounts]:
    """Count the neighbors of every atom in each edge set in use.

    Raises:
        StructureError: a structure cannot be computed, or the structures have no atoms.
    """
    batch = as_structures(structures)
    if batch.atom_count == 0:
        raise StructureError("the structures have no atoms whose neighbors could be counted")
    found = edge_sets_of(spec, batch)
    return [
        NeighborCounts(
            name,
            rule.cutoff,
            rule.max_neighbors,
            found.graphs.edge_sets[name].degree.numpy(),
            np.bincount(found.candidates[name].target.numpy(), minlength=batch.atom_count),
        )
        for name, rule in found.rules.items()
    ]


def draw_neighbors(spec: Spec, structures: Structures | Atoms | Sequence[Atoms]) -> FigurePicture:
    """Draw a histogram of the numbers of neighbors, with `max_neighbors`, for each edge set in use.

    Raises:
        StructureError: a structure cannot be computed, or the structures have no atoms.
        ImportError: matplotlib is not installed.
    """
    counted = neighbor_counts(spec, structures)
    figure = new_figure(HISTOGRAM_WIDTH, HISTOGRAM_PANEL * len(counted) + 0.6)
    line = None
    for axes, counts in zip(figure.subplots(len(counted), 1, squeeze=False)[:, 0], counted, strict=True):
        low, high = int(counts.counts.min()), int(counts.counts.max())
        if counts.cap is not None and counts.cap <= 2 * high:  # a larger limit is in the title only
            low, high = min(low, counts.cap), max(high, counts.cap)
            line = axes.axvline(counts.cap, color="tab:red", linestyle="--", linewidth=1.5)
        axes.set_xlim(max(low - FREE, -1), high + FREE)
        step = max(1, -(-(high - low + 1) // BINS))
        edges = np.arange(low - 0.5, high + step + 0.5, step)
        axes.hist(counts.counts, bins=edges, color="tab:blue", edgecolor="white", linewidth=0.4)
        _, cutoff, cap, mean, span, _, capped = counts.row()
        title = f"{counts.edge_set} ({cutoff}, max_neighbors {cap}): mean {mean}, {span}; limited atoms: {capped}"
        axes.set_title(plain(title), fontsize=9)
        axes.set_ylabel("atoms", fontsize=9)
        tidy(axes)
        axes.locator_params(axis="both", integer=True, nbins=7)
    axes.set_xlabel("neighbors of an atom", fontsize=9)
    if line is not None:
        figure.legend([line], ["max_neighbors"], loc="outside lower right", frameon=False, fontsize=9)
    return FigurePicture(figure)
