"""The looks of a study, from its results."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import replace

from gemnet_blocks.ablation.options import SequentialSeeds
from gemnet_blocks.ablation.report.sequential.monitor import Monitoring, Run, SequentialComparison, monitor
from gemnet_blocks.ablation.report.sequential.words import p_value_in_words
from gemnet_blocks.ablation.report.statistics import Comparison, Verdict
from gemnet_blocks.ablation.results import StudyResults

Errors = tuple[tuple[int, float], ...]
"""The errors of a variant with their seeds."""


def monitored(results: StudyResults, tried: Collection[Run] | None = None) -> Monitoring | None:
    """Look at the results of a sequential study; None if the study has a fixed number of seeds.

    Args:
        results: results of the study.
        tried: failed runs that will not be tried again; None: all failed runs.
    """
    seeds = results.settings.get("seeds")
    others = [one.name for one in results.variants if one.name != results.base_name]
    if not isinstance(seeds, Mapping) or not others:
        return None
    ended = frozenset(
        (run.variant, run.seed)
        for run in results.runs
        if run.status == "done" or (run.status == "failed" and (tried is None or (run.variant, run.seed) in tried))
    )
    errors = tuple((name, tuple(results.values(name).items())) for name in (results.base_name, *others))
    return _monitored(SequentialSeeds.model_validate(dict(seeds)), errors, ended, bool(results.settings.get("factors")))


@functools.lru_cache(maxsize=4)
def _monitored(
    options: SequentialSeeds, errors: tuple[tuple[str, Errors], ...], ended: frozenset[Run], together: bool
) -> Monitoring:
    """Look at the errors of the base, which is the first, and its variants; a report asks for them many times."""
    (base_name, base), *variants = ((name, dict(own)) for name, own in errors)
    return monitor(options, base, dict(variants), ended, base_name, together)


def needed_part(results: StudyResults) -> StudyResults:
    """Leave out the runs that a sequential study does not need, even if they are done."""
    found = monitored(results)
    if found is None:
        return results
    needed = set(found.needed)
    runs = tuple(run for run in results.runs if (run.variant, run.seed) in needed)
    return replace(results, runs=runs, seeds=tuple(sorted({seed for _, seed in needed})))


def decided(results: StudyResults, compared: Comparison, higher_is_better: bool, primary: bool) -> Comparison:
    """Replace verdict and p-value of a comparison by those of the looks of a sequential study.

    Only the primary metric has any: the p-values of other metrics do not account for the looks.

    Args:
        results: results of the study.
        compared: the comparison of a variant with the base as in a study with a fixed number of seeds.
        higher_is_better: True for metrics such as a cosine, False for errors.
        primary: whether the comparison is that of the primary metric.
    """
    found = monitored(results)
    if found is None:
        return compared
    planned = len(results.runs_of(compared.variant))
    if not primary:
        return replace(compared, planned=planned, p_value=None, corrected=None)
    comparison = found.comparison(compared.variant)
    return replace(
        compared,
        planned=planned,
        p_value=comparison.looks[-1].p_value if comparison.looks else None,
        corrected=None,
        verdict=_verdict(comparison, higher_is_better),
        reason=_reason(comparison, found),
    )


def _verdict(comparison: SequentialComparison, higher_is_better: bool) -> Verdict:
    if comparison.decision == "different":
        return "better" if (comparison.looks[-1].statistic > 0) == higher_is_better else "worse"
    return "no difference shown" if comparison.decision in ("futile", "not shown") else "inconclusive"


def _reason(comparison: SequentialComparison, found: Monitoring) -> str:
    """Tell when and how a variant was decided."""
    if not comparison.looks:
        return "no pair is complete" if comparison.decision == "no pairs" else "no look is complete yet"
    last = comparison.looks[-1]
    place = f"look {len(comparison.looks)} with {last.seeds} of at most {found.options.at_most} seeds"
    if comparison.decision == "futile":
        return f"stopped at {place}, because the probability of still showing a difference was small"
    told = {"different": "decided", "not shown": "not shown", "undecided": "undecided"}[comparison.decision]
    return f"{told} at {place} ({p_value_in_words(last)})"
