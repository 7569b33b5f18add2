"""The looks of a sequential study: which variants are decided, and which runs are needed next.

Everything here is a function of the results of runs: the order in which runs finish, interrupts and the number of
drivers do not matter.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from gemnet_blocks.ablation.options import SequentialSeeds, pairs_needed
from gemnet_blocks.ablation.report.sequential.design import Design, design, spent
from gemnet_blocks.ablation.report.sequential.sign_flips import SequentialSignFlips
from gemnet_blocks.ablation.report.statistics import RANDOM_FLIPS

Array = NDArray[np.float64]

Decision = Literal["different", "futile", "not shown", "no pairs", "undecided"]
"""The state of a variant. different: a bound was reached. futile: stopped, because a difference could hardly be shown
any more. not shown: no bound was reached with all seeds that it needs. no pairs: all of its runs failed, or all of the
base. undecided: it gets more seeds."""

CONFIDENCE = 0.9
"""The confidence of the upper limit of the spread, from which the number of seeds follows."""

Run = tuple[str, int]
"""The variant and the seed of a run."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """The errors of variant and base with the same seeds, in the order of the seeds.

    Attributes:
        variant: errors of the variant.
        base: errors of the base.
    """

    variant: Array
    base: Array

    @property
    def differences(self) -> Array:
        """Variant − base."""
        return self.variant - self.base

    @property
    def error(self) -> float:
        """The mean error of both, which does not depend on which is which."""
        return float(np.mean(np.abs(self.variant + self.base))) / 2


@dataclass(frozen=True, slots=True)
class Look:
    """A look at the differences of one variant from the base.

    Attributes:
        seeds: number of seeds.
        pairs: number of complete pairs.
        p_value: p-value of the sign-flip test of these pairs.
        bound: the p-value up to which a difference is shown, for the number of variants that are left.
        statistic: the p-value as a quantile of the normal distribution, positive if the variant has the larger error.
        futile_below: the absolute value of the statistic below which the variant is stopped; 0 if it is not.
        fraction: information fraction: pairs divided by those that are planned, at most 1.
        needed: number of pairs needed for the effect that is worth finding, estimated from all pairs so far.
        planned: number of pairs that are planned, estimated with a margin, at most those of all seeds.
        effect: the effect that is worth finding as a fraction of the error; if none is given, the one that the largest
            number of seeds finds.
    """

    seeds: int
    pairs: int
    p_value: float
    bound: float
    statistic: float
    futile_below: float
    fraction: float
    needed: float
    planned: float
    effect: float


@dataclass(frozen=True, slots=True)
class SequentialComparison:
    """The looks at one variant.

    Attributes:
        variant: name of the variant.
        looks: all looks at it, the last one at the time of its decision.
        decision: the decision.
    """

    variant: str
    looks: tuple[Look, ...]
    decision: Decision


@dataclass(frozen=True, slots=True)
class Monitoring:
    """The state of a sequential study.

    Attributes:
        comparisons: the looks at each variant.
        needed: the runs that the looks so far and the next one need, by seed and variant.
        options: looks, error rate, power and effect.
        design: the design of each comparison.
        looks: number of looks that are complete.
    """

    comparisons: tuple[SequentialComparison, ...]
    needed: tuple[Run, ...]
    options: SequentialSeeds
    design: Design
    looks: int

    def comparison(self, variant: str) -> SequentialComparison:
        """Return the looks at a variant."""
        return next(one for one in self.comparisons if one.variant == variant)

    def effect_at_most(self, look: Look) -> float:
        """Return the effect in standard deviations that a look plans for, or the one that all seeds find if smaller
        effects need more seeds."""
        return self.design.effect_of(min(look.needed, self.options.at_most))

    def fixed_seeds(self, look: Look) -> int:
        """Compute how many seeds a fixed design with the same error rate and power needs for the same effect."""
        fewest = pairs_needed(len(self.comparisons), self.options.alpha)
        return max(fewest, math.ceil(self.design.fixed_pairs(self.effect_at_most(look)) - 1e-9))

    def power(self, look: Look) -> float:
        """Compute the probability of finding the effect that a look plans for with at most all seeds."""
        if look.needed <= self.options.at_most:
            return self.options.power
        effect = self.design.effect_of(look.needed)
        return self.design.power_at(self.design.drift_of(effect, self.options.at_most))


def design_of(options: SequentialSeeds, comparisons: int) -> Design:
    """Return the design of one of several comparisons, each with its share of the error rate as in Bonferroni's
    correction: Holm's method gives those that remain more."""
    return design(
        tuple(count / options.at_most for count in options.looks),
        options.alpha / max(comparisons, 1),
        options.power,
        options.spending,
        options.futility,
    )


