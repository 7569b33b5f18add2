"""Seeds whose errors are far from those of the other seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from gemnet_blocks.ablation.report.formatting import Quantity, clean, number, quantity
from gemnet_blocks.ablation.report.statistics import far_off
from gemnet_blocks.ablation.report.tables import curve_of, done_runs, ordered
from gemnet_blocks.ablation.results import StudyResults


def outliers(results: StudyResults, metric: str) -> list[str]:
    """Describe the seeds whose errors are far from those of the other seeds: by how much, why, and with what effect."""
    shown = quantity(metric)
    base = results.values(results.base_name, metric)
    of_base = far_off(base)
    found = []
    for name in ordered(results):
        values = {seed: value for seed, value in results.values(name, metric).items() if math.isfinite(value)}
        for seed, distance in far_off(values).items():
            others = [value for other, value in values.items() if other != seed]
            unit = f" {shown.unit}" if shown.unit else ""
            told = (
                f"{clean(name, 60)}, seed {seed}: {shown.label} {shown.show(values[seed])}{unit}, {_times(distance)} "
                f"the spread of the seeds from their median of {shown.show(median(values.values()))}{unit}."
            )
            parts = [told, _history(results, name, seed, metric)]
            if name != results.base_name:
                parts.append(_effect(values, base, seed, seed in of_base, shown))
            else:
                parts.append(f"Without it, the mean is {shown.show(fmean(others))}{unit}.")
            found.append(" ".join(part for part in parts if part))
    return found


def _times(distance: float) -> str:
    return "more than 100 times" if distance > 100 else f"{number(distance, 2)} times"


def _history(results: StudyResults, name: str, seed: int, metric: str) -> str:
    """Describe how the learning curve of a seed differs from those of the others, if it does."""
    curves = {run.seed: curve_of(run, metric) for run in done_runs(results, name)}
    own = curves.get(seed, [])
    others = [one for other, one in curves.items() if other != seed and len(one) > 1]
    if len(own) < 2 or not others:
        return ""
    ends = [one[-1][0] for one in others]
    if own[-1][0] < 0.9 * min(ends):
        return f"Its training ended after {own[-1][0]:,.0f} steps, that of the other seeds after {median(ends):,.0f}."
    best = min(own, key=lambda point: point[1])
    if own[-1][1] > 1.5 * best[1] > 0:
        return f"Its validation error rose again after step {best[0]:,.0f}."
    starts = [one[0][1] for one in others]
    return "" if _between(own[0][1], starts) else "Its validation error differed from the first validation on."


def _between(value: float, others: Sequence[float]) -> bool:
    width = max(others) - min(others)
    return min(others) - width <= value <= max(others) + width


def _effect(values: Mapping[int, float], base: Mapping[int, float], seed: int, both: bool, shown: Quantity) -> str:
    pairs = {one: value - base[one] for one, value in values.items() if math.isfinite(value - base.get(one, math.nan))}
    if seed not in pairs or len(pairs) < 2:
        return ""
    if both and seed not in far_off(pairs):
        return "The base is as far off with this seed, so that the difference is not."
    rest = [value for one, value in pairs.items() if one != seed]
    all_seeds, without = shown.show_differences([fmean(pairs.values()), fmean(rest)])
    unit = f" {shown.unit}" if shown.unit else ""
    return f"The mean difference is {all_seeds}{unit} with it and {without}{unit} without it."
