"""Errors of all variants at equal steps, equal time and equal FLOPs, from the learning curves of the same runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from gemnet_blocks.ablation.report.costs import median_cost
from gemnet_blocks.ablation.report.formatting import NONE, percent, quantity, scaled
from gemnet_blocks.ablation.report.page import Table
from gemnet_blocks.ablation.report.tables import curve_of, done_runs, numbered, ordered, value_at
from gemnet_blocks.ablation.results import RunResult, StudyResults

Kind = Literal["steps", "seconds", "FLOPs"]

KINDS: tuple[Kind, ...] = ("steps", "seconds", "FLOPs")
"""The amounts that a budget may limit."""


@dataclass(frozen=True, slots=True)
class EqualBudget:
    """Validation errors of all variants after the same budget.

    Attributes:
        kind: what the budget counts.
        amount: the largest budget that every run has used.
        values: the error by variant and seed.
    """

    kind: Kind
    amount: float
    values: Mapping[str, Mapping[int, float]]

    @property
    def heading(self) -> str:
        """The budget in words."""
        if self.kind == "steps":
            return f"at {self.amount:,.0f} steps"
        size, unit = scaled(self.amount, "s" if self.kind == "seconds" else "")
        unit = unit if self.kind == "seconds" else f"{unit}FLOP"
        return f"at {self.amount / size:.3g} {unit}"


def equal_budgets(results: StudyResults, metric: str) -> list[EqualBudget]:
    """Read the errors of all runs off their learning curves, at the largest budgets that all have used.

    The curves are interpolated linearly. The FLOPs of a step are those of the first batch. Budgets that some run did
    not record are left out.

    Args:
        results: results of the study.
        metric: a metric of the learning curves.
    """
    found = []
    for kind in KINDS:
        curves = {
            name: {run.seed: _curve(results, run, metric, kind) for run in done_runs(results, name)}
            for name in ordered(results)
        }
        curves = {name: {seed: one for seed, one in own.items() if one} for name, own in curves.items()}
        every = [one for own in curves.values() for one in own.values()]
        if len(every) < 2 or not all(curves.values()):
            continue
        amount = min(one[-1][0] for one in every)
        read = {name: {seed: value_at(one, amount) for seed, one in own.items()} for name, own in curves.items()}
        values = {name: {seed: one for seed, one in own.items() if one is not None} for name, own in read.items()}
        found.append(EqualBudget(kind, amount, values))
    return found


def _curve(results: StudyResults, run: RunResult, metric: str, kind: Kind) -> list[tuple[float, float]]:
    if kind != "FLOPs":
        return curve_of(run, metric, "step" if kind == "steps" else kind)
    each = median_cost(done_runs(results, run.variant), "matmul_flops_training")
    return [] if each is None else [(step * each, value) for step, value in curve_of(run, metric)]


def equal_budgets_table(results: StudyResults, metric: str) -> Table | None:
    """Tabulate the errors at equal budgets with the mean paired difference from the base; None without curves."""
    budgets = equal_budgets(results, metric)
    if not budgets:
        return None
    shown = quantity(metric)
    rows = []
    for (index, label), name in zip(numbered(results), ordered(results), strict=True):
        cells = []
        for one in budgets:
            own, base = one.values[name], one.values[results.base_name]
            pairs = [(value, base[seed]) for seed, value in own.items() if seed in base]
            text = shown.show(fmean(own.values())) if own else NONE
            if pairs and name != results.base_name and (middle := fmean(value for _, value in pairs)):
                text += f" ({percent(math.fsum(value - other for value, other in pairs) / len(pairs) / abs(middle))})"
            cells.append(text)
        rows.append((index, label, *cells))
    return Table(
        f"Validation error at equal budgets: {shown.heading}",
        ("#", "variant", *(one.heading for one in budgets)),
        tuple(rows),
        words=2,
        note="Means over the seeds, read off the learning curves at the largest budgets that all runs have used; in "
        "parentheses: the mean paired difference from the base. FLOPs: matrix products of training steps.",
    )
