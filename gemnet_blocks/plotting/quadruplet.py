"""Drawing of one quadruplet of atoms with its three angles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from gemnet_blocks.errors import SpecError, StructureError
from gemnet_blocks.geometry.angles import collinear_rule, quadruplet_angles
from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.graph.quadruplets import Quadruplets
from gemnet_blocks.graph.ragged import segments
from gemnet_blocks.graph.triplets import Triplets
from gemnet_blocks.plotting.edge_sets import edge_sets_of
from gemnet_blocks.plotting.picture import FigurePicture, new_figure
from gemnet_blocks.plotting.views import (
    Array,
    atom_colors,
    bare,
    chosen_atom,
    one_structure,
    scale_bar,
    square,
    symbols,
    widest_view,
)
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms


NEAREST = 6
"""Number of nearest neighbors to consider for each edge of a quadruplet."""

CLEAR = 0.3
"""Minimum product of the sines of the three angles of a quadruplet that is easy to see."""


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A quadruplet c→a←b←d.

    `places` are the positions of a, b, c and d in Å; the angles φ_cab (at the target), φ_abd (at the source) and θ_cabd
    are in degrees.
    """

    places: Array
    atoms: tuple[int, int, int, int]
    at_target: float
    at_source: float
    dihedral: float

    @property
    def length(self) -> float:
        """The sum of the lengths of its three edges in Å."""
        a, b, c, d = self.places
        return float(sum(np.linalg.norm(end - start) for start, end in ((c, a), (b, a), (d, b))))


def find_chain(spec: Spec, structure: Structures, outer: EdgeSet, middle: EdgeSet, target: int) -> Chain | None:
    """Return the shortest quadruplet around an atom with clearly visible angles, or else the clearest one."""
    chains = [
        chain
        for b in _into(middle, target)
        for c, d in product(_into(outer, target), _into(outer, int(middle.source[b])))
        if (chain := _chain(spec, structure, outer, middle, (c, b, d))) is not None
    ]
    clear = [chain for chain in chains if _clarity(chain) > CLEAR]
    if clear:
        return min(clear, key=lambda chain: round(chain.length, 6))
    return max(chains, key=_clarity, default=None)


def _into(edges: EdgeSet, atom: int) -> list[int]:
    """Return the shortest edges into an atom."""
    first, last = int(edges.first[atom]), int(edges.first[atom + 1])
    return list(range(first, min(last, first + NEAREST)))


def _clarity(chain: Chain) -> float:
    angles = np.radians([chain.at_target, chain.at_source, chain.dihedral])
    return float(np.round(np.sin(angles).prod(), 6))


def _chain(
    spec: Spec, structure: Structures, outer: EdgeSet, middle: EdgeSet, edges: tuple[int, int, int]
) -> Chain | None:
    """Return the quadruplet of the edges c→a, b→a and d→b; None if two of its atoms coincide."""
    c, b, d = edges
    u_ca, u_ba, u_db = outer.direction[c], middle.direction[b], outer.direction[d]
    a_place = structure.positions[int(middle.target[b])].detach().double()
    b_place = a_place - middle.distance[b] * u_ba
    c_place, d_place = a_place - outer.distance[c] * u_ca, b_place - outer.distance[d] * u_db
    places = torch.stack((a_place, b_place, c_place, d_place))
    if float(torch.nn.functional.pdist(places).min()) < 1e-3:
        return None
    zero, one = torch.zeros(1, dtype=torch.long, device="cpu"), torch.ones(1, dtype=torch.long, device="cpu")
    only = segments(zero, 1)
    chain = Quadruplets(Triplets(zero, one, only), Triplets(zero, zero, only), zero, zero, only)
    rule = collinear_rule(spec.bases.collinear)
    angles = quadruplet_angles(torch.stack((u_ca, u_db)), u_ba[None], chain, rule)
    dihedral = torch.atan2(angles.dihedral.sine, angles.dihedral.cosine)
    at_target, at_source = (value.clamp(-1, 1).acos() for value in (angles.cos_at_target, angles.cos_at_source))
    atoms = (int(middle.target[b]), int(middle.source[b]), int(outer.source[c]), int(outer.source[d]))
    return Chain(
        places.numpy(), atoms, *(float(np.degrees(float(value))) for value in (at_target, at_source, dihedral))
    )


