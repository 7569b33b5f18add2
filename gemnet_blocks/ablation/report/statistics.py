"""Paired statistics: is the difference between two ways of training larger than chance explains?

A study trains the base and every variant with the same seeds. The tests use the differences d = variant − base, one for
each seed for which both runs are done, so that the effect of the seed on both cancels.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gemnet_blocks.ablation.options import LEVEL, MINIMUM_PAIRS, pairs_needed

Array = NDArray[np.float64]

EXACT_PAIRS = 16
"""Up to this number of pairs, `sign_flip_test` enumerates all sign flips; beyond it, it samples them."""

RANDOM_FLIPS = 99_999
"""The number of sampled sign flips."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: the lower end.
        high: the upper end.
        confidence: the nominal coverage, such as 0.95.
    """

    low: float
    high: float
    confidence: float = 1 - LEVEL


def sign_flip_test(differences: Sequence[float] | Array, flips: int = RANDOM_FLIPS, seed: int = 0) -> float:
    """Compute the two-sided p-value of a zero mean difference with the sign-flip permutation test.

    If variant and base do not differ, d and −d are equally likely for every seed. p is the fraction of all 2ⁿ choices
    of signs s with |Σ s d| ≥ |Σ d|, which is exact for any n and any distribution. The smallest possible value is 2/2ⁿ:
    5 pairs give at least 2/32 = 0.0625 > 0.05 and can never show a difference; 6 pairs give 2/64 = 0.031. Because p
    takes few values for small n, the test is conservative: its error rate with 6 pairs is 3.1 % instead of 5 %.

    `scipy.stats.permutation_test` computes the same p-values, but enumerates the flips in Python, which takes more than
    a second for 16 pairs, and a report needs a test for each variant and metric.

    Args:
        differences: variant − base, one for each pair.
        flips: number of sampled sign choices for more than `EXACT_PAIRS` pairs; the observed signs count as one more,
            which keeps the test valid.
        seed: seed of the sampled signs.

    Raises:
        ValueError: there are no differences, or some are not finite.
    """
    values = _checked(differences)
    values = values / (np.abs(values).max() or 1.0)  # sums of huge numbers would overflow
    # sums of the same numbers in another order differ by rounding
    threshold = abs(values.sum()) - 1e-12 * np.abs(values).sum()
    if len(values) <= EXACT_PAIRS:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums - value, sums + value])
        return float(np.mean(np.abs(sums) >= threshold))
    generator = np.random.default_rng(seed)
    extreme, remaining = 1, flips
    while remaining:
        count = min(remaining, max(1, 10**6 // len(values)))
        signs = 1.0 - 2.0 * generator.integers(0, 2, (count, len(values)))
        extreme += int(np.sum(np.abs(signs @ values) >= threshold))
        remaining -= count
    return extreme / (flips + 1)


def smallest_p_value(pairs: int) -> float:
    """Compute the smallest p-value that `sign_flip_test` can return: 2/2ⁿ if all flips are enumerated."""
    if pairs < 1:
        return 1.0
    return 2.0 / 2**pairs if pairs <= EXACT_PAIRS else 1 / (RANDOM_FLIPS + 1)


def holm(p_values: Sequence[float] | Array) -> Array:
    """Correct p-values for multiple comparisons with Holm's method (Scand. J. Statist. 6, 65 (1979)).

    In ascending order, the i-th of m p-values becomes max over j ≤ i of (m − j + 1) p_j, at most 1. Rejecting what
    stays below α keeps the family-wise error rate at α, however the comparisons depend on each other (here they share
    the base).

    Args:
        p_values: one for each comparison; 1 for a planned comparison that cannot be tested.

    Raises:
        ValueError: a value is not between 0 and 1.
        ImportError: statsmodels is not installed.
    """
    given = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1 or not np.all((given >= 0) & (given <= 1)):
        raise ValueError(f"p-values must be between 0 and 1, got {given.tolist()}")
    return given if len(given) < 2 else np.array(_corrected(tuple(given.tolist())))


@lru_cache(maxsize=256)  # statsmodels collects garbage in every call, and tables and files ask for the same corrections
def _corrected(p_values: tuple[float, ...]) -> tuple[float, ...]:
    try:
        from statsmodels.stats.multitest import multipletests
    except ImportError as error:
        raise ImportError("studies need the package statsmodels: pip install 'gemnet_blocks[train]'") from error
    return tuple(multipletests(p_values, method="holm")[1].tolist())


def bootstrap_interval(
    differences: Sequence[float] | Array,
    confidence: float = 1 - LEVEL,
    resamples: int = 9999,
    seed: int = 0,
    weights: Sequence[float] | Array | None = None,
) -> Interval | None:
    """Compute a confidence interval of the mean difference with the BCa bootstrap over pairs.

    Efron, J. Am. Stat. Assoc. 82, 171 (1987). For few pairs the intervals are too narrow: for normally distributed
    differences, 95 % intervals cover the true mean in about 87 % of cases with 6 pairs, and in 91 % with 10. Verdicts
    therefore come from `sign_flip_test`; the interval shows how large the difference may be.

    Args:
        differences: variant − base, one for each pair.
        confidence: the nominal coverage.
        resamples: number of bootstrap samples.
        seed: seed of the samples.
        weights: positive weight of each pair in the mean, which is drawn with it; None: equal weights.

    Returns:
        None for fewer than 3 pairs, which contain too little information about the spread. If all differences are
        equal, the interval has zero width.

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
    samples: tuple[Array, ...] = (values / scale,)  # squares of tiny numbers would underflow
    if weights is not None:
        samples = (*samples, _checked(weights))

    def interval(method: str) -> Interval:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # infinite ends are handled below
            result = bootstrap(
                samples,
                np.mean if weights is None else _weighted_mean,
                n_resamples=resamples,
                batch=max(1, 10**7 // len(values)),
                vectorized=True,
                paired=weights is not None,
                confidence_level=confidence,
                method=method,
                random_state=np.random.default_rng(seed),
            )
        ends = result.confidence_interval
        return Interval(float(ends.low * scale), float(ends.high * scale), confidence)

    found = interval("BCa")
    return found if math.isfinite(found.low) and math.isfinite(found.high) else interval("percentile")


def _weighted_mean(values: Array, weights: Array, axis: int = -1) -> Any:
    return (values * weights).sum(axis=axis) / weights.sum(axis=axis)


def _checked(differences: Sequence[float] | Array) -> Array:
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"differences must be a list of at least one number, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"differences must be finite, got {values.tolist()}")
    return values


SPREADS = 8.0
"""The distance from the median, in robust standard deviations, from which on a seed is far off. Of 8 normally
distributed values, about 1 in 100 sets has one."""

MINIMUM_SEEDS = 5
"""The smallest number of seeds that show how much seeds differ."""


def far_off(values: Mapping[int, float]) -> dict[int, float]:
    """Find the seeds far from the others.

    The yardstick is the robust standard deviation 1.4826 · median |x − median x|, which a few outliers do not change.

    Args:
        values: one value for each seed.

    Returns:
        The distance of each seed found from the median, in robust standard deviations.
    """
    finite = {seed: value for seed, value in values.items() if math.isfinite(value)}
    if len(finite) < MINIMUM_SEEDS:
        return {}
    middle = statistics.median(finite.values())
    spread = 1.4826 * statistics.median(abs(value - middle) for value in finite.values())
    least = 1e-6 * abs(middle)  # equal values differ by rounding
    return {
        seed: abs(value - middle) / max(spread, least)
        for seed, value in finite.items()
        if abs(value - middle) > max(SPREADS * spread, SPREADS * least)
    }


Verdict = Literal["worse", "better", "no difference shown", "inconclusive"]
"""The conclusion of a comparison. "no difference shown" does not mean "no difference": the interval shows which
differences remain possible. "inconclusive": there are too few pairs to show any difference, however large."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A variant compared with the base, paired by seed.

    Attributes:
        variant: name of the variant.
        seeds: the seeds for which both runs are done.
        differences: variant − base for each of these seeds.
        planned: number of pairs that the study plans; those without an entry in `seeds` are missing.
        base_mean: mean of the base over the pairs; NaN without pairs.
        variant_mean: mean of the variant over the pairs; NaN without pairs.
        interval: confidence interval of the mean difference; None for fewer than 3 pairs.
        p_value: p-value of the sign-flip test; None for fewer than 6 pairs.
        corrected: the p-value after Holm's correction for the number of variants.
        verdict: the conclusion.
        reason: explanation if the comparison is inconclusive; empty otherwise.
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
        """The number of planned pairs that are not complete."""
        return self.planned - len(self.seeds)

    @property
    def relative(self) -> float:
        """The mean difference as a fraction of the mean of the base; NaN if that mean is zero."""
        return self.mean / abs(self.base_mean) if self.base_mean else math.nan

    @property
    def higher(self) -> int:
        """The number of seeds for which the variant has the higher value."""
        return sum(difference > 0 for difference in self.differences)


def compare(
    base: Mapping[int, float],
    variants: Mapping[str, Mapping[int, float]],
    seeds: Sequence[int] | None = None,
    higher_is_better: bool = False,
    level: float = LEVEL,
) -> tuple[Comparison, ...]:
    """Compare every variant with the base.

    The correction counts all variants, including those that cannot be tested: otherwise it would depend on which runs
    failed.

    Args:
        base: the metric of the finished runs of the base, by seed. Values that are not finite count as missing.
        variants: the same for each variant, by name.
        seeds: the planned seeds; None: all seeds of base and variant.
        higher_is_better: True for metrics such as a cosine, False for errors.
        level: the family-wise error rate.

    Returns:
        One comparison for each variant, in the given order.
    """
    pairs = {name: _pairs(base, values) for name, values in variants.items()}
    tested = [len(own) >= MINIMUM_PAIRS for _, own, _ in pairs.values()]
    p_values = [
        sign_flip_test(variant - own) if enough else 1.0
        for (_, own, variant), enough in zip(pairs.values(), tested, strict=True)
    ]
    smallest = [
        smallest_p_value(len(own)) if enough else 1.0
        for (_, own, _), enough in zip(pairs.values(), tested, strict=True)
    ]
    # Holm's correction increases with every p-value: these are the smallest values that it can return
    compared = []
    for (name, (common, own, variant)), enough, p_value, corrected, attainable in zip(
        pairs.items(), tested, p_values, holm(p_values), holm(smallest), strict=True
    ):
        differences = variant - own
        reason = _reason(len(common), len(pairs), differences, float(attainable), level)
        compared.append(
            Comparison(
                variant=name,
                seeds=common,
                differences=tuple(differences.tolist()),
                planned=len(set(seeds)) if seeds is not None else len({*base, *variants[name]}),
                base_mean=float(own.mean()) if len(own) else math.nan,
                variant_mean=float(variant.mean()) if len(own) else math.nan,
                interval=bootstrap_interval(differences) if len(own) else None,
                p_value=p_value if enough else None,
                corrected=float(corrected) if enough else None,
                verdict=_verdict(reason, float(corrected), float(differences.sum()), higher_is_better, level),
                reason=reason,
            )
        )
    return tuple(compared)


def _pairs(base: Mapping[int, float], variant: Mapping[int, float]) -> tuple[tuple[int, ...], Array, Array]:
    """Return the seeds for which both values are finite, and these values."""
    common = tuple(
        seed for seed in sorted(base) if seed in variant and math.isfinite(base[seed]) and math.isfinite(variant[seed])
    )
    return common, np.array([base[seed] for seed in common]), np.array([variant[seed] for seed in common])


def _reason(pairs: int, comparisons: int, differences: Array, attainable: float, level: float) -> str:
    needed = pairs_needed(comparisons, level)
    if pairs < MINIMUM_PAIRS:
        complete = "1 complete pair" if pairs == 1 else f"{pairs} complete pairs"
        return f"{complete}: fewer than {MINIMUM_PAIRS} cannot show any difference" + (
            f"; {comparisons} variants need {needed}" if comparisons > 1 else ""
        )
    if attainable > level and differences.any():
        return (
            f"{pairs} pairs cannot show any difference among {comparisons} variants (the smallest possible p-value is "
            f"{attainable:.2g}): {needed} are needed"
        )
    return ""


def _verdict(reason: str, corrected: float, total: float, higher_is_better: bool, level: float) -> Verdict:
    if reason:
        return "inconclusive"
    if corrected > level:
        return "no difference shown"
    return "better" if (total > 0) == higher_is_better else "worse"
