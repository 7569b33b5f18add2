"""The tables of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any

from gemnet_blocks.ablation.report.formatting import (
    NONE,
    clean,
    number,
    percent,
    plain,
    probability,
    quantity,
    scaled,
)
from gemnet_blocks.ablation.report.page import Table
from gemnet_blocks.ablation.report.statistics import LEVEL, Comparison, compare
from gemnet_blocks.ablation.results import RunResult, StudyResults


def compare_study(results: StudyResults, metric: str | None = None) -> tuple[Comparison, ...]:
    """Compare every variant of a study with its base in one metric (None: the primary metric)."""
    name = metric or results.primary_metric
    others = ordered(results)[1:]
    return compare(
        results.values(results.base_name, name),
        {other: results.values(other, name) for other in others},
        planned_seeds(results),
        quantity(name).higher_is_better,
    )


def planned_seeds(results: StudyResults) -> tuple[int, ...]:
    """Return the seeds of a study, taken from its runs if the results do not list them."""
    return results.seeds or tuple(sorted({run.seed for run in results.runs}))


def metrics_of(results: StudyResults) -> tuple[str, ...]:
    """Return the names of all metrics of finished runs, the primary metric first."""
    names = sorted({name for run in results.done() for name in run.metrics} - {results.primary_metric})
    return (results.primary_metric, *names)


def ordered(results: StudyResults) -> list[str]:
    """Return the names of all variants, the base first."""
    return list(dict.fromkeys([results.base_name, *(one.name for one in results.variants)]))


def numbered(results: StudyResults, limit: int = 60) -> list[tuple[str, str]]:
    """Return the number and the name of every variant; the base is number 0, and figures use the numbers.

    Args:
        results: results of the study.
        limit: number of characters to which names are truncated.
    """
    return [(str(number), clean(name, limit)) for number, name in enumerate(ordered(results))]


def changes_table(results: StudyResults) -> Table:
    """Tabulate what every variant changes, one row for each field."""
    rows = []
    for (index, shown), name in zip(numbered(results, 200), ordered(results), strict=True):
        variant = next((one for one in results.variants if one.name == name), None)
        identity = clean(variant.spec_hash[:12]) if variant else ""
        differences = variant.differences if variant else ()
        note = "base" if name == results.base_name else clean(variant.note, 400) if variant else ""
        if variant and variant.control_of is not None:
            note = f"control of {clean(variant.control_of)}" + (f"; {note}" if note else "")
        if not differences:
            nothing = NONE if name == results.base_name else "nothing"
            rows.append((index, shown, nothing, NONE, NONE, note, identity))
        for place, one in enumerate(differences):
            first = place == 0
            rows.append(
                (
                    index,
                    shown if first else "″",
                    clean(one.path),
                    plain(one.base),
                    plain(one.value),
                    note if first else "",
                    identity if first else "",
                )
            )
    return Table(
        "Fields of the specs",
        ("#", "variant", "field", "base has", "variant has", "note", "spec"),
        tuple(rows),
        words=7,
        note=f"{NONE}: the field is absent. The last column shows the first characters of the spec's content hash.",
    )


def errors_table(results: StudyResults, metric: str) -> Table:
    """Tabulate one metric for every variant and seed, with mean and standard deviation."""
    shown = quantity(metric)
    seeds = planned_seeds(results)
    rows = []
    for (index, label), name in zip(numbered(results), ordered(results), strict=True):
        values = results.values(name, metric)
        finite = [values[seed] for seed in seeds if math.isfinite(values.get(seed, math.nan))]
        states = {run.seed: run.status for run in results.runs_of(name)}
        cells = [
            shown.show(values[seed])
            if not math.isnan(values.get(seed, math.nan))
            else states.get(seed, "missing").replace("done", "not a number")
            for seed in seeds
        ]
        mean = shown.show(fmean(finite)) if finite else NONE
        spread = shown.show(stdev(finite), 2) if len(finite) > 1 else NONE
        rows.append((index, label, mean, spread, f"{len(finite)} of {len(seeds)}", *cells))
    headings = ("#", "variant", "mean", "std. dev.", "seeds", *(f"seed {seed}" for seed in seeds))
    return Table(shown.heading, headings, tuple(rows), words=2)


def differences_table(results: StudyResults, metric: str) -> Table:
    """Tabulate the paired differences from the base with intervals, p-values and, for the primary metric, verdicts."""
    shown = quantity(metric)
    primary = metric == results.primary_metric
    rows = []
    names = dict(zip(ordered(results), numbered(results), strict=True))
    for one in compare_study(results, metric):
        ends = (one.interval.low, one.interval.high) if one.interval else (math.nan, math.nan)
        difference, low, high = shown.show_differences([one.mean, *ends])
        cells = (
            *names[one.variant],
            *((one.verdict,) if primary else ()),
            shown.show(one.base_mean),
            shown.show(one.variant_mean),
            difference,
            f"{low} to {high}" if one.interval else NONE,
            percent(one.relative),
            f"{one.higher} of {len(one.seeds)}",
            probability(one.p_value),
            probability(one.corrected),
            f"{len(one.seeds)} of {one.planned}",
        )
        rows.append(cells)
    verdict = ("verdict",) if primary else ()
    headings = (
        *("#", "variant", *verdict, "base", "variant", "difference", f"{100 * (1 - LEVEL):.0f} % interval"),
        *("relative", "higher with", "p", "p (Holm)", "pairs"),
    )
    return Table(
        f"Differences from the base: {shown.heading}",
        headings,
        tuple(rows),
        words=3 if primary else 2,
        verdicts=2 if primary else None,
        note="Means over complete pairs; difference = variant − base, negative is "
        + ("worse." if shown.higher_is_better else "better."),
    )


def environment_table(results: StudyResults) -> Table:
    """Tabulate versions and hardware; if runs differ, each value is given with the number of runs."""
    flat = [dict(_flat(run.environment)) for run in sorted_runs(results)]
    flat = [one for one in flat if one]
    rows = []
    for key in sorted({key for one in flat for key in one}):
        values: dict[str, int] = {}
        for one in flat:
            value = one.get(key, NONE)
            values[value] = values.get(value, 0) + 1
        told = [value if len(values) == 1 else f"{value} ({count} runs)" for value, count in values.items()]
        rows.append((clean(key), "; ".join(told)))
    return Table("Environment of the runs", ("item", "value"), tuple(rows), words=2)


def unfinished_table(results: StudyResults) -> Table:
    """Tabulate the unfinished runs with the first line of their errors."""
    names = dict(zip(ordered(results), numbered(results), strict=True))
    rows = tuple(
        (
            *names.get(run.variant, (NONE, clean(run.variant, 60))),
            str(run.seed),
            run.status,
            str(run.attempts),
            clean(next(iter((run.error or "").strip().splitlines()), NONE)),
        )
        for run in sorted_runs(results)
        if run.status != "done"
    )
    return Table(
        "Failed, missing and running runs",
        ("#", "variant", "seed", "status", "attempts", "error"),
        rows,
        words=6,
    )


def median_cost(runs: Iterable[RunResult], name: str) -> float | None:
    """Compute the median of a cost over runs; None if no run has it."""
    values = finite(runs, name)
    return median(values) if values else None


def finite(runs: Iterable[RunResult], name: str) -> list[float]:
    """Return the finite values of a cost over runs."""
    values = (run.cost.get(name) for run in runs)
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def done_runs(results: StudyResults, name: str) -> list[RunResult]:
    """Return the finished runs of a variant, ordered by seed."""
    return [run for run in results.runs_of(name) if run.status == "done"]


def sorted_runs(results: StudyResults) -> Sequence[RunResult]:
    """Return all runs ordered by variant and seed."""
    places = {name: place for place, name in enumerate(ordered(results))}
    return sorted(results.runs, key=lambda run: (places.get(run.variant, len(places)), run.seed))


def _flat(data: Mapping[str, Any], start: str = "") -> Iterable[tuple[str, str]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{start}{key}.")
        else:
            yield f"{start}{key}", plain(value)


@dataclass(frozen=True, slots=True)
class Cost:
    """A kind of cost and its display form.

    Attributes:
        name: name in results.
        label: name in words.
        unit: unit in results: `s`, `B` or `FLOP`; empty for a count, which is shown in full; None: shown with an
            exponent.
        spread: `range` to show the smallest and largest value over the seeds, or the name of another cost that measures
            the spread; empty: not shown.
    """

    name: str
    label: str
    unit: str | None = ""
    spread: str = ""

    def scale(self, values: Sequence[float]) -> tuple[float, str]:
        """Choose a common unit for values; return its size and the heading with the unit."""
        if self.unit is None:
            return 1.0, self.label
        size, unit = scaled(max(map(abs, values), default=0.0), self.unit.replace("FLOP", ""))
        return size, f"{self.label} ({unit})" if unit else self.label

    def show(self, value: float) -> str:
        """Format a value that is already divided by the size of the unit."""
        if self.unit is None:
            return f"{value:.1e}"
        return f"{value:,.0f}" if value >= 100 else number(value, 3)


COSTS = (
    Cost("parameters", "parameters"),
    Cost("matmul_flops_inference", "matmul FLOPs, inference", "FLOP"),
    Cost("matmul_flops_training", "matmul FLOPs, training step", "FLOP"),
    Cost("inference_seconds", "inference time", "s", spread="inference_spread"),
    Cost("training_seconds", "training time", "s", spread="range"),
    Cost("steps", "training steps", spread="range"),
    Cost("peak_memory_bytes", "peak memory", "B", spread="range"),
    Cost("edges", "edges"),
    Cost("triplets", "triplets"),
    Cost("quadruplets", "quadruplets"),
    Cost("symmetry_error", "symmetry error", None, spread="range"),
)
"""All costs in the order of the table."""


def cost(name: str) -> Cost:
    """Return the kind of cost with a name."""
    return next(one for one in COSTS if one.name == name)


def costs_table(results: StudyResults) -> Table:
    """Tabulate the costs of every variant: medians over the seeds and ratios to the base."""
    runs = [done_runs(results, name) for name in ordered(results)]
    columns = [_column(kind, runs) for kind in COSTS if any(finite(one, kind.name) for one in runs)]
    rows = tuple(
        (*label, *(column[place] for column in columns)) for place, label in enumerate(numbered(results), start=1)
    )
    return Table(
        "Costs",
        ("#", "variant", *(column[0] for column in columns)),
        rows,
        words=2,
        note="Medians over the seeds. [a … b]: smallest and largest value over the seeds; ±: half the interquartile "
        "range of the repetitions; ×: ratio to the base. FLOPs: matrix products only. Peak memory: of a training step, "
        "estimated. Edges, triplets and quadruplets: per structure.",
    )


def _column(kind: Cost, runs: list[list[RunResult]]) -> list[str]:
    """Return the heading and the cells of one cost for all variants."""
    values = [value for one in runs for value in finite(one, kind.name)]
    size, heading = kind.scale(values) if kind.unit else (1.0, kind.label)
    base = median_cost(runs[0], kind.name)
    cells = [_cell(kind, runs[0], size)]
    for one in runs[1:]:
        value = median_cost(one, kind.name)
        times = f" ({number(value / base, 2)}×)" if value is not None and base and kind.unit is not None else ""
        cells.append(_cell(kind, one, size) + times)
    return [heading, *cells]


def _cell(kind: Cost, runs: list[RunResult], size: float) -> str:
    value = median_cost(runs, kind.name)
    if value is None:
        return NONE
    text = kind.show(value / size)
    if kind.spread == "range":
        values = finite(runs, kind.name)
        low, high = kind.show(min(values) / size), kind.show(max(values) / size)
        return f"{text} [{low} … {high}]" if low != high else text
    width = median_cost(runs, kind.spread) if kind.spread else None
    return text if width is None else f"{text} ± {number(width / size, 2)}"
