"""The content of a report, derived from the results of a study alone: equal results give equal reports."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from gemnet_blocks.ablation.report.csv_files import differences_csv, runs_csv
from gemnet_blocks.ablation.report.figures import curve_metric, draw_curves, draw_differences, draw_pareto
from gemnet_blocks.ablation.report.formatting import (
    clean,
    clean_lines,
    number,
    on_paper,
    percent,
    plain,
    probability,
    quantity,
)
from gemnet_blocks.ablation.report.page import (
    FIGURES,
    Block,
    Bullets,
    Facts,
    Finding,
    Findings,
    Listing,
    Page,
    Paragraph,
    Picture,
    Section,
    Table,
    to_html,
    to_markdown,
)
from gemnet_blocks.ablation.report.statistics import LEVEL, MINIMUM_PAIRS, Comparison, pairs_needed, smallest_p_value
from gemnet_blocks.ablation.report.tables import (
    changes_table,
    compare_study,
    cost,
    costs_table,
    differences_table,
    done_runs,
    environment_table,
    errors_table,
    median_cost,
    metrics_of,
    ordered,
    planned_seeds,
    sorted_runs,
    unfinished_table,
)
from gemnet_blocks.ablation.results import StudyResults
from gemnet_blocks.util.files import replacing


def caveats(results: StudyResults, compared: Sequence[Comparison]) -> Bullets:
    """List the assumptions and limits of the conclusions, with the numbers of this study."""
    seeds, count = len(planned_seeds(results)), len(compared)
    shown = quantity(results.primary_metric)
    items = [
        f"“Worse” and “better” refer to {shown.label} alone: the difference was tested with the two-sided sign-flip "
        f"test on the paired differences and corrected for {_variants(count)} with Holm's method. If no variant "
        f"differed from the base, the chance of calling any of them different would be at most {100 * LEVEL:.0f} %.",
        "“No difference shown” does not mean “no difference”: the interval shows which differences remain possible.",
        _attainable(seeds, count),
        "The intervals (BCa bootstrap) are too narrow for few seeds: 95 % intervals cover the true mean in about 87 % "
        "of cases with 6 pairs and 91 % with 10. An interval that excludes zero is not a verdict.",
        "Seeds vary the initial weights and the order of the data, equally for base and variants. They do not vary the "
        "training and test sets: the report does not show how much the result depends on those.",
        "All variants had the same training budget and options. A variant may do better with other options or with "
        "longer training.",
    ]
    missing = [one for one in compared if one.missing]
    if missing:
        told = ", ".join(f"{clean(one.variant)}: {one.missing} of {one.planned}" for one in missing)
        items.append(
            f"Pairs are missing ({told}) because runs are unfinished or their errors are not finite. Only complete "
            "pairs are compared. If a variant fails for the seeds with which it would do badly, the remaining pairs "
            "flatter it."
        )
    items.append(
        "Times were measured on the machine named below and include the load of other processes: compare them with "
        "their spread in mind. Peak memory is estimated from the shapes of all tensors of one training step. FLOPs, "
        "counts and memory do not depend on the machine."
    )
    return Bullets(tuple(items))


def _attainable(seeds: int, count: int) -> str:
    needed = pairs_needed(count)
    least = min(1.0, max(count, 1) * smallest_p_value(seeds))
    if seeds < MINIMUM_PAIRS:
        return (
            f"{seeds} seeds cannot show any difference, and no p-values are given: even if a variant is worse with all "
            f"of 5 seeds, p = 2/2⁵ = 0.0625 > {LEVEL}. {_variants(count).capitalize()} would need {needed} seeds."
        )
    text = (
        f"With {seeds} seeds, the smallest possible p-value is {number(smallest_p_value(seeds), 2)}, and after "
        f"correction for {_variants(count)} {probability(least)}"
    )
    if least > LEVEL:
        return f"{text}: no difference can be shown, however large. {needed} seeds are needed."
    return (
        f"{text}. For few seeds the test is conservative: it misses differences that do not appear with almost every "
        "seed."
    )


def _variants(count: int) -> str:
    return "1 variant" if count == 1 else f"{count} variants"


def page(results: StudyResults) -> Page:
    """Compose the report of a study.

    Raises:
        ImportError: matplotlib or statsmodels is not installed.
    """
    compared = compare_study(results)
    sections = (
        Section("Findings", (_facts(results), _findings(results, compared))),
        Section("Changes", (changes_table(results),)),
        Section("Differences", _differences(results, compared)),
        Section("Errors of every run", tuple(errors_table(results, metric) for metric in metrics_of(results))),
        Section("Costs", _costs(results)),
        Section("Learning curves", _curves(results)),
        Section("How to read this", (caveats(results, compared),)),
        Section("Unfinished runs", _unfinished(results)),
        Section("Environment and settings", _environment(results), folded=True),
    )
    return Page(clean(results.title) or "Ablation study", sections)


def _facts(results: StudyResults) -> Facts:
    names = ordered(results)
    seeds = planned_seeds(results)
    planned = len(names) * len(seeds)
    done = len({(run.variant, run.seed) for run in results.done()})
    failed = len(results.failed())
    items = [
        ("base", clean(results.base_name)),
        ("variants", str(len(names) - 1)),
        ("seeds", f"{len(seeds)}: {clean(', '.join(map(str, seeds)), 60)}" if seeds else "0"),
        ("runs", f"{done} of {planned} done" + (f", {failed} failed" if failed else "")),
        ("judged by", quantity(results.primary_metric).heading),
        ("budget", clean(results.budget, 400)),
        ("data", clean("; ".join(results.data.splitlines()), 800)),
    ]
    return Facts(tuple((name, value) for name, value in items if value))


def _findings(results: StudyResults, compared: Sequence[Comparison]) -> Findings | Paragraph:
    if not compared:
        return Paragraph("The study has only a base, and no variant to compare with it.")
    return Findings(tuple(Finding(one.verdict, clean(one.variant), _told(results, one)) for one in compared))


def _told(results: StudyResults, one: Comparison) -> str:
    shown = quantity(results.primary_metric)
    if not one.seeds:
        return f"No seed has finished runs of both variant and base ({one.planned} pairs were planned)."
    unit = f" {shown.unit}" if shown.unit else ""
    ends = (one.interval.low, one.interval.high) if one.interval else (math.nan, math.nan)
    difference, low, high = shown.show_differences([one.mean, *ends])
    text = f"{shown.label} {shown.show(one.base_mean)} → {shown.show(one.variant_mean)}{unit}: "
    text += f"{difference}{unit}, {percent(one.relative)}"
    if one.interval is not None:
        text += f" (95 % interval {low} to {high}{unit})"
    if one.corrected is not None:
        text += f"; p = {probability(one.corrected)}".replace("= <", "<") + " after correction"
    text += f"; higher with {one.higher} of {len(one.seeds)} seeds."
    if one.reason:
        text += f" {one.reason[0].upper()}{one.reason[1:]}."
    if one.missing:
        text += f" {one.missing} of {one.planned} pairs are missing."
    return text + _price(results, one.variant)


def _price(results: StudyResults, variant: str) -> str:
    ratios = []
    for name in ("inference_seconds", "parameters"):
        own, base = (median_cost(done_runs(results, one), name) for one in (variant, results.base_name))
        if own is not None and base:
            ratios.append(f"{number(own / base, 2)}× the {cost(name).label}")
    return f" {' and '.join(ratios)} of the base." if ratios else ""


def _differences(results: StudyResults, compared: Sequence[Comparison]) -> tuple[Block, ...]:
    primary, *others = metrics_of(results)
    shown = quantity(primary)
    good, bad = ("right", "left") if shown.higher_is_better else ("left", "right")
    blocks: list[Block] = []
    if not compared:
        return (Paragraph("No variants."),)
    svg = draw_differences(compared, shown)
    if svg is not None:
        caption = (
            f"Differences from the base in {shown.heading}: {good} of the line is better, {bad} is worse. Dots: pairs; "
            "bars: 95 % confidence intervals of the mean. ▲ worse, ▼ better, ● no difference shown, ◇ inconclusive."
        )
        blocks.append(Picture("differences", caption, svg))
    blocks.append(differences_table(results, primary))
    if others:
        blocks.append(
            Paragraph(
                "Other metrics have no verdicts: their p-values are corrected for the number of variants, but not for "
                "the number of metrics."
            )
        )
        blocks.extend(differences_table(results, metric) for metric in others)
    return tuple(blocks)


def _costs(results: StudyResults) -> tuple[Block, ...]:
    blocks: list[Block] = []
    svg = draw_pareto(results)
    if svg is not None:
        caption = (
            "Accuracy against cost. Points are variants with the numbers of the tables; bars: standard deviation over "
            "the seeds. Filled points on the line form the Pareto front: no other variant is at least as good in both "
            "and better in one. The order of points with overlapping bars may be due to chance."
        )
        blocks.append(Picture("pareto", caption, svg))
    return (*blocks, costs_table(results))


def _curves(results: StudyResults) -> tuple[Block, ...]:
    svg = draw_curves(results)
    if svg is None:
        return (Paragraph("No finished run has a learning curve."),)
    metric = quantity(curve_metric(results) or "")
    caption = (
        f"{metric.heading} on the validation set. Thin: seeds; thick: their median; dashed: the median of the base. "
        "All panels have the same axes."
    )
    return (Picture("learning_curves", caption, svg),)


def _unfinished(results: StudyResults) -> tuple[Block, ...]:
    table = unfinished_table(results)
    if not table.rows:
        return (Paragraph("All runs are done."),)
    errors = [
        Listing(f"{clean(run.variant)}, seed {run.seed}", clean_lines(run.error))
        for run in sorted_runs(results)
        if run.status == "failed" and run.error is not None and "\n" in run.error.strip()
    ]
    return (table, *errors)


def _environment(results: StudyResults) -> tuple[Block, ...]:
    table = environment_table(results)
    blocks: list[Block] = [table if table.rows else Paragraph("The runs recorded no environment.")]
    if results.settings:
        rows = tuple((clean(str(key)), plain(value, 2000)) for key, value in results.settings.items())
        blocks.append(Table("Settings of the study", ("setting", "value"), rows, words=2))
    return tuple(blocks)


HTML, MARKDOWN, RUNS, DIFFERENCES = "report.html", "report.md", "runs.csv", "differences.csv"
"""The files of a report, beside the folder of figures."""


def write_report(results: StudyResults, folder: str | os.PathLike[str]) -> Path:
    """Write the report of a study: one HTML page, Markdown with figures, and CSV files.

    The report depends on the results alone. All files are composed before the first is written, each is replaced
    atomically, and other files in the folder are left alone.

    Args:
        results: results of the study, complete or not.
        folder: the destination, created if it does not exist.

    Returns:
        The path of the HTML page, which is self-contained.

    Raises:
        ImportError: matplotlib or statsmodels is not installed.
        OSError: the folder cannot be written.
    """
    target = Path(folder)
    contents = report_files(results)
    (target / FIGURES).mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        with replacing(target / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return target / HTML


def report_files(results: StudyResults) -> Mapping[str, str]:
    """Compose the text of all files of a report, by name, with the HTML page last.

    Raises:
        ImportError: matplotlib or statsmodels is not installed.
    """
    report = page(results)
    pictures = [block for section in report.sections for block in section.blocks if isinstance(block, Picture)]
    return {
        **{f"{FIGURES}/{one.name}.svg": on_paper(one.svg) for one in pictures},
        RUNS: runs_csv(results),
        DIFFERENCES: differences_csv(results),
        MARKDOWN: to_markdown(report),
        HTML: to_html(report),
    }
