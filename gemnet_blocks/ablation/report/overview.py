"""The first screen of a report: the verdicts, the figure of the differences and what was compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gemnet_blocks.ablation.report.changes import change_in_words
from gemnet_blocks.ablation.report.costs import cost, median_cost, noise
from gemnet_blocks.ablation.report.figure_data import differences_data
from gemnet_blocks.ablation.report.figures import draw_differences
from gemnet_blocks.ablation.report.formatting import clean, number, percent, probability, quantity
from gemnet_blocks.ablation.report.page import Block, Bullets, Facts, Finding, Findings, Folded, Paragraph, Picture
from gemnet_blocks.ablation.report.statistics import Comparison
from gemnet_blocks.ablation.report.tables import done_runs, ordered, planned_pairs, planned_seeds
from gemnet_blocks.ablation.results import StudyResults


def overview(results: StudyResults, compared: Sequence[Comparison], effects: Sequence[str] = ()) -> tuple[Block, ...]:
    """Compose the first screen: the verdicts, the figure of the differences and what was compared.

    Args:
        results: results of the study.
        compared: the comparisons of the variants with the base.
        effects: sentences about the factors of a study with many variants, which then come first.
    """
    if not compared:
        return (Paragraph("The study has only a base, and no variant to compare with it."), _facts(results))
    findings = tuple(
        Finding(one.verdict, clean(one.variant), _sentence(change_in_words(results, one.variant)), _told(results, one))
        for one in compared
    )
    shown: tuple[Block, ...] = (Findings(findings), *_differences_picture(results, compared))
    if effects:
        shown = Bullets(tuple(effects)), Folded(f"Every one of the {len(findings)} combinations", shown)
    return (*shown, _facts(results))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _facts(results: StudyResults) -> Facts:
    names = ordered(results)
    seeds = planned_seeds(results)
    planned = sum(planned_pairs(results, name) for name in names)
    done = len({(run.variant, run.seed) for run in results.done()})
    failed = len(results.failed())
    items = [
        ("compared", f"{len(names) - 1} variants with {clean(results.base_name)}"),
        ("seeds", f"{len(seeds)}: {clean(', '.join(map(str, seeds)), 60)}" if seeds else "0"),
        ("runs", f"{done} of {planned} done" + (f", {failed} failed" if failed else "")),
        ("judged by", quantity(results.primary_metric).heading),
        ("budget", clean(results.budget, 400)),
        ("data", clean("; ".join(results.data.splitlines()), 800)),
    ]
    return Facts(tuple((name, value) for name, value in items if value))


def _differences_picture(results: StudyResults, compared: Sequence[Comparison]) -> tuple[Picture, ...]:
    shown = quantity(results.primary_metric)
    svg = draw_differences(compared, shown)
    if svg is None:
        return ()
    good, bad = ("right", "left") if shown.higher_is_better else ("left", "right")
    caption = (
        f"Differences from the base in {shown.heading}: {good} of the line is better, {bad} is worse. Dots: pairs; "
        "bars: 95 % confidence intervals of the mean. ▲ worse, ▼ better, ● no difference shown, ◇ inconclusive."
    )
    return (Picture("differences", caption, svg, differences_data(compared, shown)),)


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
    """Compare the inference times of a variant and the base, unless they differ by no more than their noise."""
    kind = cost("inference_seconds")
    runs = [done_runs(results, one) for one in (variant, results.base_name)]
    own, base = (median_cost(one, kind.name) for one in runs)
    if own is None or not base:
        return ""
    if abs(own - base) <= max(noise(kind, one) for one in runs):
        return f" The {kind.label} equals that of the base within its spread."
    return f" {number(own / base, 2)}× the {kind.label} of the base."
