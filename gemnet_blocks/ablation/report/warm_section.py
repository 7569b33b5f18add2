"""The section of a report that compares training from the weights of a model with training from random weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from gemnet_blocks.ablation.report.figures import curve_metric
from gemnet_blocks.ablation.report.formatting import NONE, Quantity, clean, quantity
from gemnet_blocks.ablation.report.page import Block, Table
from gemnet_blocks.ablation.report.statistics import bootstrap_interval
from gemnet_blocks.ablation.report.tables import Curve, curve_of, done_runs, value_at
from gemnet_blocks.ablation.results import StudyResults, Variant

WARM_QUESTION = "Do warm starts lead to the same conclusions, and after what fraction of the training time?"

POINTS = 20
"""The number of points of the learning curves at which conclusions are compared."""


@dataclass(frozen=True, slots=True)
class Twins:
    """One architecture that is trained from random weights and from those of a model.

    Attributes:
        cold: the variant with random weights.
        warm: the variant that starts from a model.
    """

    cold: Variant
    warm: Variant


def twins(results: StudyResults) -> list[Twins]:
    """Pair the variants that differ in the weights that training starts from alone; that of the base first."""

    def start(one: Variant) -> object:
        training = (results.settings.get("training") or {}).get("training") or {}
        changed = [difference.value for difference in one.differences if difference.path == "start_from"]
        return changed[0] if changed else training.get("start_from")

    def rest(one: Variant) -> str:
        return repr([difference for difference in one.differences if difference.path != "start_from"])

    colds = {rest(one): one for one in results.variants if start(one) is None}
    found = [Twins(colds[rest(one)], one) for one in results.variants if start(one) is not None and rest(one) in colds]
    return sorted(found, key=lambda pair: rest(pair.cold) != "[]")


def warm_blocks(results: StudyResults) -> tuple[Block, ...]:
    """Compose the section about warm starts; empty unless a study trains the base in both ways."""
    pairs = twins(results)
    if not pairs or any(one.path != "start_from" for one in pairs[0].cold.differences):
        return ()
    shown, metric = quantity(results.primary_metric), curve_metric(results)
    base, *others = pairs
    blocks = [_errors(results, pairs, shown, metric)]
    if others:
        blocks.append(_conclusions(results, base, others, shown, metric))
    return tuple(blocks)


def _errors(results: StudyResults, pairs: Sequence[Twins], shown: Quantity, metric: str | None) -> Table:
    rows = []
    for pair in pairs:
        values = [list(results.values(one.name).values()) for one in (pair.cold, pair.warm)]
        errors = (shown.show(fmean(one)) if one else NONE for one in values)
        rows.append((clean(pair.cold.name, 60), *errors, NONE if metric is None else _reached(results, pair, metric)))
    headings = ("variant", "random weights", "warm start", "fraction of the time")
    note = (
        "Means over the seeds. Fraction of the time: the part of the training time of a run from random weights after "
        "which the warm run first has the validation error that this run has at its end; mean over the seeds that "
        "reach it."
    )
    return Table(f"Cold against warm: {shown.heading}", headings, tuple(rows), note=note)


def _reached(results: StudyResults, pair: Twins, metric: str) -> str:
    """Describe when the warm runs reach the final validation error of the cold ones."""
    cold = {run.seed: curve_of(run, metric, "seconds") for run in done_runs(results, pair.cold.name)}
    warm = {run.seed: curve_of(run, metric, "seconds") for run in done_runs(results, pair.warm.name)}
    fractions = []
    both = [seed for seed in cold if cold[seed] and warm.get(seed)]
    for seed in both:
        end, error = cold[seed][-1]
        first = next((place for place, value in warm[seed] if value <= error), None)
        if first is not None and end > 0:
            fractions.append(first / end)
    if not both:
        return NONE
    text = f"{fmean(fractions):.0%}" if fractions else "not reached"
    return text if len(fractions) in (0, len(both)) else f"{text} ({len(fractions)} of {len(both)} seeds)"


def _conclusions(
    results: StudyResults, base: Twins, others: Sequence[Twins], shown: Quantity, metric: str | None
) -> Table:
    rows = []
    for pair in others:
        cold = _differences(results, pair.cold, base.cold)
        warm = _differences(results, pair.warm, base.warm)
        same = _sign(cold) == _sign(warm)
        words = NONE if None in (_sign(cold), _sign(warm)) else "the same" if same else "another"
        since = NONE if metric is None else _since(results, base, pair, metric, _sign(cold))
        rows.append((clean(pair.cold.name, 60), _shown(cold, shown), _shown(warm, shown), words, since))
    headings = ("variant", "difference, random weights", "difference, warm start", "conclusion", "the same since")
    note = (
        "Differences from the base that starts in the same way, paired by seed, with 95 % BCa intervals, which lie "
        "above zero, lie below zero or contain it: this is the conclusion. The same since: the fraction of the steps "
        "from which on the validation errors of the warm runs lead to the conclusion of the cold runs at their end."
    )
    return Table(f"Conclusions from cold and warm runs: {shown.heading}", headings, tuple(rows), note=note)


def _differences(results: StudyResults, one: Variant, base: Variant) -> list[float]:
    values, others = (results.values(variant.name) for variant in (one, base))
    return [value - others[seed] for seed, value in values.items() if seed in others]


def _sign(differences: Sequence[float]) -> int | None:
    """Return 1 or -1 if the interval of the mean is above or below zero, 0 if it contains zero; None if unknown."""
    interval = bootstrap_interval(differences) if differences else None
    return None if interval is None else (interval.low > 0) - (interval.high < 0)


def _shown(differences: Sequence[float], shown: Quantity) -> str:
    if not differences:
        return NONE
    interval = bootstrap_interval(differences)
    ends = (interval.low, interval.high) if interval else (math.nan, math.nan)
    middle, low, high = shown.show_differences([fmean(differences), *ends])
    return f"{middle} [{low} to {high}]" if interval else middle


def _since(results: StudyResults, base: Twins, pair: Twins, metric: str, wanted: int | None) -> str:
    """Find the fraction of the steps from which on the warm runs lead to the wanted conclusion."""
    curves = [
        {run.seed: curve_of(run, metric) for run in done_runs(results, one.name)} for one in (pair.warm, base.warm)
    ]
    ends = [curve[-1][0] for own in curves for curve in own.values() if curve]
    if not ends or wanted is None:
        return NONE
    end, found = min(ends), NONE
    for point in range(POINTS, 0, -1):
        differences = list(_between(curves[0], curves[1], end * point / POINTS))
        if differences and _sign(differences) != wanted:
            return found
        found = f"{point / POINTS:.0%}" if differences else found
    return found


def _between(curves: dict[int, Curve], others: dict[int, Curve], step: float) -> Iterator[float]:
    """Yield the differences between learning curves of the same seed at a step."""
    for seed, curve in curves.items():
        values = value_at(curve, step), value_at(others.get(seed, []), step)
        if None not in values:
            yield math.fsum((values[0] or 0.0, -(values[1] or 0.0)))
