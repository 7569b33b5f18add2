"""The figures of a report: differences from the base, learning curves, and accuracy against cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, median, stdev
from typing import Any

from gemnet_blocks.ablation.report.formatting import (
    ACCENT,
    BETTER,
    FAINT,
    GRID,
    INK,
    PAPER,
    UNSURE,
    WORSE,
    Quantity,
    drawn,
    number,
    quantity,
    wrapped,
)
from gemnet_blocks.ablation.report.statistics import Comparison, Verdict
from gemnet_blocks.ablation.report.tables import Cost, cost, done_runs, median_cost, ordered
from gemnet_blocks.ablation.results import RunResult, StudyResults

_NAME_WIDTH = 46
_PANEL_NAME_WIDTH = 23

_MARKS: Mapping[Verdict, tuple[str, str, str]] = {
    "worse": ("^", WORSE, WORSE),
    "better": ("v", BETTER, BETTER),
    "no difference shown": ("o", UNSURE, UNSURE),
    "inconclusive": ("D", UNSURE, PAPER),
}
"""Marker, color and fill color of each verdict."""

Curve = list[tuple[float, float]]


def draw_differences(comparisons: Sequence[Comparison], shown: Quantity) -> str | None:
    """Draw the mean difference of every variant with its interval, and every pair as a dot.

    Triangles point up for worse and down for better; a filled circle means no difference shown, an open diamond
    inconclusive. Returns None if there are no pairs.
    """
    if not any(one.seeds for one in comparisons):
        return None
    names = [wrapped(f"{index} {one.variant}", _NAME_WIDTH) for index, one in enumerate(comparisons, 1)]
    heights = [0.34 + 0.15 * len(name.splitlines()) for name in names]

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.axvline(0, color=FAINT, linewidth=1, zorder=1)
        top = 0.0
        for name, height, one in zip(names, heights, comparisons, strict=True):
            # with a background, so that the zero line does not cross the text
            label = {"va": "top", "ha": "left", "bbox": {"facecolor": PAPER, "edgecolor": "none", "pad": 1}}
            axes.text(0, top - 0.05, name, transform=axes.get_yaxis_transform(), zorder=2, **label)
            axes.axhline(top, color=GRID, linewidth=0.6, zorder=0)
            _draw_difference(axes, one, shown, top - height + 0.14)
            top -= height
        axes.set_ylim(top, 0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"variant − base: {shown.heading}")
        axes.margins(x=0.06)

    return drawn(draw, sum(heights) + 0.6)


def _draw_difference(axes: Any, one: Comparison, shown: Quantity, place: float) -> None:
    if not one.seeds:
        axes.text(0.02, place, "no pairs", transform=axes.get_yaxis_transform(), color=FAINT, va="center")
        return
    marker, color, filling = _MARKS[one.verdict]
    pairs = [value * shown.factor for value in one.differences]
    axes.plot(pairs, [place] * len(pairs), "o", color=color, markersize=3.5, alpha=0.45, markeredgewidth=0, zorder=2)
    if one.interval is not None:
        ends = [one.interval.low * shown.factor, one.interval.high * shown.factor]
        axes.plot(ends, [place, place], color=color, linewidth=2.2, zorder=3)
    axes.plot(
        [one.mean * shown.factor],
        [place],
        marker,
        color=color,
        markerfacecolor=filling,
        markersize=8,
        markeredgewidth=1.4,
        zorder=4,
    )


def curve_metric(results: StudyResults) -> str | None:
    """Choose the metric of the learning curves.

    This is the primary metric if the curves contain it, otherwise a metric of the same kind, otherwise the loss.
    Returns None if there are no curves.
    """
    names = sorted({name for run in results.runs for point in run.curve for name in point} - {"step", "seconds"})
    primary = results.primary_metric
    wanted = [primary, f"validation_{primary}", *(name for name in names if primary.startswith(name)), "loss"]
    return next((name for name in wanted if name in names), names[0] if names else None)


def draw_curves(results: StudyResults) -> str | None:
    """Draw the learning curves, one panel for each variant: seeds thin, their median thick, the base's median dashed.

    Returns None if there are no curves.
    """
    metric = curve_metric(results)
    if metric is None:
        return None
    shown = quantity(metric)
    curves = {name: [_curve(run, shown) for run in done_runs(results, name)] for name in ordered(results)}
    curves = {name: [one for one in found if one] for name, found in curves.items()}
    values = [value for found in curves.values() for one in found for _, value in one]
    if not values:
        return None
    names = [wrapped(f"{index} {name}", _PANEL_NAME_WIDTH) for index, name in enumerate(curves)]
    rows = math.ceil(len(names) / 2)
    lines = max(len(name.splitlines()) for name in names)

    def draw(figure: Any) -> None:
        panels = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
        base = _medians(curves[results.base_name])
        for axes, name, found in zip(panels, names, curves.values(), strict=False):
            _draw_panel(axes, name, found, base)
        _share_axes(panels, len(names), values)
        figure.supxlabel("step", fontsize=9)
        figure.supylabel(shown.heading, fontsize=9)

    return drawn(draw, rows * (1.45 + 0.15 * lines) + 0.35)


def _draw_panel(axes: Any, name: str, found: list[Curve], base: Curve) -> None:
    axes.set_title(name, fontsize=9, loc="left")
    axes.grid(axis="y")
    for one in found:
        axes.plot(*zip(*one, strict=True), color=ACCENT, linewidth=0.6, alpha=0.5, zorder=2)
    # a single validation is drawn as a point: a line would be invisible
    if middle := _medians(found):
        axes.plot(*zip(*middle, strict=True), color=ACCENT, linewidth=1.8, zorder=3, **_dots(middle))
    if base:
        axes.plot(*zip(*base, strict=True), color=INK, linewidth=1.1, linestyle=(0, (3, 2)), zorder=4, **_dots(base))
    if not found:
        axes.text(0.5, 0.5, "no run is done", transform=axes.transAxes, ha="center", color=FAINT)


def _dots(curve: Curve) -> dict[str, Any]:
    return {"marker": "o", "markersize": 4} if len(curve) == 1 else {}


def _share_axes(panels: Any, used: int, values: list[float]) -> None:
    for axes in panels[used:]:
        axes.set_visible(False)
    if used > 1 and used % 2:  # the panel above an unused one shows the tick labels of its column
        panels[used - 2].tick_params(labelbottom=True)
    if min(values) > 0 and max(values) > 5 * min(values):
        _log_scale(panels[0])


def _log_scale(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    steps = (1.0, 2.0, 5.0) if high < 200 * low else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))


def _curve(run: RunResult, shown: Quantity) -> Curve:
    points = [(point.get("step"), point.get(shown.name)) for point in run.curve]
    known = [
        (float(step), float(value) * shown.factor) for step, value in points if step is not None and value is not None
    ]
    return sorted(point for point in known if all(map(math.isfinite, point)))


def _medians(curves: list[Curve]) -> Curve:
    """Compute the median over the seeds at the steps that at least half of them contain."""
    steps: dict[float, list[float]] = {}
    for one in curves:
        for step, value in one:
            steps.setdefault(step, []).append(value)
    return [(step, median(found)) for step, found in sorted(steps.items()) if 2 * len(found) >= len(curves)]


PARETO_COSTS = ("inference_seconds", "matmul_flops_inference", "parameters", "training_seconds")
"""The costs against which the primary metric is drawn."""

_CLEARANCE = 8.0
"""Distance from other elements, in points, beyond which a label is not moved further."""

_OFFSETS = [
    (reach * math.cos(step * math.pi / 8), reach * math.sin(step * math.pi / 8))
    for reach in (9.0, 15.0, 22.0, 30.0, 40.0)
    for step in range(16)
]
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
    """

    number: int
    cost: float
    error: float
    spread: float