Side = Literal["outside", "inside"]
"""Side of a triangle of atoms on which the lengths of its edges are written, opposite to the angle."""

WIDTH, HEIGHT = 5.4, 6.2


def draw_quadruplet(
    spec: Spec,
    structures: Structures | Atoms | Sequence[Atoms],
    *,
    atom: int | None = None,
    edge_set: str | None = None,
) -> FigurePicture:
    """Draw a quadruplet c→a←b←d in its structure, and each of its angles in true size.

    The quadruplet is the shortest one around the atom whose angles are clearly visible.

    Args:
        spec: the architecture.
        structures: one structure.
        atom: index of atom a; None: the first atom with the largest tag among those with quadruplets.
        edge_set: edge set of the middle edge b→a; None: that of the first quadruplet interaction, else `main`.

    Raises:
        SpecError: the edge set is unknown or not used.
        StructureError: the structure cannot be computed, or does not have a quadruplet around the atom.
        ImportError: matplotlib is not installed.
    """
    structure = one_structure(structures)
    name = edge_set or _middle(spec)
    if name not in spec.graphs_in_use():
        used = ", ".join(sorted(spec.graphs_in_use()))
        raise SpecError(f"edge_set: expected an edge set that an interaction reads ({used}), got {name!r}")
    found = edge_sets_of(spec, structure)
    outer, middle = found.graphs.main.edges, found.graphs.edge_sets[name]
    order = torch.argsort(structure.tags, descending=True, stable=True).tolist()
    targets = order if atom is None else [chosen_atom(structure, atom)]
    for target in targets:
        chain = find_chain(spec, found.structures, outer, middle, target)
        if chain is not None:
            return _draw(found.structures, chain)
    if atom is not None:
        raise StructureError(
            f"atom {atom} does not have a quadruplet with a middle edge of {name!r}: choose another atom"
        )
    raise StructureError(
        f"the structure does not have a quadruplet with a middle edge of {name!r}, which needs a chain of four atoms "
        "within the cutoffs: choose another structure, a longer cutoff, or another edge set"
    )


def _middle(spec: Spec) -> str:
    for options in spec.interactions.values():
        if getattr(options, "type", None) == "quadruplet":
            return str(getattr(options, "graph", MAIN))
    return MAIN


def _draw(structure: Structures, chain: Chain) -> FigurePicture:
    figure = new_figure(WIDTH, HEIGHT)
    (context, at_target), (at_source, along) = figure.subplots(2, 2)
    a, b, c, d = chain.places
    names = {label: symbols(structure)[atom] for label, atom in zip("abcd", chain.atoms, strict=True)}
    elements = ", ".join(f"{label} = {name}" for label, name in names.items())
    figure.suptitle(f"quadruplet c→a←b←d: {elements}", fontsize=11)
    _context(context, structure, chain)
    colors = dict(zip("abcd", atom_colors(structure.numbers[list(chain.atoms)].numpy()), strict=True))
    plane = _axes_of_plane(b - a, c - a)
    flat = {"a": np.zeros(2), "b": plane @ (b - a), "c": plane @ (c - a)}
    _angle(at_target, flat["a"], flat["c"], flat["b"], "φ")
    _atoms(at_target, flat, (("c", "a"), ("b", "a")), colors, "outside")
    at_target.set_title(f"at a: φ = {chain.at_target:.0f}°\nbetween c→a and b→a", fontsize=9.5)
    plane = _axes_of_plane(a - b, d - b)
    flat = {"b": np.zeros(2), "a": plane @ (a - b), "d": plane @ (d - b)}
    onward = -flat["d"] * min(1.0, float(np.linalg.norm(a - b) / np.linalg.norm(d - b)))
    at_source.plot(*zip(flat["b"], onward, strict=True), color="0.5", linestyle=":", zorder=1)
    _angle(at_source, flat["b"], onward, flat["a"], "φ")
    _atoms(at_source, flat, (("d", "b"), ("b", "a")), colors, "inside")
    at_source.set_title(f"at b: φ = {chain.at_source:.0f}°\nbetween d→b (continued) and b→a", fontsize=9.5)
    plane = _across(a - b, c - a)
    flat = {"c": plane @ (c - a), "d": plane @ (d - b)}
    _angle(along, np.zeros(2), flat["c"], flat["d"], "θ")
    _atoms(along, {"a, b": np.zeros(2), **flat}, (("c", "a, b"), ("d", "a, b")), {**colors, "a, b": colors["a"]})
    along.set_title(f"along a and b: θ = {chain.dihedral:.0f}°\nthe dihedral angle", fontsize=9.5)
    return FigurePicture(figure)


