"""The figures of a report: differences from the base, learning curves, parity plots and heat maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
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
    clean,
    drawn,
    number,
    quantity,
    wrapped,
)
from gemnet_blocks.ablation.report.statistics import Comparison, Verdict
from gemnet_blocks.ablation.report.tables import (
    Curve,
    curve_of,
    done_runs,
    element_errors,
    elements_of,
    ordered,
    value_at,
)
from gemnet_blocks.ablation.results import Parity, RunResult, StudyResults

_NAME_WIDTH = 46
_PANEL_NAME_WIDTH = 23

_MARKS: Mapping[Verdict, tuple[str, str, str]] = {
    "worse": ("^", WORSE, WORSE),
    "better": ("v", BETTER, BETTER),
    "no difference shown": ("o", UNSURE, UNSURE),
    "inconclusive": ("D", UNSURE, PAPER),
}
"""Marker, color and fill color of each verdict."""


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
    curves = {name: curves_of(results, name, metric) for name in ordered(results)}
    values = [value for found in curves.values() for one in found for _, value in one]
    if not values:
        return None
    names = [wrapped(f"{index} {name}", _PANEL_NAME_WIDTH) for index, name in enumerate(curves)]
    rows = math.ceil(len(names) / 2)
    lines = max(len(name.splitlines()) for name in names)

    def draw(figure: Any) -> None:
        panels = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
        base = medians(curves[results.base_name])
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
    if middle := medians(found):
        axes.plot(*zip(*middle, strict=True), color=ACCENT, linewidth=1.8, zorder=3, **_dots(middle))
    if base:
        axes.plot(*zip(*base, strict=True), color=INK, linewidth=1.1, linestyle=(0, (3, 2)), zorder=4, **_dots(base))
    if not found:
        axes.text(0.5, 0.5, "no run is done", transform=axes.transAxes, ha="center", color=FAINT)


def _dots(curve: Curve) -> dict[str, Any]:
    return {"marker": "o", "markersize": 4} if len(curve) == 1 else {}


def verdict_mark(verdict: Verdict) -> tuple[str, str, str]:
    """Return marker, color and fill color of a verdict."""
    return _MARKS[verdict]


def panels_for(figure: Any, names: Sequence[str]) -> Sequence[Any]:
    """Return a panel with shared axes for each name, two in a row."""
    panels = figure.subplots(math.ceil(len(names) / 2), 2, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        axes.set_title(wrapped(name, _PANEL_NAME_WIDTH), fontsize=9, loc="left")
    _share_axes(panels, len(names), [])
    return list(panels[: len(names)])


def _share_axes(panels: Any, used: int, values: list[float]) -> None:
    for axes in panels[used:]:
        axes.set_visible(False)
    if used > 1 and used % 2:  # the panel above an unused one shows the tick labels of its column
        panels[used - 2].tick_params(labelbottom=True)
    if values and min(values) > 0 and max(values) > 5 * min(values):
        log_scale(panels[0])


def log_scale(axes: Any, along: str = "y") -> None:
    """Make the scale of an axis, `x` or `y`, logarithmic, with plain numbers at its ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set(**{f"{along}scale": "log"})
    low, high = axes.get_ylim() if along == "y" else axes.get_xlim()
    steps = (1.0, 2.0, 5.0) if high < 200 * low else (1.0,)
    axis = axes.yaxis if along == "y" else axes.xaxis
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))


def curves_of(results: StudyResults, name: str, metric: str, along: str = "step") -> list[Curve]:
    """Return the learning curves of the finished runs of a variant in the display unit, without empty ones."""
    factor = quantity(metric).factor
    found = (curve_of(run, metric, along) for run in done_runs(results, name))
    return [[(place, value * factor) for place, value in one] for one in found if one]


def medians(curves: list[Curve]) -> Curve:
    """Compute the median over the seeds at the steps that at least half of them reach, interpolating between points."""
    steps = sorted({step for one in curves for step, _ in one})
    found = ([value for one in curves if (value := value_at(one, step)) is not None] for step in steps)
    return [(step, median(one)) for step, one in zip(steps, found, strict=True) if 2 * len(one) >= len(curves)]


