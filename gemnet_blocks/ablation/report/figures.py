"""The figures of a study: differences from the base, and learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from gemnet_blocks.ablation.comparison import Comparison, Verdict
from gemnet_blocks.ablation.drawing import ACCENT, BETTER, FAINT, GRID, INK, PAPER, UNSURE, WORSE, drawn, wrapped
from gemnet_blocks.ablation.report.formatting import Quantity, number, quantity
from gemnet_blocks.ablation.report.tables import done_runs, ordered
from gemnet_blocks.ablation.results import RunResult, StudyResults

_LETTERS = 46
_PANEL_LETTERS = 23

_MARKS: Mapping[Verdict, tuple[str, str, str]] = {
    "worse": ("^", WORSE, WORSE),
    "better": ("v", BETTER, BETTER),
    "no difference shown": ("o", UNSURE, UNSURE),
    "inconclusive": ("D", UNSURE, PAPER),
}
"""Shape, color and filling of each verdict."""

Curve = list[tuple[float, float]]


def draw_differences(comparisons: Sequence[Comparison], shown: Quantity) -> str | None:
    """The mean difference of every variant with its interval, and every pair as a dot; None without any pair.

    Triangles point up for worse and down for better; a filled circle: no difference shown; an open diamond:
    inconclusive.
    """
    if not any(one.seeds for one in comparisons):
        return None
    names = [wrapped(f"{index} {one.variant}", _LETTERS) for index, one in enumerate(comparisons, 1)]
    heights = [0.34 + 0.15 * len(name.splitlines()) for name in names]

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.axvline(0, color=FAINT, linewidth=1, zorder=1)
        top = 0.0
        for name, height, one in zip(names, heights, comparisons, strict=True):
            # on paper, so that the line of zero does not cross it
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
    """What learning curves show: the primary metric, else one of the same kind, else the loss; None without any."""
    names = sorted({name for run in results.runs for point in run.curve for name in point} - {"step", "seconds"})
    primary = results.primary_metric
    wanted = [primary, f"validation_{primary}", *(name for name in names if primary.startswith(name)), "loss"]
    return next((name for name in wanted if name in names), names[0] if names else None)


def draw_curves(results: StudyResults) -> str | None:
    """A panel for every variant: each seed thin, their median thick, the base's median dashed; None without curves."""
    metric = curve_metric(results)
    if metric is None:
        return None
    shown = quantity(metric)
    curves = {name: [_curve(run, shown) for run in done_runs(results, name)] for name in ordered(results)}
    curves = {name: [one for one in found if one] for name, found in curves.items()}
    values = [value for found in curves.values() for one in found for _, value in one]
    if not values:
        return None
    names = [wrapped(f"{index} {name}", _PANEL_LETTERS) for index, name in enumerate(curves)]
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
    # one validation is a point, which a line would not show
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
    if used > 1 and used % 2:  # the panel above an empty place carries the labels of its column
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
    """The median over the seeds, at the steps that at least half of them have."""
    steps: dict[float, list[float]] = {}
    for one in curves:
        for step, value in one:
            steps.setdefault(step, []).append(value)
    return [(step, median(found)) for step, found in sorted(steps.items()) if 2 * len(found) >= len(curves)]
