"""The neighbors of an atom in each edge set: cutoffs, caps, ties, tags and symmetrization on a structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gemnet_blocks.plotting.neighborhood import (
    ADDED,
    BEYOND,
    FADING,
    KEPT,
    OTHER_TAGS,
    REMOVED,
    EdgeSets,
    Neighborhood,
    edge_sets_of,
    neighborhood,
)
from gemnet_blocks.plotting.picture import FigurePicture, new_figure
from gemnet_blocks.plotting.views import (
    Array,
    atom_colors,
    bare,
    chosen_atom,
    image_positions,
    one_structure,
    scale_bar,
    symbols,
    view_of,
)
from gemnet_blocks.spec.schema import Spec
from gemnet_blocks.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

COLORS = {KEPT: "#1f5fbf", FADING: "#6fa0e8", ADDED: "#1a7f45", REMOVED: "#b3261e", BEYOND: "0.6", OTHER_TAGS: "0.6"}
DASHES = {ADDED: (0, (5, 2)), REMOVED: (0, (1, 1.5))}
"""Lines of edges that are not what was selected, told apart without colours as well."""

TIE = "tie at the cap"
TIE_COLOR = "#d9730d"
WIDTH, PANEL = 5.4, 2.75

MANY = 60
"""Of more edges than these, the lines are thin."""


def draw_edge_sets(
    spec: Spec, structures: Structures | Atoms | Sequence[Atoms], *, atom: int | None = None
) -> FigurePicture:
    """Draw all neighbors of one atom, a panel for each edge set in use.

    Lines are edges into the atom. Dots are atoms within the cutoff that are no neighbors, because of the cap or their
    tags; rings are neighbors at the same distance as the last one that the cap admits, where some are beyond it. The
    dotted circle is the cutoff.

    Args:
        spec: the architecture.
        structures: one structure.
        atom: the atom in the middle; None: the first of those with the greatest tag, such as an adsorbate's.

    Raises:
        StructureError: the structure cannot be computed, or there is no such atom.
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
    figure.legend(
        [shown[label] for label in order],
        order,
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=9,
    )
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
    cap = "no cap" if rule.max_neighbors is None else f"cap {rule.max_neighbors}"
    text = f"{name}: {count} neighbor{'' if count == 1 else 's'}\n{rule.cutoff:g} Å, {cap}".replace("$", r"\$")
    axes.set_title(text, fontsize=9.5)
    bare(axes)
    reach = max(rule.cutoff, float(np.abs(places[:, :2]).max(initial=0))) * 1.06
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    scale_bar(axes)


def _others(axes: Any, around: Neighborhood, places: Array, shown: dict[str, Any]) -> None:
    """Atoms within the cutoff that are no neighbors."""
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
    """Edges into the atom, the nearest to the viewer on top."""
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