def monitor(
    options: SequentialSeeds,
    base: Mapping[int, float],
    variants: Mapping[str, Mapping[int, float]],
    ended: frozenset[Run] | None = None,
    base_name: str = "base",
    together: bool = False,
    flips: int = RANDOM_FLIPS,
) -> Monitoring:
    """Look at the results of a study after each step, and decide on its variants.

    A look waits for all runs that it needs. It compares every variant with the base by `SequentialSignFlips`, at the
    error rate α/m, where m variants have not been shown to differ (Holm's method, Scand. J. Statist. 6, 65 (1979); for
    sequential studies Maurer and Bretz, Stat. Biopharm. Res. 5, 311 (2013)): whenever one is, the bounds of the others,
    also those of former looks, are replaced by less strict ones.

    Args:
        options: looks, error rate, power and effect.
        base: errors of the base by seed. Values that are not finite count as missing.
        variants: errors of each variant by seed.
        ended: the runs that are done or have failed for good; None: all that have an error.
        base_name: name of the base in `ended`.
        together: whether all variants get the same seeds, until each is decided.
        flips: number of sampled sign choices.
    """
    plan = design_of(options, len(variants))
    tests = {name: _Test(options, plan, name, pairs_needed(len(variants), options.alpha), flips) for name in variants}
    if ended is None:
        ended = frozenset((name, seed) for name, own in {base_name: base, **variants}.items() for seed in own)
    needed: dict[Run, None] = {}
    looks = 0
    for count in options.looks:
        open_ones = [name for name, test in tests.items() if test.decision == "undecided"]
        if not open_ones:
            break
        runs = [(name, seed) for seed in range(count) for name in (base_name, *(tests if together else open_ones))]
        needed |= dict.fromkeys(runs)
        if not ended.issuperset(runs):
            break
        looks += 1
        for name in open_ones:
            tests[name].look(count, _pairs(base, variants[name], count))
        _decide(options, tests)
    ordered = sorted(needed, key=lambda run: run[1])  # stable: variants stay in their order
    return Monitoring(tuple(test.comparison() for test in tests.values()), tuple(ordered), options, plan, looks)


def _decide(options: SequentialSeeds, tests: Mapping[str, _Test]) -> None:
    """Apply Holm's method to all variants, then stop those that are futile or have all the seeds that they need."""
    while True:
        left = [test for test in tests.values() if test.decision != "different"]
        if not left:
            return
        shown = [test for test in left if test.reaches_bound(options.alpha / len(left))]
        for test in shown:
            test.decision = "different"
        if not shown:
            break
    for test in left:
        test.stop_if_over()


@dataclass(frozen=True, slots=True)
class _Size:
    """The size of a comparison.

    Attributes:
        needed: number of pairs that are needed, which may exceed the largest number of seeds.
        planned: number of pairs of the last look.
        effect: the effect that they find as a fraction of the error.
        drift: expected value of the statistic at the end, if there is this effect.
    """

    needed: float
    planned: float
    effect: float
    drift: float


