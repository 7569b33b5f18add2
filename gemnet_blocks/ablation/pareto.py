"""Accuracy against cost: which variants nothing else beats at both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from gemnet_blocks.ablation.costs import Cost, cost
from gemnet_blocks.ablation.drawing import ACCENT, INK, PAPER, UNSURE, drawn
from gemnet_blocks.ablation.report.formatting import Quantity, quantity
from gemnet_blocks.ablation.report.tables import done_runs, middle, ordered
from gemnet_blocks.ablation.results import StudyResults

SHOWN = ("inference_seconds", "matmul_flops_inference", "parameters", "training_seconds")
"""The costs against which the primary metric is drawn."""

_ENOUGH = 8.0
_OFFSETS = [
    (reach * math.cos(step * math.pi / 8), reach * math.sin(step * math.pi / 8))
    for reach in (9.0, 15.0, 22.0, 30.0, 40.0)
    for step in range(16)
]
"""Where numbers may stand from their points, and from what distance on nothing is in their way, in points."""

_CROWD = 8
"""From more variants on, every panel takes a row of its own."""


@dataclass(frozen=True, slots=True)
class Point:
    """One variant in the plane of cost and error.

    Attributes:
        number: of the variant; the base has 0.
        cost: the median over its seeds.
        error: the mean over its seeds.
        spread: the standard deviation over its seeds; 0 for one.
    """

    number: int
    cost: float
    error: float
    spread: float


def points(results: StudyResults, name: str) -> list[Point]:
    """Every variant that has both the cost of a name and the primary metric."""
    found = []
    for index, variant in enumerate(ordered(results)):
        errors = [value for value in results.values(variant).values() if math.isfinite(value)]
        price = middle(done_runs(results, variant), name)
        if errors and price is not None:
            found.append(Point(index, price, fmean(errors), stdev(errors) if len(errors) > 1 else 0.0))
    return found


def front(found: Sequence[Point], higher_is_better: bool = False) -> list[Point]:
    """The points that no other beats: none costs no more and errs less, or costs less and errs no more.

    In the order of cost; of points at the same place all are in it.
    """
    sign = -1.0 if higher_is_better else 1.0

    def beats(one: Point, other: Point) -> bool:
        better = one.cost < other.cost or sign * one.error < sign * other.error
        return better and one.cost <= other.cost and sign * one.error <= sign * other.error

    kept = [one for one in found if not any(beats(other, one) for other in found)]
    return sorted(kept, key=lambda one: (one.cost, one.number))


def draw_pareto(results: StudyResults) -> str | None:
    """The primary metric against costs, variants by number, the Pareto front as a line; None without points."""
    panels = [_scaled(cost(name), found) for name in SHOWN if (found := points(results, name))]
    if not panels:
        return None
    shown = quantity(results.primary_metric)
    columns = min(2, len(panels)) if len(ordered(results)) <= _CROWD else 1
    rows = math.ceil(len(panels) / columns)

    def draw(figure: Any) -> None:
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        for axes, (heading, found) in zip(grid, panels, strict=False):
            _draw_points(axes, found, shown)
            axes.set_xlabel(heading)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        figure.supylabel(shown.heading, fontsize=9)
        figure.canvas.draw()  # places are known only then
        for axes, (_, found) in zip(grid, panels, strict=False):
            _label(axes, found, shown)

    return drawn(draw, 2.5 * rows + 0.2)


def _scaled(kind: Cost, found: list[Point]) -> tuple[str, list[Point]]:
    """The points with costs in a unit that suits them, and the heading with it."""
    size, heading = kind.scale([one.cost for one in found])
    return heading, [replace(one, cost=one.cost / size) for one in found]


def _draw_points(axes: Any, found: list[Point], shown: Quantity) -> None:
    factor = shown.factor
    best = front(found, shown.higher_is_better)
    axes.grid()
    corners = [(after.cost, before.error) for before, after in pairwise(best)]
    line = [
        place for pair in zip([(one.cost, one.error) for one in best], [*corners, None], strict=True) for place in pair
    ]
    stairs = [(price, error * factor) for price, error in filter(None, line)]
    axes.plot(*zip(*stairs, strict=True), color=ACCENT, linewidth=1.2, zorder=2)
    for one in found:
        leads = one in best
        center = one.error * factor
        axes.plot(
            [one.cost, one.cost],
            [center - one.spread * factor, center + one.spread * factor],
            color=ACCENT if leads else UNSURE,
            linewidth=1,
            alpha=0.7,
            zorder=3,
        )
        axes.plot(
            [one.cost],
            [center],
            "s" if one.number == 0 else "o",
            color=ACCENT if leads else UNSURE,
            markerfacecolor=ACCENT if leads else PAPER,
            markersize=6,
            zorder=4,
        )
    axes.margins(0.14)
    axes.locator_params(axis="x", nbins=4)


def _label(axes: Any, found: list[Point], shown: Quantity) -> None:
    """Write every point's number near it, where nothing else is; those that are further away with a line to it."""
    places = axes.transData.transform([(one.cost, one.error * shown.factor) for one in found])
    taken = [tuple(place) for place in places] + _line_places(axes)
    pixels = axes.figure.dpi / 72
    for one, place in zip(found, places, strict=True):

        def room(offset: tuple[float, float], place: Any = place) -> float:
            here = (place[0] + offset[0] * pixels, place[1] + offset[1] * pixels)
            # more than enough is no better: then the nearest place is taken
            return round(min(_ENOUGH, *(math.dist(here, other) / pixels for other in taken)), 3)

        offset = max(_OFFSETS, key=room)
        taken.append((place[0] + offset[0] * pixels, place[1] + offset[1] * pixels))
        axes.annotate(
            str(one.number),
            (one.cost, one.error * shown.factor),
            offset,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": UNSURE, "linewidth": 0.5, "shrinkA": 4, "shrinkB": 3},
            zorder=5,
        )


def _line_places(axes: Any) -> list[tuple[float, float]]:
    """Places along all lines, a few points apart."""
    found: list[tuple[float, float]] = []
    for line in axes.lines:
        corners = line.get_transform().transform(line.get_path().vertices)
        for start, end in pairwise(corners):
            count = int(math.dist(start, end) / 4) + 1
            found += [tuple(start + (end - start) * step / count) for step in range(count + 1)]
    return found
