"""Drawings of structures whose atoms are colored by the difference of two models' errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols, covalent_radii

from gemnet_blocks.ablation.report.formatting import BETTER, FAINT, INK, PAPER, WORSE, drawn, number
from gemnet_blocks.ablation.report.paired_errors import PairedErrors
from gemnet_blocks.data.dataset import formula

Numbers = npt.NDArray[np.float64]

LABELLED = 40
"""Structures with at most this many atoms show the symbols of the elements."""


@dataclass(frozen=True, slots=True, eq=False)
class DrawnStructure:
    """A structure of the evaluated set with a number for each atom.

    Attributes:
        index: its index in the evaluated set.
        numbers: atomic numbers.
        positions: in Å.
        cell: lattice vectors as rows in Å; zero along directions that are not periodic.
        values: the difference of the errors of each atom; NaN for atoms that do not count.
    """

    index: int
    numbers: npt.NDArray[np.int64]
    positions: Numbers
    cell: Numbers
    values: Numbers

    @property
    def name(self) -> str:
        """Its formula and its index in the evaluated set."""
        return f"{formula(self.numbers)} (structure {self.index})"

    @property
    def symbols(self) -> list[str]:
        """The symbols of the elements."""
        return [chemical_symbols[number] for number in self.numbers]

    def projected(self) -> tuple[Numbers, Numbers]:
        """Project the atoms onto the plane of the drawing; returns the atoms (N, 3) and the corners of the cell (8, 3).

        The third coordinate points to the viewer. Crystals are seen along their shortest lattice vector, slabs from the
        side, and molecules along the shortest axis of their extent.
        """
        center = self.positions.mean(axis=0)
        vectors = sorted((one for one in self.cell if one.any()), key=lambda one: float(np.linalg.norm(one)))
        if not vectors:
            _, _, axes = np.linalg.svd(np.vstack([self.positions - center, np.zeros((3, 3))]), full_matrices=False)
            axes = axes * np.where(axes[:, [0]] < 0, -1, 1)  # the signs of singular vectors are arbitrary
        elif len(vectors) == 1:
            axes = _frame(np.cross(vectors[0], np.eye(3)[np.abs(vectors[0]).argmin()]), vectors[0])
        elif len(vectors) == 2:
            normal = np.cross(*vectors)
            axes = _frame(vectors[0], normal * np.sign(normal[np.abs(normal).argmax()]))
        else:
            axes = _frame(vectors[0], vectors[2])
        corners = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, -1).T @ self.cell
        return (self.positions - center) @ axes.T, (corners - center) @ axes.T


def _frame(view: Numbers, up: Numbers) -> Numbers:
    """Return the axes to the right, upwards and towards the viewer as rows, for vectors that are not parallel."""
    towards = view / np.linalg.norm(view)
    upwards = up - (up @ towards) * towards
    upwards /= np.linalg.norm(upwards)
    return np.stack([np.cross(upwards, towards), upwards, towards])


def by_difference(found: PairedErrors) -> npt.NDArray[np.int64]:
    """Order the structures by the mean |difference| of their atoms, the largest first, without those that have none."""
    differences = np.abs(found.differences)
    known = np.isfinite(differences)
    owner = found.kept.structure if found.owner == "atom" else np.arange(len(found.kept))
    count = np.bincount(owner[known], minlength=len(found.kept))
    sums = np.bincount(owner[known], differences[known], minlength=len(found.kept))
    order = np.argsort(-sums / np.maximum(count, 1), kind="stable")
    return order[count[order] > 0]


def most_different(found: PairedErrors, count: int) -> list[DrawnStructure]:
    """Return the structures whose atoms differ most, the one with the largest mean |difference| first."""
    return [drawn_structure(found, int(place)) for place in by_difference(found)[:count]]


def drawn_structure(found: PairedErrors, place: int) -> DrawnStructure:
    """Return one structure with the differences of its atoms."""
    kept, chosen = found.kept, found.kept.structure == place
    cell = kept.of_structures["cells"][place].astype(np.float64) * kept.of_structures["periodic"][place][:, None]
    return DrawnStructure(
        index=int(kept.of_structures["index"][place]),
        numbers=kept.of_atoms["numbers"][chosen].astype(np.int64),
        positions=kept.of_atoms["positions"][chosen].astype(np.float64),
        cell=cell,
        values=found.differences[chosen],
    )


def draw_atoms(structures: Sequence[DrawnStructure], factor: float, unit: str) -> str:
    """Draw structures side by side, with atoms colored by sign and size of their values.

    Args:
        structures: at least one structure.
        factor: conversion factor of the values to the unit.
        unit: text below the drawing, which explains the values.
    """
    known = [abs(value) for one in structures for value in one.values if np.isfinite(value)]
    largest = max(known, default=0.0) or 1.0

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(structures), squeeze=False).ravel()
        for axes, one in zip(panels, structures, strict=True):
            _draw_structure(axes, one, largest)
        figure.supxlabel(f"{unit}; full color: ±{number(largest * factor, 3)}", fontsize=9)

    return drawn(draw, 4.2 / len(structures) + 0.9)


def _draw_structure(axes: Any, one: DrawnStructure, largest: float) -> None:
    from matplotlib.patches import Circle

    atoms, corners = one.projected()
    axes.set_title(one.name, fontsize=8)
    for first in range(8):
        for bit in (1, 2, 4):
            if not first & bit and one.cell.any():
                axes.plot(*corners[[first, first | bit], :2].T, color=FAINT, linewidth=0.6, zorder=0)
    for height, atom in enumerate(np.argsort(atoms[:, 2], kind="stable")):  # the nearest atom is drawn last
        place, value = (float(atoms[atom, 0]), float(atoms[atom, 1])), one.values[atom]
        radius = 0.6 * covalent_radii[one.numbers[atom]]
        edge = {"edgecolor": INK, "linewidth": 0.5, "zorder": 1 + height}
        axes.add_patch(Circle(place, radius, facecolor=PAPER, **edge))
        if np.isfinite(value) and value:
            color = WORSE if value > 0 else BETTER
            alpha = 0.9 * abs(value) / largest
            axes.add_patch(Circle(place, radius, facecolor=color, alpha=alpha, linewidth=0, zorder=1 + height))
        if len(one.numbers) <= LABELLED:
            axes.text(*place, one.symbols[atom], ha="center", va="center", fontsize=6, zorder=1 + height)
    axes.set_aspect("equal")
    axes.autoscale_view()
    axes.margins(0.08)
    axes.set_axis_off()