def parity_run(results: StudyResults, name: str, kind: str) -> RunResult | None:
    """Choose the run of a variant with the median error among those with labels and predictions of a kind."""
    runs = [run for run in done_runs(results, name) if kind in run.parity and run.parity[kind].label]
    metric = results.primary_metric
    ranked = sorted(runs, key=lambda run: (run.metrics.get(metric, math.inf), run.seed))
    return ranked[(len(ranked) - 1) // 2] if ranked else None


def parity_kind(results: StudyResults) -> str | None:
    """Choose what the parity plots show: `energy` if the primary metric is one of energies, otherwise `forces`."""
    known = {kind for run in results.done() for kind in run.parity}
    wanted = ("energy", "forces") if results.primary_metric.startswith("energy") else ("forces", "energy")
    return next((kind for kind in wanted if kind in known), None)


def draw_parity(results: StudyResults) -> str | None:
    """Draw predictions against labels, one panel for each variant; None if no run recorded them."""
    kind = parity_kind(results)
    if kind is None:
        return None
    runs = [parity_run(results, name, kind) for name in ordered(results)]
    names = [wrapped(f"{index} {name}", _PANEL_NAME_WIDTH) for index, name in enumerate(ordered(results))]
    unit, factor = parity_unit(kind)
    values = [factor * one for run in runs if run for part in _axes_of(run.parity[kind]) for one in part]
    margin = 0.04 * (max(values) - min(values)) or 1.0
    limits = (min(values) - margin, max(values) + margin)
    rows = math.ceil(len(names) / 2)

    def draw(figure: Any) -> None:
        panels = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, name, run in zip(panels, names, runs, strict=False):
            axes.set_title(name, fontsize=9, loc="left")
            axes.plot(limits, limits, color=FAINT, linewidth=0.8, zorder=1)
            if run is not None:
                label, predicted = ([factor * one for one in part] for part in _axes_of(run.parity[kind]))
                axes.plot(label, predicted, "o", color=ACCENT, markersize=2.2, alpha=0.5, markeredgewidth=0, zorder=2)
        panels[0].set(xlim=limits, ylim=limits)
        for axes in panels[: len(names)]:
            axes.set_aspect("equal")
        _share_axes(panels, len(names), [])
        figure.supxlabel(f"label: {_PARITY[kind]} ({unit})", fontsize=9)
        figure.supylabel(f"prediction ({unit})", fontsize=9)

    return drawn(draw, 2.25 * rows + 0.3)


def parity_unit(kind: str) -> tuple[str, float]:
    """Return the unit of a parity plot and its conversion factor from eV and Å."""
    return ("eV/Å", 1.0) if kind == "forces" else ("meV", 1e3)


def _axes_of(parity: Parity) -> tuple[Sequence[float], Sequence[float]]:
    return parity.label, parity.predicted


_PARITY = {"forces": "force component", "energy": "energy per atom"}


def draw_heat_map(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], unit: str) -> str:
    """Draw a table of signed numbers whose cells are colored by sign and size.

    Args:
        rows: names of the rows.
        columns: names of the columns.
        values: a number for each row and column; NaN for an empty cell.
        unit: text of the axis below, which explains the numbers.
    """
    largest = max((abs(one) for row in values for one in row if math.isfinite(one)), default=0.0) or 1.0
    names = [wrapped(name, _PANEL_NAME_WIDTH) for name in rows]

    def draw(figure: Any) -> None:
        from matplotlib.patches import Rectangle

        axes = figure.add_subplot()
        for y, row in enumerate(values):
            for x, one in enumerate(row):
                if not math.isfinite(one):
                    continue
                color = WORSE if one > 0 else BETTER
                axes.add_patch(Rectangle((x, y), 1, 1, facecolor=color, alpha=0.55 * abs(one) / largest, linewidth=0))
                axes.text(x + 0.5, y + 0.5, number(one, 2, signed=True), ha="center", va="center", fontsize=8)
        axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
        axes.set_yticks([place + 0.5 for place in range(len(rows))], names, color=INK)
        axes.set_xticks([place + 0.5 for place in range(len(columns))], columns, color=INK, rotation=30, ha="right")
        axes.tick_params(length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_xlabel(unit)

    lines = sum(max(2, len(name.splitlines())) for name in names)
    return drawn(draw, 0.16 * lines + 1.1)


@dataclass(frozen=True, slots=True)
class ElementDifferences:
    """The relative differences of the force errors from the base, in %.

    Attributes:
        names: the variants.
        elements: the elements.
        values: a row for each variant; NaN without complete pairs.
        unit: explanation of the values.
    """

    names: tuple[str, ...]
    elements: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    unit: str = "force MAE, variant − base (%)"


def element_differences(results: StudyResults) -> ElementDifferences:
    """Compute the relative differences of the force errors from the base by variant and element."""
    elements, (base, *variants) = elements_of(results), ordered(results)
    own = element_errors(results, base)
    values = tuple(
        tuple(_relative(element_errors(results, name).get(one, {}), own.get(one, {})) for one in elements)
        for name in variants
    )
    names = tuple(f"{index} {name}" for index, name in enumerate(variants, 1))
    return ElementDifferences(names, tuple(clean(one, 12) for one in elements), values)


def draw_elements(results: StudyResults) -> str | None:
    """Draw the relative differences of the force errors from the base by variant and element; None without any."""
    found = element_differences(results)
    if not found.elements or not found.names:
        return None
    return draw_heat_map(found.names, found.elements, found.values, found.unit)


def _relative(values: Mapping[int, float], base: Mapping[int, float]) -> float:
    """Return the mean difference over complete pairs as a percentage of the mean of the base; NaN without pairs."""
    pairs = [(value, base[seed]) for seed, value in values.items() if seed in base]
    middle = sum(one for _, one in pairs)
    return 100 * sum(value - one for value, one in pairs) / middle if middle else math.nan
