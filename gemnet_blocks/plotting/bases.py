"""Drawings of bases and envelopes as curves and maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.envelopes import Envelope
from gemnet_blocks.basis.fourier_bessel import degree_count
from gemnet_blocks.basis.radial import RadialBasis
from gemnet_blocks.basis.spherical import RealHarmonics, SphericalBasis
from gemnet_blocks.errors import SpecError
from gemnet_blocks.geometry.angles import Azimuth
from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.options import Options
from gemnet_blocks.plotting.picture import FigurePicture, new_figure, plain, tidy
from gemnet_blocks.spec.bases import depends_on_degree
from gemnet_blocks.spec.catalog import CIRCULAR, ENVELOPE, RADIAL, SPHERICAL, Catalog
from gemnet_blocks.spec.part import BASES
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.spec.schema import BasisOptions

ROWS = 7
"""Maximum number of rows of maps."""

MAP_POINTS = 61
"""Number of points along each angle of a map."""


def map_rows(basis: SphericalBasis) -> list[list[int]]:
    """Return the functions of each row: products by their first factor, harmonics by their degree."""
    count = min(basis.count, ROWS)
    if isinstance(basis, RealHarmonics):
        # the basis orders m as 0, …, l, -l, …, -1, the drawing from -l to l
        return [
            [degree**2 + order % (2 * degree + 1) for order in range(-degree, degree + 1)] for degree in range(count)
        ]
    return [[row * basis.count + column for column in range(count)] for row in range(count)]


def draw_maps(figure: Any, basis: SphericalBasis, title: str) -> None:
    """Draw every function as a map of the dihedral angle (to the right) and the polar angle (downwards)."""
    harmonics = isinstance(basis, RealHarmonics)
    values = _values(basis)
    rows = map_rows(basis)
    figure.get_layout_engine().set(wspace=0.01, hspace=0.01)
    columns = max(map(len, rows))
    reach = float(values[..., [index for row in rows for index in row]].abs().max()) or 1.0
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for number, row in enumerate(rows):
        first = (columns - len(row)) // 2
        for column in range(columns):
            here = axes[number, column]
            if not first <= column < first + len(row):
                here.set_axis_off()
                continue
            image = here.imshow(
                values[..., row[column - first]].numpy(),
                extent=(0, 180, 180, 0),
                aspect="auto",
                cmap="RdBu_r",
                vmin=-reach,
                vmax=reach,
                rasterized=True,
            )
            here.set(xticks=[], yticks=[])
        label = f"l = {number}" if harmonics else f"{number}"
        axes[number, 0].text(
            -0.25, 0.5, label, transform=axes[number, 0].transAxes, fontsize=9, ha="right", va="center"
        )
    shown = sum(map(len, rows))
    text = f"{basis.size} functions" if shown == basis.size else f"{shown} of {basis.size} functions"
    figure.suptitle(plain(f"{title} ({text})"), fontsize=11)
    across = "order m, from -l to l" if harmonics else "function of the dihedral angle"
    figure.supxlabel(f"each map: dihedral angle 0° to 180° →\n{across} →", fontsize=9)
    figure.supylabel("each map: ← polar angle 180° to 0°", fontsize=9)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
    bar.ax.tick_params(labelsize=8)


def _values(basis: SphericalBasis) -> torch.Tensor:
    """Evaluate the functions on a grid, (polar angles, dihedral angles, functions)."""
    polar = torch.linspace(0, torch.pi, MAP_POINTS, dtype=torch.float64, device="cpu")
    dihedral = torch.linspace(0, torch.pi, MAP_POINTS, dtype=torch.float64, device="cpu")
    phi, theta = torch.meshgrid(polar, dihedral, indexing="ij")
    with torch.no_grad():
        return deepcopy(basis).double()(torch.cos(phi), Azimuth(torch.cos(theta), torch.sin(theta)))


WIDTH = 5.4
"""Width of pictures in inches, so that text is legible on a phone."""

POINTS = 601
"""Number of points per curve."""

CURVES = 16
"""Maximum number of curves per basis."""

DRAWN = ("envelope", "radial", "angular_radial", "circular", "spherical")
"""The fields of bases in the order of their panels."""


def draw_envelope(envelope: Envelope) -> FigurePicture:
    """Draw an envelope u and its first and second derivatives as functions of distance/cutoff.

    Raises:
        ImportError: matplotlib is not installed.
    """
    return _alone(_envelope, envelope, 2.9)


def draw_radial(basis: RadialBasis) -> FigurePicture:
    """Draw up to 16 functions of a radial basis, times their envelope, as functions of the distance.

    Raises:
        ImportError: matplotlib is not installed.
    """
    return _alone(_radial, basis, 3.0)


def draw_circular(basis: CircularBasis) -> FigurePicture:
    """Draw up to 16 functions of a circular basis as functions of the angle.

    Raises:
        ImportError: matplotlib is not installed.
    """
    return _alone(_circular, basis, 3.0)


def draw_spherical(basis: SphericalBasis) -> FigurePicture:
    """Draw the functions of a spherical basis as maps over both angles.

    Raises:
        ImportError: matplotlib is not installed.
    """
    return _alone(draw_maps, basis, _map_height(basis))


def _alone(draw: Callable[[Any, Any, str], None], layer: torch.nn.Module, height: float) -> FigurePicture:
    figure = new_figure(WIDTH, height)
    draw(figure, layer, type(layer).__name__)
    return FigurePicture(figure)


def draw_bases(
    spec: Spec, *, edge_set: str = MAIN, extra: Mapping[str, type] | None = None, allow_imports: bool = False
) -> FigurePicture:
    """Draw the envelope and all bases of a spec, and the own bases of its interactions.

    Args:
        spec: the architecture.
        edge_set: edge set whose cutoff is that of the radial functions.
        extra: custom bases and envelopes, by the name that `type` gives them.
        allow_imports: import types such as `my_lab.bases:Wavelets`, which runs their code; only for specs that you
            trust.

    Raises:
        SpecError: a basis is unknown or cannot be built, or the edge set does not exist.
        ImportError: matplotlib is not installed.
    """
    if edge_set not in spec.graphs:
        raise SpecError(f"unknown edge set {edge_set!r}; known: {', '.join(spec.graphs)}")
    catalog, cutoff = spec.catalog.plus(extra, allow_imports), spec.graphs[edge_set].cutoff
    shared = spec.bases
    fields = [field for field in DRAWN if getattr(shared, field) is not None]
    if shared.angular_radial == shared.radial:
        fields.remove("angular_radial")
    panels = _panels(shared, fields, catalog, cutoff, f"edges of {edge_set}")
    for name in spec.interactions:
        bases = spec.bases_of(name)
        own = [field for field in DRAWN if getattr(bases, field) != getattr(shared, field)]
        panels += _panels(bases, own, catalog, cutoff, f"edges of {edge_set}", f"interactions.{name}.")
    heights = [panel.height for panel in panels]
    figure = new_figure(WIDTH, sum(heights))
    places = figure.subfigures(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for place, panel in zip(places, panels, strict=True):
        panel.draw(place, panel.basis, panel.title)
    return FigurePicture(figure)


@dataclass(frozen=True, slots=True)
class _Panel:
    """A drawing of one basis."""

    draw: Callable[[Any, Any, str], None]
    basis: Any
    title: str
    height: float


def _panels(
    bases: BasisOptions, fields: Sequence[str], catalog: Catalog, cutoff: float, edges: str, owner: str = ""
) -> list[_Panel]:
    """Make the bases with these fields; `owner` is the path of the interaction whose bases they are."""
    panels = []
    envelope = _made(catalog, ENVELOPE, bases.envelope, f"{owner}bases.envelope")
    of = f" of {owner.split('.')[1]}" if owner else ""
    for field in fields:
        options, kind, place = getattr(bases, field), BASES[field], f"{owner}bases.{field}"
        title = f"{field.replace('_', ' ')}{of}: {_type(options)}"
        if kind == RADIAL:
            of_degree = [_degree_count(bases, catalog, owner)] if depends_on_degree(options, catalog) else []
            basis = _made(catalog, kind, options, place, cutoff, envelope, *of_degree)
            panels.append(_Panel(_radial, basis, f"{title}, {edges}", 3.0))
        elif kind == ENVELOPE:
            panels.append(_Panel(_envelope, envelope, title, 2.9))
        elif kind == CIRCULAR:
            panels.append(_Panel(_circular, _made(catalog, kind, options, place), title, 3.0))
        else:
            basis = _made(catalog, kind, options, place)
            panels.append(_Panel(draw_maps, basis, title, _map_height(basis)))
    return panels


def _degree_count(bases: BasisOptions, catalog: Catalog, owner: str) -> int:
    circular = _made(catalog, CIRCULAR, bases.circular, f"{owner}bases.circular")
    spherical = bases.spherical and _made(catalog, SPHERICAL, bases.spherical, f"{owner}bases.spherical")
    return degree_count(circular, spherical)


def _type(options: Any) -> str:
    return str(options.type)


def _made(catalog: Catalog, kind: str, options: Options, place: str, *arguments: Any) -> Any:
    name = _type(options)
    try:
        part = catalog.find(kind, name)
        if part is None:
            raise SpecError(catalog.unknown(kind, name))
        # options of a custom class are still a mapping if the spec was read without the class
        known = part.Options.model_validate(options.model_dump())
        with torch.device("cpu"):
            return part.from_options(known, *arguments)
    except ValueError as error:
        raise SpecError(f"{place}: {error}") from error


def _map_height(basis: SphericalBasis) -> float:
    return 1.3 + 0.62 * len(map_rows(basis))


def _envelope(figure: Any, envelope: Envelope, title: str) -> None:
    x = torch.linspace(0, 1.1, POINTS, dtype=torch.float64, device="cpu", requires_grad=True)
    value = deepcopy(envelope).double()(x)
    first, second = _derivatives(value, x)
    left, right = figure.subplots(1, 2)
    figure.suptitle(plain(title), fontsize=11)
    left.plot(_array(x), _array(value), color="tab:blue")
    left.set(xlabel="distance / cutoff", ylabel="u")
    right.plot(_array(x), _array(first), color="tab:orange", label="u′")
    right.plot(_array(x), _array(second), color="tab:green", linestyle="--", label="u″")
    right.set(xlabel="distance / cutoff", ylabel="derivatives of u")
    right.legend(frameon=False, fontsize=9)
    for axes in (left, right):
        axes.axvline(1, color="0.6", linewidth=1, linestyle=":")
        _finish(axes)


def _derivatives(value: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the first and second derivatives of an elementwise function."""
    found = []
    for _ in range(2):
        slope = None
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True, allow_unused=True)
        value = torch.zeros_like(x) if slope is None else slope
        found.append(value)
    return found[0], found[1]


