"""Group-sequential designs: error spending, critical values, futility bounds and power, from the distribution of the
test statistic at all looks.

At information fraction t = n/N the statistic Z = B(t)/√t of n of at most N pairs follows a Brownian motion
B(t) ~ N(η t, t) whose drift η is the expected value of Z at the end. The probabilities of crossing a bound at each look
follow by recursive integration of the density of those paths that have crossed none (Armitage, McPherson and Rowe,
J. R. Stat. Soc. A 132, 235 (1969)). For the bounds of a study, which has few pairs, the normal distribution is too
coarse: these come from `sign_flips`. The design gives its size.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

Spending = Literal["obrien_fleming", "pocock"]
"""How the error rate is divided among the looks."""

NODES = 96
"""The number of Gauss-Legendre nodes for each interval of the density of undecided paths."""

SMALLEST = 1e-100
"""The smallest error rate of a look for which a critical value is computed."""

FARTHEST = 9.0
"""The distance in standard deviations beyond which probabilities are neglected."""


def spent(spending: Spending, level: float, fraction: float) -> float:
    """Compute the error rate that may be spent up to an information fraction t (Lan and DeMets, Biometrika 70, 659
    (1983)).

    obrien_fleming: 4 − 4 Φ(z/√t), where z is the quantile of a quarter of the level: almost nothing at first, so that
    the last look decides nearly as a fixed design does. pocock: level · ln(1 + (e − 1) t), nearly equal bounds at all
    looks, which end studies of large effects earlier and need more seeds for small ones.

    Args:
        spending: the spending function.
        level: the two-sided error rate of all looks together.
        fraction: information fraction t; from 1 on, the whole level is spent.
    """
    from scipy.special import ndtr, ndtri

    if fraction >= 1:
        return level
    if spending == "pocock":
        return level * math.log1p((math.e - 1) * fraction)
    return float(4 * ndtr(ndtri(level / 4) / math.sqrt(fraction)))


@dataclass(frozen=True, slots=True, eq=False)
class _Paths:
    """The density of B(t) for the paths that have crossed no bound so far.

    Attributes:
        drift: the drift η.
        fraction: information fraction t of the last look.
        places: nodes of the density.
        weights: density at the nodes times their weights.
    """

    drift: float
    fraction: float
    places: Array
    weights: Array

    @classmethod
    def start(cls, drift: float) -> _Paths:
        """Return all paths, which start from B(0) = 0."""
        return cls(drift, 0.0, np.zeros(1), np.ones(1))

    def probability(self, fraction: float, size: float) -> float:
        """Compute the probability of |Z| < size at the next look."""
        from scipy.special import ndtr

        middle, spread = self._step(fraction)
        end = size * math.sqrt(fraction)
        return float((ndtr((end - middle) / spread) - ndtr((-end - middle) / spread)) @ self.weights)

    def crossing(self, fraction: float, size: float) -> float:
        """Compute the probability of |Z| ≥ size at the next look."""
        from scipy.special import ndtr

        middle, spread = self._step(fraction)
        end = size * math.sqrt(fraction)
        return float((ndtr((middle - end) / spread) + ndtr((-end - middle) / spread)) @ self.weights)

    def after(self, fraction: float, upper: float, lower: float) -> _Paths:
        """Return the paths with lower ≤ |Z| < upper at the next look."""
        middle, spread = self._step(fraction)
        ends = np.array([-upper, -lower, lower, upper]) * math.sqrt(fraction)
        farthest = FARTHEST * math.sqrt(fraction)  # beyond it, the density is negligible
        ends = np.clip(ends, self.drift * fraction - farthest, self.drift * fraction + farthest)
        points, weights = np.polynomial.legendre.leggauss(NODES)
        intervals = [(ends[0], ends[3])] if lower == 0 else [(ends[0], ends[1]), (ends[2], ends[3])]
        places = np.concatenate([(low + high) / 2 + (high - low) / 2 * points for low, high in intervals])
        widths = np.concatenate([(high - low) / 2 * weights for low, high in intervals])
        density = np.exp(-(((places[:, None] - middle) / spread) ** 2) / 2) @ self.weights
        return _Paths(self.drift, fraction, places, density * widths / (math.sqrt(2 * math.pi) * spread))

    def _step(self, fraction: float) -> tuple[Array, float]:
        """Return mean and standard deviation of B at the next look, given B at the last one."""
        step = fraction - self.fraction
        return self.places + self.drift * step, math.sqrt(step)


@dataclass(frozen=True, slots=True)
class Exits:
    """The probabilities of the ways in which a study ends.

    Attributes:
        different: probability of crossing the critical value, by look.
        futile: probability of stopping for futility, by look.
    """

    different: tuple[float, ...]
    futile: tuple[float, ...]


def exits(fractions: Sequence[float], critical: Sequence[float], futile: Sequence[float], drift: float) -> Exits:
    """Compute the probabilities of ending at each look, with |Z| ≥ the critical value or |Z| < the futility bound.

    Args:
        fractions: information fractions of the looks, increasing.
        critical: critical values of |Z|.
        futile: futility bounds of |Z|; 0 for looks without one.
        drift: expected value of Z at fraction 1.
    """
    found, stopped = [], []
    paths = _Paths.start(drift)
    for fraction, upper, lower in zip(fractions, critical, futile, strict=True):
        found.append(paths.crossing(fraction, upper))
        stopped.append(paths.probability(fraction, lower))
        paths = paths.after(fraction, upper, lower)
    return Exits(tuple(found), tuple(stopped))


@functools.lru_cache(maxsize=256)
def critical_values(fractions: tuple[float, ...], level: float, spending: Spending) -> tuple[float, ...]:
    """Compute the critical values of |Z| at all looks that spend the level as a spending function says."""
    from scipy.optimize import brentq
    from scipy.special import ndtri

    found: list[float] = []
    paths, before = _Paths.start(0.0), 0.0
    for fraction in fractions:
        now = spent(spending, level, fraction)
        increment, before = max(now - before, SMALLEST), now

        def excess(value: float, paths: _Paths = paths, fraction: float = fraction, rate: float = increment) -> float:
            return paths.crossing(fraction, value) - rate

        largest = -float(ndtri(increment / 2))  # crossing at this look for the first time is less likely
        found.append(brentq(excess, 0.0, largest) if excess(largest) < 0 else largest)
        paths = paths.after(fraction, found[-1], 0.0)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Design:
    """A group-sequential design of one comparison.

    Attributes:
        fractions: information fractions of the looks; the last one is 1.
        level: two-sided error rate of all looks together.
        power: probability of finding the effect that the design is made for.
        futility: a comparison is stopped if its conditional power is smaller; None: never.
        critical: critical values of |Z|.
        drift: expected value of Z at the last look for which the power is reached.
    """

    fractions: tuple[float, ...]
    level: float
    power: float
    futility: float | None
    critical: tuple[float, ...]
    drift: float

    def futile_below(self, fraction: float, drift: float | None = None) -> float:
        """Compute the futility bound of |Z| at an information fraction t.

        Below it, the conditional power is less than `futility`: the probability of |Z| ≥ c at the end, given Z now and
        the drift η from now on,

            Φ((|Z| √t + η (1 − t) − c) / √(1 − t)).

        The bounds are not binding: critical values do not count on them, so that going on is always allowed.

        Args:
            fraction: information fraction t.
            drift: the drift η; None: that of the design.
        """
        from scipy.special import ndtri

        if self.futility is None or not 0 < fraction < 1:
            return 0.0
        rest, eta = 1 - fraction, self.drift if drift is None else drift
        wanted = self.critical[-1] + math.sqrt(rest) * float(ndtri(self.futility)) - eta * rest
        return max(0.0, wanted / math.sqrt(fraction))

    def exits(self, drift: float) -> Exits:
        """Compute the probabilities of ending at each look, if the statistic has another drift than planned."""
        return exits(self.fractions, self.critical, [self.futile_below(one) for one in self.fractions], drift)

    def power_at(self, drift: float) -> float:
        """Compute the probability of finding an effect with a drift."""
        return sum(self.exits(drift).different)

    def expected(self, drift: float) -> float:
        """Compute the expected fraction of the seeds that are used, if the statistic has a drift."""
        found = self.exits(drift)
        ended = [one + other for one, other in zip(found.different, found.futile, strict=True)]
        ended[-1] = 1 - sum(ended[:-1])
        return sum(share * fraction for share, fraction in zip(ended, self.fractions, strict=True))

    @property
    def correction(self) -> float:
        """The pairs that are needed beyond those of the normal distribution, because the spread is estimated, too:
        half the squared critical value (Guenther, Am. Stat. 35, 243 (1981))."""
        return self.critical[-1] ** 2 / 2

    def pairs_for(self, effect: float) -> float:
        """Compute the largest number of pairs that the design needs for an effect in standard deviations."""
        return (self.drift / effect) ** 2 + self.correction

    def drift_of(self, effect: float, pairs: float) -> float:
        """Compute the expected value of Z after a number of pairs for an effect in standard deviations."""
        return effect * math.sqrt(max(pairs - self.correction, 0.0))

    def effect_of(self, pairs: float) -> float:
        """Compute the effect in standard deviations that the design finds with the power if the last look has a number
        of pairs."""
        return self.drift / math.sqrt(pairs - self.correction) if pairs > self.correction else math.inf

    def fixed_pairs(self, effect: float) -> float:
        """Compute how many pairs a fixed design with the same level and power needs for an effect in standard
        deviations."""
        from scipy.special import ndtri

        critical = -float(ndtri(self.level / 2))
        return ((critical + float(ndtri(self.power))) / effect) ** 2 + critical**2 / 2


@functools.lru_cache(maxsize=64)
def design(
    fractions: tuple[float, ...], level: float, power: float, spending: Spending, futility: float | None
) -> Design:
    """Design a comparison: critical values by error spending, and the drift for which the power is reached.

    Args:
        fractions: information fractions of the looks; the last one is 1.
        level: two-sided error rate of all looks together.
        power: probability of finding the effect that the design is made for, in spite of the futility stops.
        spending: the spending function.
        futility: the conditional power below which a comparison is stopped; None: never.
    """
    from scipy.optimize import brentq

    critical = critical_values(fractions, level, spending)

    def missing(drift: float) -> float:
        return Design(fractions, level, power, futility, critical, drift).power_at(drift) - power

    return Design(fractions, level, power, futility, critical, brentq(missing, 0.1, critical[-1] + 6.0))
