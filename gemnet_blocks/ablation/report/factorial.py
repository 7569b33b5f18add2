"""Effects of factors in factorial studies: main effects, pairwise synergies and Shapley shares, paired by seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from gemnet_blocks.ablation.report.statistics import Interval, bootstrap_interval
from gemnet_blocks.ablation.report.tables import done_runs
from gemnet_blocks.ablation.results import StudyResults

Cell = tuple[str, ...]
"""A combination of levels, in the order of the factors."""


@dataclass(frozen=True)
class Effect:
    """An effect with its value for every seed.

    Attributes:
        factors: the factors that have the effect, one or two.
        levels: their levels, which are compared with the first ones.
        by_seed: the effect for each seed.
    """

    factors: tuple[str, ...]
    levels: tuple[str, ...]
    by_seed: Mapping[int, float]

    @property
    def name(self) -> str:
        """The factors with their levels."""
        return " × ".join(f"{factor} {level}" for factor, level in zip(self.factors, self.levels, strict=True))

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return fmean(self.by_seed.values())

    @cached_property
    def interval(self) -> Interval | None:
        """The BCa bootstrap interval of the mean over the seeds; None for fewer than 3 seeds."""
        return bootstrap_interval(list(self.by_seed.values()))


@dataclass(frozen=True)
class Factorial:
    """A quantity for all combinations of levels and all seeds.

    Attributes:
        levels: the levels of each factor, that of the base first.
        values: the quantity by combination and seed; only seeds with all combinations.
    """

    levels: Mapping[str, tuple[str, ...]]
    values: Mapping[Cell, Mapping[int, float]]

    @property
    def factors(self) -> tuple[str, ...]:
        """The names of the factors."""
        return tuple(self.levels)

    @property
    def full(self) -> bool:
        """True if the design has all combinations."""
        return len(self.values) == math.prod(map(len, self.levels.values()))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds with all combinations."""
        return tuple(next(iter(self.values.values()), ()))

    def main_effects(self) -> list[Effect]:
        """Compare each further level of each factor with the first one, averaged over the levels of the others.

        For an error, a positive effect means that the level is worse than the first one.
        """
        return [
            Effect((factor,), (level,), self._by_seed([(1, {factor: level}), (-1, {factor: first})]))
            for factor, (first, *others) in self.levels.items()
            for level in others
        ]

    def synergies(self) -> list[Effect]:
        """Compare the joint effect of two levels with the sum of their single effects, averaged over the others.

        The synergy of levels l and m is y(l, m) − y(l, first) − y(first, m) + y(first, first). For an error and two
        removed parts, a positive synergy means that removing both costs more than the single removals together, as of
        parts that replace each other; 0 means that the effects add up.
        """
        found = []
        for one, other in itertools.combinations(self.factors, 2):
            (first, *rest), (start, *more) = self.levels[one], self.levels[other]
            for level, second in itertools.product(rest, more):
                terms = [
                    (1, {one: level, other: second}),
                    (-1, {one: level, other: start}),
                    (-1, {one: first, other: second}),
                    (1, {one: first, other: start}),
                ]
                found.append(Effect((one, other), (level, second), self._by_seed(terms)))
        return found

    def shapley(self) -> list[Effect]:
        """Distribute the difference between all factors changed and none over the factors (Shapley, 1953).

        The share of a factor is the mean, over all orders in which the factors can be changed one after another, of the
        difference that its change makes. Shares add up to the whole difference whatever the synergies. With several
        further levels, shares are means over all combinations of one for each factor.

        Returns:
            One effect for each factor; none for fractional designs, which lack the intermediate combinations.
        """
        if not self.full:
            return []
        shares = {seed: self._shares(seed) for seed in self.seeds}
        return [
            Effect((factor,), ("",), {seed: own[factor] for seed, own in shares.items()}) for factor in self.factors
        ]

    def _shares(self, seed: int) -> dict[str, float]:
        factors, count = self.factors, len(self.factors)
        changes = list(itertools.product(*(own[1:] for own in self.levels.values())))
        shares = dict.fromkeys(factors, 0.0)
        for changed in changes:
            for mask in itertools.product((False, True), repeat=count):
                size = sum(mask)
                for place, factor in enumerate(factors):
                    if mask[place]:
                        continue
                    weight = 1 / (count * math.comb(count - 1, size) * len(changes))
                    after = (*mask[:place], True, *mask[place + 1 :])
                    shares[factor] += weight * (self._at(after, changed, seed) - self._at(mask, changed, seed))
        return shares

    def _at(self, mask: Sequence[bool], changed: Sequence[str], seed: int) -> float:
        firsts = (own[0] for own in self.levels.values())
        cell = tuple(new if on else first for on, new, first in zip(mask, changed, firsts, strict=True))
        return self.values[cell][seed]

    def aliases(self) -> list[tuple[Effect, ...]]:
        """Return the sets of effects that a fractional design cannot tell apart."""
        groups: dict[tuple[float, ...], list[Effect]] = {}
        for effect in (*self.main_effects(), *self.synergies()):
            signs = [math.prod(self._sign(cell, factor) for factor in effect.factors) for cell in self.values]
            key = tuple(sign * signs[0] for sign in signs)
            groups.setdefault(key, []).append(effect)
        return [tuple(group) for group in groups.values() if len(group) > 1] if not self.full else []

    def _sign(self, cell: Cell, factor: str) -> int:
        return 1 if cell[self.factors.index(factor)] == self.levels[factor][0] else -1

    def _by_seed(self, terms: Sequence[tuple[int, Mapping[str, str]]]) -> dict[int, float]:
        """Sum, for every seed, the means over all combinations that contain given levels, times a sign."""
        total = dict.fromkeys(self.seeds, 0.0)
        for sign, levels in terms:
            places = {self.factors.index(factor): level for factor, level in levels.items()}
            chosen = [
                own for cell, own in self.values.items() if all(cell[place] == one for place, one in places.items())
            ]
            for seed in total:
                total[seed] += sign * fmean(own[seed] for own in chosen)
        return total


def factorial(results: StudyResults, quantity: str) -> Factorial | None:
    """Collect a metric or cost of a factorial study.

    Args:
        results: results of the study.
        quantity: name of a metric or a cost.

    Returns:
        None if the study has no factors, or if no seed has all combinations.
    """
    variants = [one for one in results.variants if one.levels]
    if not variants:
        return None
    factors = tuple(variants[0].levels)
    if any(tuple(one.levels) != factors for one in variants):
        return None
    levels = {factor: tuple(dict.fromkeys(one.levels[factor] for one in variants)) for factor in factors}
    values = {tuple(one.levels.values()): _values(results, one.name, quantity) for one in variants}
    complete = set.intersection(*(set(own) for own in values.values()))
    if not complete or any(len(own) < 2 for own in levels.values()):
        return None
    seeds = sorted(complete)
    return Factorial(levels, {cell: {seed: own[seed] for seed in seeds} for cell, own in values.items()})


def _values(results: StudyResults, name: str, quantity: str) -> dict[int, float]:
    found = {run.seed: run.metrics.get(quantity, run.cost.get(quantity, math.nan)) for run in done_runs(results, name)}
    return {seed: float(value) for seed, value in found.items() if math.isfinite(value)}
