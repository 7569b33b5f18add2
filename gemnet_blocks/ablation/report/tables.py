"""The tables of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Any

from gemnet_blocks.ablation.options import LEVEL
from gemnet_blocks.ablation.report.formatting import (
    NONE,
    Quantity,
    clean,
    percent,
    plain,
    probability,
    quantity,
)
from gemnet_blocks.ablation.report.page import Table
from gemnet_blocks.ablation.report.sequential.study_looks import decided, monitored
from gemnet_blocks.ablation.report.statistics import Comparison, compare, far_off
from gemnet_blocks.ablation.results import RunResult, StudyResults

TRIVIAL = "trivial prediction"
"""The name of the baseline in tables: zero forces and the mean energy."""


def compare_study(results: StudyResults, metric: str | None = None) -> tuple[Comparison, ...]:
    """Compare every variant of a study with its base in one metric (None: the primary metric)."""
    name = metric or results.primary_metric
    others = ordered(results)[1:]
    better = quantity(name).higher_is_better
    compared = compare(
        results.values(results.base_name, name),
        {other: results.values(other, name) for other in others},
        planned_seeds(results),
        better,
    )
    return tuple(decided(results, one, better, name == results.primary_metric) for one in compared)


def planned_seeds(results: StudyResults) -> tuple[int, ...]:
    """Return the seeds of a study, taken from its runs if the results do not list them."""
    return results.seeds or tuple(sorted({run.seed for run in results.runs}))


def planned_pairs(results: StudyResults, name: str) -> int:
    """Return the number of seeds that a variant has; in sequential studies, those that it got so far."""
    return len(planned_seeds(results)) if monitored(results) is None else len(results.runs_of(name))


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
        "Changed fields of the specs",
        ("#", "variant", "field", "base has", "variant has", "note", "spec"),
        tuple(rows),
        words=7,
        note=f"{NONE}: the field is absent. The last column shows the first characters of the spec's content hash.",
    )


def errors_overview(results: StudyResults) -> Table:
    """Tabulate all metrics of all variants, as mean ± standard deviation and median over the seeds, with a baseline."""
    metrics = metrics_of(results)
    names = ordered(results)
    flagged = {(name, metric) for metric in metrics for name in names if far_off(results.values(name, metric))}
    rows = [_baseline_row(results, metrics)] if any(run.baseline for run in results.done()) else []
    for (index, label), name in zip(numbered(results), names, strict=True):
        cells = [
            _mean_and_median(quantity(metric), results.values(name, metric), (name, metric) in flagged)
            for metric in metrics
        ]
        rows.append((index, label, *cells))
    note = "Mean ± standard deviation over the seeds; in parentheses: the median."
    if monitored(results) is not None:
        note += " Variants have different seeds: compare them by the differences above."
    if flagged:
        note += " ⚑: a seed is far off; see below."
    if any(run.baseline for run in results.done()):
        note += (
            " Trivial prediction: zero forces, and for every structure the atomic reference energies plus the mean "
            "remaining energy per atom of the evaluated set. A useful model has much lower errors."
        )
    headings = ("#", "variant", *(quantity(metric).heading for metric in metrics))
    return Table("Errors on the evaluated set", headings, tuple(rows), words=2, note=note)


def _baseline_row(results: StudyResults, metrics: Sequence[str]) -> tuple[str, ...]:
    cells = []
    for metric in metrics:
        values = [run.baseline[metric] for run in sorted_runs(results) if metric in run.baseline]
        cells.append(quantity(metric).show(median(values)) if values else NONE)
    return (NONE, TRIVIAL, *cells)


def _mean_and_median(shown: Quantity, values: Mapping[int, float], flagged: bool) -> str:
    finite = [value for value in values.values() if math.isfinite(value)]
    if not finite:
        return NONE
    spread = f" ± {shown.show(stdev(finite), 2)}" if len(finite) > 1 else ""
    return f"{shown.show(fmean(finite))}{spread} ({shown.show(median(finite))}){' ⚑' if flagged else ''}"


def errors_table(results: StudyResults, metric: str) -> Table:
    """Tabulate one metric for every variant and seed, with mean, median and standard deviation."""
    shown = quantity(metric)
    seeds = planned_seeds(results)
    absent = "missing" if monitored(results) is None else NONE
    rows = []
    for (index, label), name in zip(numbered(results), ordered(results), strict=True):
        values = results.values(name, metric)
        finite = [values[seed] for seed in seeds if math.isfinite(values.get(seed, math.nan))]
        states = {run.seed: run.status for run in results.runs_of(name)}
        off = far_off(values)
        cells = [
            shown.show(values[seed]) + (" ⚑" if seed in off else "")
            if not math.isnan(values.get(seed, math.nan))
            else states.get(seed, absent).replace("done", "not a number")
            for seed in seeds
        ]
        mean, middle = (shown.show(one(finite)) if finite else NONE for one in (fmean, median))
        spread = shown.show(stdev(finite), 2) if len(finite) > 1 else NONE
        rows.append((index, label, mean, middle, spread, f"{len(finite)} of {planned_pairs(results, name)}", *cells))
    headings = ("#", "variant", "mean", "median", "std. dev.", "seeds", *(f"seed {seed}" for seed in seeds))
    return Table(shown.heading, headings, tuple(rows), words=2)


def elements_table(results: StudyResults) -> Table | None:
    """Tabulate the mean errors of the forces on each element for every variant; None if no run recorded them."""
    shown = quantity("forces_mae")
    elements = elements_of(results)
    if not elements:
        return None
    first = next(run for run in sorted_runs(results) if run.elements)
    zero = [first.elements.get(one, {}).get("zero_forces_mae") for one in elements]
    rows = [(NONE, TRIVIAL, *(NONE if value is None else shown.show(value) for value in zero))]
    for (index, label), name in zip(numbered(results), ordered(results), strict=True):
        found = element_errors(results, name)
        rows.append((index, label, *(_mean(shown, found.get(one, {}).values()) for one in elements)))
    atoms = [first.elements.get(one, {}).get("atoms", 0.0) for one in elements]
    headings = (f"{clean(one, 12)} ({count:,.0f} atoms)" for one, count in zip(elements, atoms, strict=True))
    return Table(
        f"Errors by element: {shown.heading}",
        ("#", "variant", *headings),
        tuple(rows),
        words=2,
        note="Mean ± standard deviation over the seeds. Trivial prediction: zero forces.",
    )


def _mean(shown: Quantity, values: Iterable[float]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return NONE
    return shown.show(fmean(finite), 3) + (f" ± {shown.show(stdev(finite), 2)}" if len(finite) > 1 else "")


def elements_of(results: StudyResults) -> list[str]:
    """Return the elements for which finished runs recorded errors, in alphabetical order."""
    return sorted({one for run in results.done() for one, errors in run.elements.items() if "forces_mae" in errors})


def element_errors(results: StudyResults, name: str) -> dict[str, dict[int, float]]:
    """Return the errors of the forces on each element for a variant, by element and seed."""
    found: dict[str, dict[int, float]] = {}
    for run in done_runs(results, name):
        for one, errors in run.elements.items():
            if "forces_mae" in errors:
                found.setdefault(one, {})[run.seed] = errors["forces_mae"]
    return found


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


Curve = list[tuple[float, float]]
"""Points of a learning curve: position and value, in the order of the positions."""


def curve_of(run: RunResult, metric: str, along: str = "step") -> Curve:
    """Return the finite points of the learning curve of a run.

    Args:
        run: the run.
        metric: name of the metric.
        along: the positions: `step` or `seconds`.
    """
    points = [(point.get(along), point.get(metric)) for point in run.curve]
    known = [(float(place), float(value)) for place, value in points if place is not None and value is not None]
    return sorted(point for point in known if all(map(math.isfinite, point)))


def value_at(curve: Curve, place: float) -> float | None:
    """Interpolate a learning curve linearly; None outside its points."""
    if not curve or not curve[0][0] <= place <= curve[-1][0]:
        return None
    after = next(index for index, (there, _) in enumerate(curve) if there >= place)
    end, value = curve[after]
    if end == place:
        return value
    start, before = curve[after - 1]
    return before + (value - before) * (place - start) / (end - start)
