"""The CSV files of a report."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from gemnet_blocks.ablation.report.formatting import clean, clean_lines
from gemnet_blocks.ablation.report.tables import compare_study, metrics_of, sorted_runs
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
    return _written(headings, rows)


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
    return _written(headings, rows)


def safe(text: str) -> str:
    """Prefix text that a spreadsheet would evaluate as a formula with an apostrophe."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _written(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return text.getvalue()