def points(results: StudyResults, name: str) -> list[Point]:
    """Return a point for every variant with both the named cost and the primary metric."""
    found = []
    for index, variant in enumerate(ordered(results)):
        errors = [value for value in results.values(variant).values() if math.isfinite(value)]
        price = median_cost(done_runs(results, variant), name)
        if errors and price is not None:
            found.append(Point(index, price, fmean(errors), stdev(errors) if len(errors) > 1 else 0.0))
    return found


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

    Returns None if no variant has both the metric and a cost.
    """
    panels = [_scaled(cost(name), found) for name in PARETO_COSTS if (found := points(results, name))]
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


def _scaled(kind: Cost, found: list[Point]) -> tuple[str, list[Point]]:
    """Return the axis label with a suitable unit, and the points with costs in this unit."""
    size, heading = kind.scale([one.cost for one in found])
    return heading, [replace(one, cost=one.cost / size) for one in found]


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
    taken = [tuple(place) for place in places] + _line_places(axes)
    pixels = axes.figure.dpi / 72
    for one, place in zip(found, places, strict=True):

        def room(offset: tuple[float, float], place: Any = place) -> float:
            here = (place[0] + offset[0] * pixels, place[1] + offset[1] * pixels)
            # equal clearances let `max` take the nearest position
            return round(min(_CLEARANCE, *(math.dist(here, other) / pixels for other in taken)), 3)

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
    """Return positions along all lines, a few pixels apart."""
    found: list[tuple[float, float]] = []
    for line in axes.lines:
        corners = line.get_transform().transform(line.get_path().vertices)
        for start, end in pairwise(corners):
            count = int(math.dist(start, end) / 4) + 1
            found += [tuple(start + (end - start) * step / count) for step in range(count + 1)]
    return found
