"""The CSV files of a report."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from statistics import fmean, median, stdev

from gemnet_blocks.ablation.report.formatting import clean, clean_lines
from gemnet_blocks.ablation.report.page import FigureData
from gemnet_blocks.ablation.report.tables import TRIVIAL, compare_study, metrics_of, ordered, sorted_runs
from gemnet_blocks.ablation.results import StudyResults


def runs_csv(results: StudyResults) -> str:
    """Return CSV with one row for each run: variant, seed, key, status, error, metrics and costs, empty if unknown."""
    metrics = sorted({name for run in results.runs for name in run.metrics})
    costs = sorted({name for run in results.runs for name in run.cost})
    headings = [
        *("variant", "seed", "key", "status", "error"),
        *(safe(clean(name)) for name in metrics),
        *(safe(clean(name)) for name in costs),
    ]
    rows = (
        [
            *(safe(clean(run.variant)), run.seed, safe(clean(run.key)), run.status, safe(clean_lines(run.error or ""))),
            *(run.metrics.get(name) for name in metrics),
            *(run.cost.get(name) for name in costs),
        ]
        for run in sorted_runs(results)
    )
    return to_csv(headings, rows)


def differences_csv(results: StudyResults) -> str:
    """Return CSV with one row for each variant and metric: means of the pairs, difference, interval, p-values, verdict.

    Only the primary metric has verdicts.
    """
    headings = [
        *("metric", "variant", "pairs", "planned", "base_mean", "variant_mean", "difference", "low", "high"),
        *("relative", "higher", "p", "p_holm", "verdict", "reason"),
    ]
    rows = []
    for metric in metrics_of(results):
        for one in compare_study(results, metric):
            ends = (one.interval.low, one.interval.high) if one.interval else (None, None)
            values = [one.base_mean, one.variant_mean, one.mean, *ends, one.relative]
            known = [None if value is None or value != value else value for value in values]
            judged = (one.verdict, one.reason) if metric == results.primary_metric else ("", "")
            names = (safe(clean(metric)), safe(clean(one.variant)), len(one.seeds), one.planned)
            rows.append([*names, *known, one.higher, one.p_value, one.corrected, *judged])
    return to_csv(headings, rows)


def errors_csv(results: StudyResults) -> str:
    """Return CSV with one row for each metric and variant: number of seeds, mean, median, standard deviation, extremes.

    Rows of the trivial prediction (zero forces, mean energy) have the name "trivial prediction" and no seeds.
    """
    headings = ("metric", "variant", "seeds", "mean", "median", "standard_deviation", "smallest", "largest")
    rows: list[list[object]] = []
    for metric in metrics_of(results):
        trivial = [run.baseline[metric] for run in results.done() if metric in run.baseline]
        if trivial:
            rows.append([safe(clean(metric)), TRIVIAL, 0, fmean(trivial), median(trivial), None, None, None])
        for name in ordered(results):
            values = [value for value in results.values(name, metric).values() if math.isfinite(value)]
            known = (fmean(values), median(values)) if values else (None, None)
            spread = stdev(values) if len(values) > 1 else None
            ends = (min(values), max(values)) if values else (None, None)
            rows.append([safe(clean(metric)), safe(clean(name)), len(values), *known, spread, *ends])
    return to_csv(headings, rows)


def elements_csv(results: StudyResults) -> str:
    """Return CSV with one row for each finished run and element: number of atoms and errors of the forces."""
    headings = ("variant", "seed", "element", "atoms", "forces_mae", "forces_rmse", "zero_forces_mae")
    rows = (
        [safe(clean(run.variant)), run.seed, safe(clean(element)), *(errors.get(name) for name in headings[3:])]
        for run in sorted_runs(results)
        if run.status == "done"
        for element, errors in sorted(run.elements.items())
    )
    return to_csv(headings, rows)


def curves_csv(results: StudyResults) -> str:
    """Return CSV with one row for each point of the learning curves of finished runs."""
    runs = [run for run in sorted_runs(results) if run.status == "done"]
    names = sorted({name for run in runs for point in run.curve for name in point} - {"step", "seconds"})
    headings = ("step", "seconds", *names)
    rows = (
        [safe(clean(run.variant)), run.seed, *(point.get(name) for name in headings)]
        for run in runs
        for point in run.curve
    )
    return to_csv(["variant", "seed", *(safe(clean(name)) for name in headings)], rows)


def parity_csv(results: StudyResults) -> str:
    """Return CSV with one row for each label and prediction of every finished run, in eV and Å."""
    rows = (
        [safe(clean(run.variant)), run.seed, safe(clean(kind)), label, predicted]
        for run in sorted_runs(results)
        if run.status == "done"
        for kind, one in sorted(run.parity.items())
        for label, predicted in zip(one.label, one.predicted, strict=True)
    )
    return to_csv(("variant", "seed", "quantity", "label", "predicted"), rows)


def safe(text: str) -> str:
    """Prefix text that a spreadsheet would evaluate as a formula with an apostrophe."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def figure_csv(data: FigureData) -> str:
    """Return the CSV of the numbers that a figure shows."""
    rows = ([safe(clean(cell)) if isinstance(cell, str) else cell for cell in row] for row in data.rows)
    return to_csv([safe(clean(one)) for one in data.headings], rows)


def to_csv(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return CSV with a line of headings; None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return text.getvalue()