@final
class _Test:
    """The comparison of one variant with the base at all looks."""

    def __init__(self, options: SequentialSeeds, plan: Design, name: str, fewest: int, flips: int) -> None:
        self._options, self._plan, self._name, self._fewest = options, plan, name, fewest
        self._test = SequentialSignFlips(options.at_most, flips)
        self._looks: list[Look] = []
        self._bounds: list[float] = []
        self.decision: Decision = "undecided"

    def look(self, seeds: int, pairs: Pairs) -> None:
        """Add a look at more pairs."""
        from scipy.special import ndtri

        if not len(pairs.base):
            self.decision = "no pairs"
            return
        differences = pairs.differences
        p_value = self._test.look(differences)
        size = self._size(pairs)
        fraction = 1.0 if seeds >= self._options.at_most else min(1.0, len(differences) / size.planned)
        self._looks.append(
            Look(
                seeds=seeds,
                pairs=len(differences),
                p_value=p_value,
                bound=0.0,
                statistic=0.0 - float(np.sign(differences.sum()) * ndtri(p_value / 2)),  # 0 without a sign
                futile_below=self._plan.futile_below(fraction, size.drift),
                fraction=fraction,
                needed=size.needed,
                planned=size.planned,
                effect=size.effect,
            )
        )

    def _size(self, pairs: Pairs) -> _Size:
        """Estimate how many pairs are needed.

        The plan takes the spread from |d| alone, as for blinded data (Gould and Shih, Commun. Stat. Theory Methods 21,
        2833 (1992)): the signs, which the test uses, have no influence on the number of seeds. It takes the upper limit
        of a one-sided confidence interval (Browne, Stat. Med. 14, 1933 (1995)): a pilot of few seeds often
        underestimates the spread, and the study would lack power.
        """
        options, plan = self._options, self._plan
        differences, error = pairs.differences, pairs.error
        square, count = float(np.mean(differences**2)), len(differences)
        spread = float(differences.std(ddof=1)) if count > 1 else math.sqrt(square)
        if options.effect is None or not error:
            effect = plan.effect_of(options.at_most) * spread
            return _Size(options.at_most, options.at_most, effect / error if error else math.nan, plan.drift)
        effect = options.effect * error

        def in_deviations(variance: float) -> float:
            return effect / math.sqrt(variance) if variance > 0 else math.inf

        planned = plan.pairs_for(in_deviations(square * _upper_limit(count) - effect**2))
        planned = min(max(planned, options.at_least, self._fewest), options.at_most)
        drift = min(plan.drift, plan.drift_of(in_deviations(square - effect**2), options.at_most))
        needed = max(plan.pairs_for(in_deviations(spread**2)), self._fewest)
        return _Size(needed, planned, options.effect, drift)

    def reaches_bound(self, level: float) -> bool:
        """Return True if a bound was reached at any look so far, with an error rate for all looks together."""
        if not self._looks:
            return False
        rates = np.maximum.accumulate([spent(self._options.spending, level, one.fraction) for one in self._looks])
        self._bounds = self._test.bounds(rates.tolist())
        return any(one.p_value <= bound for one, bound in zip(self._looks, self._bounds, strict=True))

    def stop_if_over(self) -> None:
        """Decide on a variant that has reached no bound: whether it gets more seeds."""
        if self.decision != "undecided":
            return
        last = self._looks[-1]
        if last.fraction >= 1:
            self.decision = "not shown"
        elif abs(last.statistic) < last.futile_below:
            self.decision = "futile"

    def comparison(self) -> SequentialComparison:
        """Return all looks with their bounds."""
        looks = (replace(one, bound=bound) for one, bound in zip(self._looks, self._bounds, strict=True))
        return SequentialComparison(self._name, tuple(looks), self.decision)


def _pairs(base: Mapping[int, float], variant: Mapping[int, float], count: int) -> Pairs:
    """Return the complete pairs among the first seeds."""
    found = [(variant.get(seed, math.nan), base.get(seed, math.nan)) for seed in range(count)]
    kept = [pair for pair in found if all(map(math.isfinite, pair))]
    return Pairs(*np.array(kept, dtype=np.float64).reshape(-1, 2).T)


@functools.lru_cache(maxsize=256)
def _upper_limit(pairs: int) -> float:
    """Return the factor from a mean square to the upper limit of a one-sided confidence interval of a variance."""
    from scipy.special import chdtri

    return pairs / float(chdtri(pairs, CONFIDENCE))