def _radial(figure: Any, basis: RadialBasis, title: str) -> None:
    distance = torch.linspace(0, basis.cutoff, POINTS, dtype=torch.float64, device="cpu")
    with torch.no_grad():
        basis = deepcopy(basis).double()
        values = basis(distance).flatten(1)  # functions of all degrees
        envelope = basis.envelope(distance / basis.cutoff)
    axes = figure.subplots()
    shown = _curves(axes, _array(distance), _array(values))
    axes.plot(_array(distance), _array(envelope), color="0.35", linestyle="--", linewidth=1.2, label="envelope")
    axes.set_title(plain(f"{title} ({shown})"), fontsize=11)
    axes.set(xlabel="distance (Å)", ylabel="radial functions", xlim=(0, basis.cutoff))
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    _finish(axes)


def _circular(figure: Any, basis: CircularBasis, title: str) -> None:
    angle = torch.linspace(0, torch.pi, POINTS, dtype=torch.float64, device="cpu")
    with torch.no_grad():
        values = deepcopy(basis).double()(torch.cos(angle))
    axes = figure.subplots()
    shown = _curves(axes, np.degrees(_array(angle)), _array(values))
    axes.set_title(plain(f"{title} ({shown})"), fontsize=11)
    axes.set(xlabel="angle between two edges (°)", ylabel="circular functions", xlim=(0, 180))
    axes.set_xticks(range(0, 181, 30))
    _finish(axes)


def _curves(axes: Any, x: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> str:
    """Draw the columns, or an even selection of them, and return their number as text."""
    from matplotlib import colormaps

    count = values.shape[1]
    chosen = np.unique(np.linspace(0, count - 1, min(count, CURVES)).round().astype(int))
    for place, column in enumerate(chosen):
        color = colormaps["viridis"](0.9 * place / max(len(chosen) - 1, 1))
        axes.plot(x, values[:, column], color=color, linewidth=1.3)
    return f"{count} functions" if len(chosen) == count else f"{len(chosen)} of {count} functions"


def _array(values: Tensor) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = values.detach().numpy()
    return found


def _finish(axes: Any) -> None:
    tidy(axes)
    axes.grid(alpha=0.25)
