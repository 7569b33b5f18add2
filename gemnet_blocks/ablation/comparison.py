"""What a study's numbers say of each variant: its differences from the base, how sure they are, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gemnet_blocks.ablation.report.statistics import (
    LEVEL,
    MINIMUM_PAIRS,
    Array,
    Interval,
    bootstrap_interval,
    holm,
    pairs_needed,
    sign_flip_test,
    smallest_p_value,
)

Verdict = Literal["worse", "better", "no difference shown", "inconclusive"]
"""What may be concluded. "no difference shown" is not "no difference": see the interval for what may have been missed.
"inconclusive": there are too few pairs for any difference to be shown, however large."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One variant against the base, seed by seed.

    Attributes:
        variant: its name.
        seeds: with which both are done.
        differences: variant − base, for each of these seeds.
        planned: with how many seeds the study compares them; those that are not in `seeds` are missing.
        base_mean: the mean of the base over the pairs; NaN without pairs.
        variant_mean: that of the variant.
        interval: of the mean difference; None for fewer than 3 pairs.
        p_value: of the sign-flip test; None for fewer than 6 pairs.
        corrected: the same after Holm's correction for the number of variants.
        verdict: what may be concluded.
        reason: why nothing may be concluded; else empty.
    """

    variant: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    planned: int
    base_mean: float
    variant_mean: float
    interval: Interval | None
    p_value: float | None
    corrected: float | None
    verdict: Verdict
    reason: str = ""

    @property
    def mean(self) -> float:
        """The mean difference; NaN without pairs."""
        return math.fsum(self.differences) / len(self.differences) if self.differences else math.nan

    @property
    def missing(self) -> int:
        """How many of the planned pairs there are not."""
        return self.planned - len(self.seeds)

    @property
    def relative(self) -> float:
        """The mean difference as a share of the mean of the base; NaN if that is zero."""
        return self.mean / abs(self.base_mean) if self.base_mean else math.nan

    @property
    def higher(self) -> int:
        """With how many seeds the variant has the higher value."""
        return sum(one > 0 for one in self.differences)


def compare(
    base: Mapping[int, float],
    variants: Mapping[str, Mapping[int, float]],
    seeds: Sequence[int] | None = None,
    higher_is_better: bool = False,
    level: float = LEVEL,
) -> tuple[Comparison, ...]:
    """Compare every variant with the base.

    All variants count for the correction, those that cannot be judged too: leaving them out would make it depend on
    which runs failed.

    Args:
        base: the metric by seed, of runs that are done. What is not finite counts as missing.
        variants: the same of each variant, by name.
        seeds: those that the study plans; None: those of the base and of the variants.
        higher_is_better: whether the metric is one of those.
        level: the chance, over all variants, of calling any difference real when none is.

    Returns:
        In the order of the variants.
    """
    known = {name: _pairs(base, values) for name, values in variants.items()}
    p_values = [
        sign_flip_test(variant - own) if len(own) >= MINIMUM_PAIRS else 1.0 for _, own, variant in known.values()
    ]
    least = [smallest_p_value(len(own)) if len(own) >= MINIMUM_PAIRS else 1.0 for _, own, _ in known.values()]
    # Holm's correction grows with every p-value: this is the least that each could come to, whatever the differences
    reachable = holm(least)
    compared = []
    for (name, (common, own, variant)), p_value, corrected, lowest in zip(
        known.items(), p_values, holm(p_values), reachable, strict=True
    ):
        differences = variant - own
        planned = len(set(seeds)) if seeds is not None else len({*base, *variants[name]})
        reason = _reason(len(common), len(known), differences, float(lowest), level)
        judged = len(common) >= MINIMUM_PAIRS
        compared.append(
            Comparison(
                variant=name,
                seeds=common,
                differences=tuple(differences.tolist()),
                planned=planned,
                base_mean=float(own.mean()) if len(own) else math.nan,
                variant_mean=float(variant.mean()) if len(own) else math.nan,
                interval=bootstrap_interval(differences) if len(own) else None,
                p_value=p_value if judged else None,
                corrected=float(corrected) if judged else None,
                verdict=_verdict(reason, float(corrected), float(differences.sum()), higher_is_better, level),
                reason=reason,
            )
        )
    return tuple(compared)


def _pairs(base: Mapping[int, float], variant: Mapping[int, float]) -> tuple[tuple[int, ...], Array, Array]:
    """The seeds with which both have a finite value, and these values."""
    common = tuple(
        seed for seed in sorted(base) if seed in variant and math.isfinite(base[seed]) and math.isfinite(variant[seed])
    )
    return common, np.array([base[seed] for seed in common]), np.array([variant[seed] for seed in common])


def _reason(pairs: int, comparisons: int, differences: Array, lowest: float, level: float) -> str:
    needed = pairs_needed(comparisons, level)
    if pairs < MINIMUM_PAIRS:
        return f"{_counted(pairs, 'complete pair')}: fewer than {MINIMUM_PAIRS} cannot show any difference" + (
            f"; {comparisons} variants need {needed}" if comparisons > 1 else ""
        )
    if lowest > level and differences.any():
        return (
            f"{pairs} pairs cannot show any difference among {comparisons} variants (the least p-value that they can "
            f"come to is {lowest:.2g}): {needed} are needed"
        )
    return ""


def _verdict(reason: str, corrected: float, total: float, higher_is_better: bool, level: float) -> Verdict:
    if reason:
        return "inconclusive"
    if corrected > level:
        return "no difference shown"
    return "better" if (total > 0) == higher_is_better else "worse"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
