"""The figure of accuracy against cost, for the costs in which variants differ by more than their noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt

from gemnet_blocks.ablation.report.costs import Cost, cost, median_cost, noise
from gemnet_blocks.ablation.report.formatting import ACCENT, INK, PAPER, UNSURE, Quantity, drawn, number, quantity
from gemnet_blocks.ablation.report.tables import done_runs, ordered
from gemnet_blocks.ablation.results import StudyResults

PARETO_COSTS = ("inference_seconds", "matmul_flops_inference", "parameters", "training_seconds")
"""The costs against which the primary metric is drawn."""

_CLEARANCE = 8.0
"""Distance from other elements, in points, beyond which a label is not moved further."""

_OFFSETS = np.array(
    [
        (reach * math.cos(step * math.pi / 8), reach * math.sin(step * math.pi / 8))
        for reach in (9.0, 15.0, 22.0, 30.0, 40.0)
        for step in range(16)
    ]
)
"""Candidate positions of a label relative to its data point, in points."""

_TWO_COLUMNS = 8
"""The largest number of variants for which two panels share a row."""


@dataclass(frozen=True, slots=True)
class Point:
    """A variant in the plane of cost and error.

    Attributes:
        number: number of the variant; 0 for the base.
        cost: median over the seeds.
        error: mean over the seeds.
        spread: standard deviation over the seeds; 0 for a single seed.
        cost_noise: how much the cost varies by chance; see `costs.noise`.
    """

    number: int
    cost: float
    error: float
    spread: float
    cost_noise: float = 0.0


def points(results: StudyResults, name: str) -> list[Point]:
    """Return a point for every variant with both the named cost and the primary metric."""
    found = []
    for index, variant in enumerate(ordered(results)):
        errors = [value for value in results.values(variant).values() if math.isfinite(value)]
        runs = done_runs(results, variant)
        price = median_cost(runs, name)
        if errors and price is not None:
            spread = stdev(errors) if len(errors) > 1 else 0.0
            found.append(Point(index, price, fmean(errors), spread, noise(cost(name), runs)))
    return found


def differ(found: Sequence[Point]) -> bool:
    """Tell whether the costs of some variants differ by more than each of them varies by chance."""
    costs = [one.cost for one in found]
    return bool(costs) and max(costs) - min(costs) > max(one.cost_noise for one in found)


def without_difference(results: StudyResults) -> list[str]:
    """Describe the costs of the figure that do not differ between the variants by more than their noise."""
    told = []
    for name in PARETO_COSTS:
        found = points(results, name)
        if len(found) < 2 or differ(found):
            continue
        middle = max(one.cost for one in found) or 1.0
        if not (chance := max(one.cost_noise for one in found)):
            told.append(f"{cost(name).label} (equal for all variants)")
            continue
        width = middle - min(one.cost for one in found)
        apart, by_chance = (number(100 * value / middle, 2) for value in (width, chance))
        told.append(f"{cost(name).label} (variants differ by {apart} %, measurements by ±{by_chance} %)")
    return told


def front(found: Sequence[Point], higher_is_better: bool = False) -> list[Point]:
    """Return the Pareto front, ordered by cost: the points that no other point dominates.

    A point dominates another if it is at least as good in both cost and error, and better in one. Coinciding points are
    all included.
    """
    sign = -1.0 if higher_is_better else 1.0

    def dominates(one: Point, other: Point) -> bool:
        better = one.cost < other.cost or sign * one.error < sign * other.error
        return better and one.cost <= other.cost and sign * one.error <= sign * other.error

    kept = [one for one in found if not any(dominates(other, one) for other in found)]
    return sorted(kept, key=lambda one: (one.cost, one.number))


def draw_pareto(results: StudyResults) -> str | None:
    """Draw the primary metric against costs, with numbered variants and the Pareto front as a line.

    Returns None if no variants have the metric and costs that differ by more than their noise.
    """
    panels = pareto_panels(results)
    if not panels:
        return None
    shown = quantity(results.primary_metric)
    columns = min(2, len(panels)) if len(ordered(results)) <= _TWO_COLUMNS else 1
    rows = math.ceil(len(panels) / columns)

    def draw(figure: Any) -> None:
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        for axes, (heading, found) in zip(grid, panels, strict=False):
            _draw_points(axes, found, shown)
            axes.set_xlabel(heading)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        figure.supylabel(shown.heading, fontsize=9)
        figure.canvas.draw()  # the layout fixes the positions in pixels
        for axes, (_, found) in zip(grid, panels, strict=False):
            _label(axes, found, shown)

    return drawn(draw, 2.5 * rows + 0.2)


def pareto_panels(results: StudyResults) -> list[tuple[str, list[Point]]]:
    """Return the axis label and the points of every panel."""
    return [_scaled(cost(name), found) for name in PARETO_COSTS if differ(found := points(results, name))]


def _scaled(kind: Cost, found: list[Point]) -> tuple[str, list[Point]]:
    """Return the axis label with a suitable unit, and the points with costs in this unit."""
    size, heading = kind.scale([one.cost for one in found])
    return heading, [replace(one, cost=one.cost / size, cost_noise=one.cost_noise / size) for one in found]


def _draw_points(axes: Any, found: list[Point], shown: Quantity) -> None:
    from matplotlib.cbook import pts_to_poststep

    factor = shown.factor
    best = front(found, shown.higher_is_better)
    axes.grid()
    stairs = pts_to_poststep([one.cost for one in best], [one.error * factor for one in best])
    axes.plot(*stairs, color=ACCENT, linewidth=1.2, zorder=2)
    for one in found:
        color = ACCENT if one in best else UNSURE
        center = one.error * factor
        axes.plot(
            [one.cost, one.cost],
            [center - one.spread * factor, center + one.spread * factor],
            color=color,
            linewidth=1,
            alpha=0.7,
            zorder=3,
        )
        across = [one.cost - one.cost_noise, one.cost + one.cost_noise]
        axes.plot(across, [center, center], color=color, linewidth=1, alpha=0.7, zorder=3)
        axes.plot(
            [one.cost],
            [center],
            "s" if one.number == 0 else "o",
            color=color,
            markerfacecolor=ACCENT if one in best else PAPER,
            markersize=6,
            zorder=4,
        )
    axes.margins(0.14)
    axes.locator_params(axis="x", nbins=4)


def _label(axes: Any, found: list[Point], shown: Quantity) -> None:
    """Write the number of every point where it overlaps nothing, with a line to the point if it is far away."""
    places = axes.transData.transform([(one.cost, one.error * shown.factor) for one in found])
    taken = np.concatenate([places, _line_places(axes)])
    pixels = axes.figure.dpi / 72
    for one, place in zip(found, places, strict=True):
        choices = place + _OFFSETS * pixels
        clearance = np.linalg.norm(choices[:, None] - taken, axis=-1).min(axis=1) / pixels
        # the first of equal clearances is the nearest position
        best = int(np.minimum(clearance, _CLEARANCE).round(3).argmax())
        taken = np.concatenate([taken, choices[best : best + 1]])
        axes.annotate(
            str(one.number),
            (one.cost, one.error * shown.factor),
            _OFFSETS[best],
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": UNSURE, "linewidth": 0.5, "shrinkA": 4, "shrinkB": 3},
            zorder=5,
        )


def _line_places(axes: Any) -> npt.NDArray[np.float64]:
    """Return positions along all lines, a few pixels apart."""
    found = [np.empty((0, 2))]
    for line in axes.lines:
        corners = line.get_transform().transform(line.get_path().vertices)
        for start, end in pairwise(corners):
            count = int(math.dist(start, end) / 4) + 1
            found.append(np.linspace(start, end, count + 1))
    return np.concatenate(found)
