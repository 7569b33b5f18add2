"""The numbers that the figures of a report show, in the units of their axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gemnet_blocks.ablation.report.figures import (
    curves_of,
    element_differences,
    medians,
    parity_kind,
    parity_run,
    parity_unit,
)
from gemnet_blocks.ablation.report.formatting import Quantity, quantity
from gemnet_blocks.ablation.report.page import Cell, FigureData
from gemnet_blocks.ablation.report.pareto import front, pareto_panels
from gemnet_blocks.ablation.report.statistics import Comparison
from gemnet_blocks.ablation.report.tables import curve_of, done_runs, ordered
from gemnet_blocks.ablation.results import StudyResults


def differences_data(comparisons: Sequence[Comparison], shown: Quantity) -> FigureData:
    """Return every pair, and the mean of every variant with its interval and verdict."""
    rows: list[tuple[Cell, ...]] = []
    for one in comparisons:
        if not one.seeds:
            continue
        ends = (one.interval.low, one.interval.high) if one.interval is not None else (None, None)
        low, high = (None if end is None else end * shown.factor for end in ends)
        rows.append((one.variant, "mean", one.mean * shown.factor, low, high, one.verdict))
        rows += [
            (one.variant, str(seed), value * shown.factor, None, None, None)
            for seed, value in zip(one.seeds, one.differences, strict=True)
        ]
    return FigureData(("variant", "seed", f"variant − base: {shown.heading}", "low", "high", "verdict"), tuple(rows))


def curves_data(results: StudyResults, metric: str) -> FigureData:
    """Return every point of the learning curves, and of the medians over the seeds."""
    rows: list[tuple[Cell, ...]] = []
    factor = quantity(metric).factor
    for name in ordered(results):
        for run in done_runs(results, name):
            rows += [(name, str(run.seed), step, value * factor) for step, value in curve_of(run, metric)]
        middle = medians(curves_of(results, name, metric))
        rows += [(name, "median", step, value) for step, value in middle]
    return FigureData(("variant", "seed", "step", quantity(metric).heading), tuple(rows))


def parity_data(results: StudyResults) -> FigureData:
    """Return the labels and predictions of the runs that are drawn."""
    kind = parity_kind(results)
    assert kind is not None  # otherwise there is no figure
    unit, factor = parity_unit(kind)
    rows: list[tuple[Cell, ...]] = []
    for name in ordered(results):
        run = parity_run(results, name, kind)
        if run is not None:
            pairs = zip(run.parity[kind].label, run.parity[kind].predicted, strict=True)
            rows += [(name, str(run.seed), label * factor, predicted * factor) for label, predicted in pairs]
    return FigureData(("variant", "seed", f"label ({unit})", f"prediction ({unit})"), tuple(rows))


def heat_map_data(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], unit: str
) -> FigureData:
    """Return the table that `figures.draw_heat_map` colors; empty cells are unknown."""
    shown = (
        (name, *(one if math.isfinite(one) else None for one in row)) for name, row in zip(rows, values, strict=True)
    )
    return FigureData((unit, *columns), tuple(shown))


def elements_data(results: StudyResults) -> FigureData:
    """Return the relative differences of the force errors by variant and element."""
    found = element_differences(results)
    return heat_map_data(found.names, found.elements, found.values, found.unit)


def pareto_data(results: StudyResults) -> FigureData:
    """Return the points of every panel with their spread, and whether they are on the Pareto front."""
    shown, names = quantity(results.primary_metric), ordered(results)
    rows: list[tuple[Cell, ...]] = []
    for heading, found in pareto_panels(results):
        best = front(found, shown.higher_is_better)
        rows += [
            (
                *(heading, names[one.number], one.cost, one.cost_noise),
                *(one.error * shown.factor, one.spread * shown.factor, "yes" if one in best else "no"),
            )
            for one in found
        ]
    headings = ("panel", "variant", "cost", "spread of the cost", shown.heading, "spread", "on the front")
    return FigureData(headings, tuple(rows))
