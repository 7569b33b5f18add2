"""What a report says, from the results of a study alone.

Nothing in it depends on when or where it is written: the same results make the same report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gemnet_blocks.ablation.caveats import caveats
from gemnet_blocks.ablation.comparison import Comparison
from gemnet_blocks.ablation.costs import cost, costs_table
from gemnet_blocks.ablation.pareto import draw_pareto
from gemnet_blocks.ablation.report.figures import curve_metric, draw_curves, draw_differences
from gemnet_blocks.ablation.report.formatting import clean, clean_lines, number, percent, plain, probability, quantity
from gemnet_blocks.ablation.report.page import (
    Block,
    Facts,
    Finding,
    Findings,
    Listing,
    Page,
    Paragraph,
    Picture,
    Section,
    Table,
)
from gemnet_blocks.ablation.report.tables import (
    changes_table,
    compare_study,
    differences_table,
    done_runs,
    environment_table,
    errors_table,
    metrics_of,
    middle,
    ordered,
    planned_seeds,
    sorted_runs,
    unfinished_table,
)
from gemnet_blocks.ablation.results import StudyResults

NO_ERROR = "no message"
"""In place of the error of a run that failed without one."""


def page(results: StudyResults) -> Page:
    """The report of a study.

    Raises:
        ImportError: matplotlib is not installed.
    """
    compared = compare_study(results)
    sections = (
        Section("Findings", (_facts(results), _findings(results, compared))),
        Section("What was changed", (changes_table(results),)),
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
        return Paragraph("There is nothing but the base: no variant to compare it with.")
    return Findings(tuple(Finding(one.verdict, clean(one.variant), _told(results, one)) for one in compared))


def _told(results: StudyResults, one: Comparison) -> str:
    shown = quantity(results.primary_metric)
    if not one.seeds:
        return f"No seed with which both it and the base are done ({one.planned} were planned)."
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
    told = []
    for name in ("inference_seconds", "parameters"):
        own, base = (middle(done_runs(results, one), name) for one in (variant, results.base_name))
        if own is not None and base:
            told.append(f"{number(own / base, 2)}× the {cost(name).label}")
    return f" {' and '.join(told)} of the base." if told else ""


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
            "bars: 95 % intervals of the mean. ▲ worse, ▼ better, ● no difference shown, ◇ inconclusive."
        )
        blocks.append(Picture("differences", caption, svg))
    blocks.append(differences_table(results, primary))
    if others:
        blocks.append(
            Paragraph(
                "Other metrics, without verdicts: their p-values are corrected for the number of variants, not for the "
                "number of metrics."
            )
        )
        blocks.extend(differences_table(results, metric) for metric in others)
    return tuple(blocks)


def _costs(results: StudyResults) -> tuple[Block, ...]:
    blocks: list[Block] = []
    svg = draw_pareto(results)
    if svg is not None:
        caption = (
            "Accuracy against cost. Points are variants by the numbers of the tables; bars: standard deviation over "
            "the seeds. Filled points on the line: no other variant is at least as good at both and better at one. Of "
            "points whose bars overlap, the order may be luck."
        )
        blocks.append(Picture("pareto", caption, svg))
    return (*blocks, costs_table(results))


def _curves(results: StudyResults) -> tuple[Block, ...]:
    svg = draw_curves(results)
    if svg is None:
        return (Paragraph("No run that is done has a learning curve."),)
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
        Listing(f"{clean(run.variant)}, seed {run.seed}", clean_lines(run.error or NO_ERROR))
        for run in sorted_runs(results)
        if run.status == "failed" and "\n" in (run.error or "").strip()
    ]
    return (table, *errors)


def _environment(results: StudyResults) -> tuple[Block, ...]:
    table = environment_table(results)
    blocks: list[Block] = [table if table.rows else Paragraph("The runs do not say what they ran on.")]
    if results.settings:
        rows = tuple((clean(str(key)), plain(value, 2000)) for key, value in results.settings.items())
        blocks.append(Table("The study", ("setting", "value"), rows, words=2))
    return tuple(blocks)