def _context(axes: Any, structure: Structures, chain: Chain) -> None:
    view = widest_view(chain.places)
    everything = structure.positions.detach().double().numpy() @ view.T
    places = chain.places @ view.T
    order = np.argsort(everything[:, 2], kind="stable")
    colors = atom_colors(structure.numbers.numpy())
    axes.scatter(*everything[order, :2].T, s=60, c=colors[order], alpha=0.5, edgecolors="0.5", linewidths=0.5)
    flat = dict(zip("abcd", places[:, :2], strict=True))
    disk_colors = dict(zip("abcd", colors[list(chain.atoms)], strict=True))
    _atoms(axes, flat, (("c", "a"), ("b", "a"), ("d", "b")), disk_colors)
    axes.set_title("in the structure", fontsize=9.5)
    square(axes, places[:, :2], 1.6, least=2.0)
    scale_bar(axes)


def _axes_of_plane(along: Array, within: Array) -> Array:
    """Return two unit vectors: along the first vector, and perpendicular to it towards the second."""
    right = along / np.linalg.norm(along)
    up = within - (within @ right) * right
    if np.linalg.norm(up) < 1e-6:
        up = np.cross(right, np.eye(3)[np.abs(right).argmin()])
    return np.array([right, up / np.linalg.norm(up)])


def _across(along: Array, within: Array) -> Array:
    """Return two unit vectors perpendicular to the first vector, the first of them towards the second."""
    first, second = _axes_of_plane(along, within)
    return np.array([second, np.cross(first, second)])


def _atoms(
    axes: Any,
    places: dict[str, Array],
    edges: Sequence[tuple[str, str]],
    colors: dict[str, Any],
    lengths: Side | None = None,
) -> None:
    """Draw labeled atoms and arrows from source to target, with lengths in Å on one side."""
    middle = np.mean(list(places.values()), axis=0)
    for source, target in edges:
        start, end = places[source], places[target]
        arrow = {"arrowstyle": "-|>", "color": "#1f5fbf", "shrinkA": 8, "shrinkB": 8, "linewidth": 1.6}
        axes.annotate("", end, start, arrowprops=arrow, zorder=3)
        if lengths is not None:
            beside = np.array([start[1] - end[1], end[0] - start[0]]) / np.linalg.norm(end - start)
            is_outside = beside @ ((start + end) / 2 - middle) >= 0
            offset = beside * (14 if is_outside == (lengths == "outside") else -14) * (1.0, 0.8)
            text = f"{np.linalg.norm(end - start):.2f} Å"
            axes.annotate(
                text, (start + end) / 2, offset, textcoords="offset points", fontsize=8, ha="center", va="center"
            )
    for label, place in places.items():
        axes.scatter(
            *place, s=210 if len(label) == 1 else 420, c=[colors[label]], edgecolors="black", linewidths=1.0, zorder=5
        )
        luminance = colors[label] @ np.array([0.299, 0.587, 0.114])
        ink = "black" if luminance > 0.5 else "white"
        axes.text(*place, label, ha="center", va="center_baseline", fontsize=9, color=ink, zorder=6)
    bare(axes)
    square(axes, np.array([*places.values()]))


def _angle(axes: Any, corner: Array, one: Array, other: Array, letter: str) -> None:
    """Draw an arc and a letter for the angle between two directions at a corner."""
    from matplotlib.patches import Arc

    angles = [np.degrees(np.arctan2(*(place - corner)[::-1])) for place in (one, other)]
    first, last = sorted(angles)
    if last - first > 180:
        first, last = last, first + 360
    radius = 0.45 * min(float(np.linalg.norm(place - corner)) for place in (one, other))
    axes.add_patch(
        Arc(tuple(corner), 2 * radius, 2 * radius, theta1=first, theta2=last, color=("#d9730d"), linewidth=2, zorder=2)
    )
    middle = np.radians((first + last) / 2)
    text = corner + 1.3 * radius * np.array([np.cos(middle), np.sin(middle)])
    axes.text(*text, letter, color="#b4540a", fontsize=11, ha="center", va="center", zorder=7)
