"""Spherical bases as maps over both angles of a quadruplet."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch

from gemnet_blocks.basis.spherical import RealHarmonics, SphericalBasis
from gemnet_blocks.geometry.angles import Azimuth

ROWS = 7
"""How many rows of maps are drawn at most."""

POINTS = 61
"""Along each angle of a map."""


def map_rows(basis: SphericalBasis) -> list[list[int]]:
    """Which functions are drawn in which row: products by their first factor, harmonics by their degree."""
    count = min(basis.count, ROWS)
    if isinstance(basis, RealHarmonics):
        # within a degree they are in the order m = 0, …, l, -l, …, -1; drawn from -l to l
        return [
            [degree**2 + order % (2 * degree + 1) for order in range(-degree, degree + 1)] for degree in range(count)
        ]
    return [[row * basis.count + column for column in range(count)] for row in range(count)]


def draw_maps(figure: Any, basis: SphericalBasis, title: str) -> None:
    """Draw every function as a map: the dihedral angle to the right, the polar angle downwards."""
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
    name = title.replace("$", r"\$")
    figure.suptitle(f"{name} ({text})", fontsize=11)
    across = "order m, from -l to l" if harmonics else "function of the dihedral angle"
    figure.supxlabel(f"each map: dihedral angle 0° to 180° →\n{across} →", fontsize=9)
    figure.supylabel("each map: ← polar angle 180° to 0°", fontsize=9)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
    bar.ax.tick_params(labelsize=8)


def _values(basis: SphericalBasis) -> torch.Tensor:
    """The functions on a grid, (polar angles, dihedral angles, functions)."""
    polar = torch.linspace(0, torch.pi, POINTS, dtype=torch.float64, device="cpu")
    dihedral = torch.linspace(0, torch.pi, POINTS, dtype=torch.float64, device="cpu")
    phi, theta = torch.meshgrid(polar, dihedral, indexing="ij")
    with torch.no_grad():
        return deepcopy(basis).double()(torch.cos(phi), Azimuth(torch.cos(theta), torch.sin(theta)))
