"""Paired statistics on plain numbers: is the difference between two ways of training more than luck?

A study trains the base and every variant with the same seeds. What is judged are the differences d = variant − base,
one for each seed with which both are done; whatever a seed does to both cancels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEVEL = 0.05
"""The chance, over the whole study, of calling any difference real when none is."""

MINIMUM_PAIRS = 6
"""From so many pairs on a p-value is given: see `sign_flip_test`."""

EXACT_PAIRS = 16
"""Up to so many pairs all flips of signs are tried; of more, random ones."""

RANDOM_FLIPS = 99_999
"""How many random ones."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval of confidence.

    Attributes:
        low: its lower end.
        high: its upper end.
        confidence: how often such intervals should hold the truth.
    """

    low: float
    high: float
    confidence: float = 1 - LEVEL


def sign_flip_test(differences: Sequence[float] | Array, flips: int = RANDOM_FLIPS, seed: int = 0) -> float:
    """The two-sided p-value of a mean difference of zero, by flipping signs.

    If variant and base do not differ, d and −d are equally likely for every seed. p is the share of all 2ⁿ choices of
    signs s with |Σ s d| ≥ |Σ d|: exact for any n, whatever the distribution. It cannot be less than 2/2ⁿ: with 5 pairs
    that is 2/32 = 0.0625 > 0.05, so that 5 pairs never show anything; with 6 it is 2/64 = 0.031. As p takes few values
    when n is small, the test errs less often than its level says: with 6 pairs in 3.1 % of cases instead of 5 %.

    Args:
        differences: variant − base, one for each pair.
        flips: how many random choices of signs are tried when there are more than `EXACT_PAIRS` pairs; the observed one
            counts as one more, which keeps the test valid.
        seed: of these choices.

    Raises:
        ValueError: there are no differences, or some are not finite.
    """
    values = _checked(differences)
    values = values / (np.abs(values).max() or 1.0)  # sums of huge numbers would overflow
    observed = abs(values.sum())
    # sums of the same numbers in another order are equal but for rounding
    slack = 1e-12 * np.abs(values).sum()
    if len(values) <= EXACT_PAIRS:
        numbers = np.arange(2 ** len(values))[:, None]
        signs = 1.0 - 2.0 * (numbers >> np.arange(len(values)) & 1)
        return float(np.mean(np.abs(signs @ values) >= observed - slack))
    generator = np.random.default_rng(seed)
    extreme, left = 1, flips
    while left:
        count = min(left, max(1, 10**6 // len(values)))
        signs = 1.0 - 2.0 * generator.integers(0, 2, (count, len(values)))
        extreme += int(np.sum(np.abs(signs @ values) >= observed - slack))
        left -= count
    return extreme / (flips + 1)


def smallest_p_value(pairs: int) -> float:
    """The least p-value that `sign_flip_test` can give to so many pairs: 2/2ⁿ when all flips are tried."""
    if pairs < 1:
        return 1.0
    return 2.0 / 2**pairs if pairs <= EXACT_PAIRS else 1 / (RANDOM_FLIPS + 1)


def pairs_needed(comparisons: int, level: float = LEVEL) -> int:
    """The least number of pairs with which one comparison among so many can be shown to differ, after `holm`.

    The smallest n ≥ 6 with comparisons · 2/2ⁿ ≤ level: 6 for one comparison, 7 for two or three, 8 for four to six.
    """
    return max(MINIMUM_PAIRS, math.ceil(math.log2(2 * max(comparisons, 1) / level)))


def holm(p_values: Sequence[float] | Array) -> Array:
    """p-values corrected for being several, after Holm (Scand. J. Statist. 6, 65 (1979)).

    In ascending order, the i-th of m becomes the largest of (m − j + 1) p_j over j ≤ i, at most 1. Calling what stays
    below α real errs anywhere with a chance of at most α, however the comparisons depend on each other (here they share
    the base).

    Args:
        p_values: one for each comparison; 1 for one that was planned and cannot be judged.

    Raises:
        ValueError: one is none.
    """
    given = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1 or not np.all((given >= 0) & (given <= 1)):
        raise ValueError(f"p-values lie between 0 and 1: {given.tolist()}")
    order = np.argsort(given, kind="stable")
    factors = np.arange(len(given), 0, -1)
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * given[order]), 1.0) if len(given) else []
    return corrected


def bootstrap_interval(
    differences: Sequence[float] | Array, confidence: float = 1 - LEVEL, resamples: int = 9999, seed: int = 0
) -> Interval | None:
    """The interval of the mean difference, by the bias-corrected and accelerated bootstrap (BCa).

    Efron, J. Am. Stat. Assoc. 82, 171 (1987). Pairs are drawn, not runs. Of few pairs such intervals are too narrow:
    of normally distributed differences, 95 % intervals hold the truth in about 87 % of cases with 6 pairs, and in 91 %
    with 10. What is called real is therefore left to `sign_flip_test`; the interval says how large the difference may
    be.

    Args:
        differences: variant − base, one for each pair.
        confidence: how often such intervals should hold the truth.
        resamples: how often pairs are drawn.
        seed: of the draws.

    Returns:
        None for fewer than 3 pairs, which say nothing of how they vary. An interval without width if all differences
        are equal.

    Raises:
        ValueError: there are no differences, or some are not finite.
    """
    from scipy.stats import bootstrap

    values = _checked(differences)
    if len(values) < 3:
        return None
    scale = np.abs(values).max()
    if np.ptp(values) <= 1e-12 * scale:
        return Interval(float(values.min()), float(values.max()), confidence)

    def found(method: str) -> Interval:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of ends that are not finite: seen to below
            result = bootstrap(
                (values / scale,),  # squares of tiny numbers would vanish
                np.mean,
                n_resamples=resamples,
                confidence_level=confidence,
                method=method,
                random_state=np.random.default_rng(seed),
            )
        ends = result.confidence_interval
        return Interval(float(ends.low * scale), float(ends.high * scale), confidence)

    interval = found("BCa")
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return found("percentile")
    return interval


def _checked(differences: Sequence[float] | Array) -> Array:
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"differences must be a list of at least one number, not of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"differences must be finite: {values.tolist()}")
    return values


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
