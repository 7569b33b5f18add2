"""The figures of the report of a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from gemnet_blocks.ablation.options import COSTS
from gemnet_blocks.ablation.report.costs import cost
from gemnet_blocks.ablation.report.figures import log_scale
from gemnet_blocks.ablation.report.formatting import ACCENT, FAINT, INK, PAPER, UNSURE, drawn, number, quantity, wrapped
from gemnet_blocks.ablation.report.page import Cell, FigureData
from gemnet_blocks.ablation.search_results import SearchResults, SearchTrial


@dataclass(frozen=True, slots=True)
class Axis:
    """The display form of an objective.

    Attributes:
        label: name in words.
        heading: name with unit.
        factor: conversion from the unit of results to that of the display.
    """

    label: str
    heading: str
    factor: float

    def show(self, value: float) -> str:
        """Format a value of results."""
        shown = value * self.factor
        return f"{shown:,.0f}" if shown.is_integer() and shown < 1e7 else number(shown)


def axis_of(results: SearchResults, index: int = 0) -> Axis:
    """Return the display form of an objective of a search."""
    name = results.objectives[index]
    if name in COSTS:
        size, heading = cost(name).scale([one.values[index] for one in results.of("done")])
        return Axis(cost(name).label, heading, 1 / size)
    shown = quantity(name)
    return Axis(f"validation {shown.label}", f"validation {shown.heading}", shown.factor)


def best_so_far(trials: Sequence[SearchTrial], index: int = 0) -> list[tuple[int, float]]:
    """Return the number of each trial that is done, and the lowest objective until then."""
    lowest = accumulate((one.values[index] for one in trials), min)
    return list(zip((one.number for one in trials), lowest, strict=True))


def history_data(results: SearchResults) -> FigureData:
    """Return the objectives of the trials in order, and the lowest so far."""
    axes = [axis_of(results, index) for index in range(len(results.objectives))]
    lowest = [dict(best_so_far(results.of("done"), index)) for index in range(len(axes))]
    rows: list[tuple[Cell, ...]] = []
    for one in results.trials:
        ends = one.values or one.validations[-1:]  # of trials that were stopped early: the last validation
        values = [axis.factor * value for axis, value in zip(axes, ends, strict=False)]
        best = [axis.factor * known[one.number] for axis, known in zip(axes, lowest, strict=True) if one.values]
        if values and one.outcome in ("done", "pruned"):
            padding = [None] * (2 * len(axes) - len(values) - len(best))
            rows.append((one.number, one.outcome, *values, *best, *padding))
    headings = (*(axis.heading for axis in axes), *(f"lowest {axis.heading}" for axis in axes))
    return FigureData(("trial", "outcome", *headings), tuple(rows))


def draw_history(results: SearchResults) -> str | None:
    """Draw the objectives of the trials in order, with the lowest so far as a line; None without a trial."""
    done, pruned = results.of("done"), [one for one in results.of("pruned") if one.validations]
    if not done:
        return None

    def draw(figure: Any) -> None:
        panels = figure.subplots(len(results.objectives), 1, sharex=True, squeeze=False).ravel()
        for index, axes in enumerate(panels):
            axis = axis_of(results, index)
            axes.grid(axis="y")
            numbers, lowest = zip(*best_so_far(done, index), strict=True)
            axes.step(numbers, [axis.factor * one for one in lowest], where="post", color=ACCENT, linewidth=1.4)
            values = [axis.factor * one.values[index] for one in done]
            _dots(axes, [one.number for one in done], values)
            if index == 0 and pruned:
                ends = [axis.factor * one.validations[-1] for one in pruned]
                axes.plot([one.number for one in pruned], ends, "x", color=UNSURE, markersize=4, zorder=3)
            axes.set_ylabel(axis.heading)
            _fit_scale(axes, values)
        panels[-1].set_xlabel("trial")
        panels[-1].xaxis.get_major_locator().set_params(integer=True)

    return drawn(draw, 2.2 * len(results.objectives) + 0.3)


def slices_data(results: SearchResults) -> FigureData:
    """Return the first objective with the values of each field."""
    axis = axis_of(results)
    rows = [
        (path, one.parameters[path], axis.factor * one.values[0])
        for path in results.space
        for one in results.of("done")
    ]
    return FigureData(("field", "value", axis.heading), tuple(rows))


def draw_slices(results: SearchResults) -> str | None:
    """Draw the first objective against the values of each field; None without a trial."""
    done = results.of("done")
    if not done:
        return None
    paths, axis = list(results.space), axis_of(results)
    rows = math.ceil(len(paths) / 2)
    values = [axis.factor * one.values[0] for one in done]

    def draw(figure: Any) -> None:
        panels = figure.subplots(rows, 2, sharey=True, squeeze=False).ravel()
        for axes, path in zip(panels, paths, strict=False):
            axes.grid(axis="y")
            axes.set_title(wrapped(path.replace(".", ". "), 18).replace(". ", "."), fontsize=9, loc="left")
            found = [one.parameters[path] for one in done]
            if all(isinstance(one, str) for one in found):
                names = list(dict.fromkeys(sorted(map(str, found))))
                _dots(axes, [names.index(str(one)) for one in found], values)
                axes.set_xticks(range(len(names)), [wrapped(name, 12) for name in names], fontsize=8)
                axes.set_xlim(-0.6, len(names) - 0.4)
            else:
                _dots(axes, found, values)
                if path in results.log:
                    log_scale(axes, "x")
            _fit_scale(axes, values)
        for axes in panels[len(paths) :]:
            axes.set_visible(False)
        figure.supylabel(axis.heading, fontsize=9)

    return drawn(draw, 2.3 * rows + 0.2)


def importances_data(results: SearchResults) -> FigureData:
    """Return the importance of each field."""
    rows = tuple((path, 100 * value) for path, value in results.importances.items())
    return FigureData(("field", "importance (%)"), rows)


def draw_importances(results: SearchResults) -> str | None:
    """Draw the importance of each field as a bar; None if they are unknown."""
    if not results.importances:
        return None
    found = sorted(results.importances.items(), key=lambda one: one[1])

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.barh(range(len(found)), [100 * value for _, value in found], color=ACCENT, height=0.6)
        axes.set_yticks(range(len(found)), [wrapped(path, 30, 2) for path, _ in found], fontsize=8, color=INK)
        axes.set_xlabel("importance (%)")
        axes.grid(axis="x")

    return drawn(draw, 0.32 * len(found) + 0.7)


def front_data(results: SearchResults) -> FigureData:
    """Return two objectives of each trial, and whether it is part of the Pareto front."""
    up, across = axis_of(results, 0), axis_of(results, 1)
    front = {one.number for one in results.best}
    rows = tuple(
        (one.number, one.values[1] * across.factor, one.values[0] * up.factor, str(one.number in front))
        for one in results.of("done")
    )
    return FigureData(("trial", across.heading, up.heading, "on the front"), rows)


def draw_front(results: SearchResults) -> str | None:
    """Draw the second objective against the first, with the Pareto front as a line; None for a single objective."""
    done = results.of("done")
    if len(results.objectives) < 2 or not done:
        return None
    across, up = axis_of(results, 1), axis_of(results, 0)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.grid()
        front = sorted((one.values[1] * across.factor, one.values[0] * up.factor) for one in results.best)
        axes.step(*zip(*front, strict=True), where="post", color=ACCENT, linewidth=1.2)
        _dots(axes, [one.values[1] * across.factor for one in done], [one.values[0] * up.factor for one in done])
        for one in results.best:
            place = (one.values[1] * across.factor, one.values[0] * up.factor)
            axes.plot(*place, "o", color=ACCENT, markersize=5, zorder=4)
            axes.annotate(str(one.number), place, (4, 4), textcoords="offset points", fontsize=8, color=INK)
        axes.set_xlabel(across.heading)
        axes.set_ylabel(up.heading)

    return drawn(draw, 2.8)


def _dots(axes: Any, across: Sequence[Any], up: Sequence[float]) -> None:
    axes.plot(across, up, "o", color=FAINT, markerfacecolor=PAPER, markersize=4, zorder=3)


def _fit_scale(axes: Any, values: Sequence[float]) -> None:
    """Choose a logarithmic scale for values of different orders of magnitude."""
    if min(values) > 0 and max(values) > 20 * min(values):
        log_scale(axes)
