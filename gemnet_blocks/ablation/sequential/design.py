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
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]

Spending = Literal["obrien_fleming", "pocock"]
"""How the error rate is divided among the looks."""

NODES = 96
"""The number of Gauss-Legendre nodes for each interval of the density of undecided paths."""

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
    if fraction >= 1:
        return level
    if spending == "pocock":
        return level * math.log1p((math.e - 1) * fraction)
    return float(4 * ndtr(ndtri(level / 4) / math.sqrt(fraction)))


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
    found: list[float] = []
    given_up: list[float] = []
    places, density, before = np.zeros(1), np.ones(1), 0.0
    for fraction, upper, lower in zip(fractions, critical, futile, strict=True):
        # B at this look given B at the last one; the first look starts from B(0) = 0
        spread = math.sqrt(fraction - before)
        middle = places + drift * (fraction - before)
        ends = np.array([-upper, -lower, lower, upper]) * math.sqrt(fraction)
        below = ndtr((ends[:, None] - middle) / spread) @ density
        above = ndtr((middle - ends[3]) / spread) @ density
        found.append(float(below[0] + above))
        given_up.append(float(below[2] - below[1]))
        nodes, weights = _nodes(ends, drift * fraction, math.sqrt(fraction))
        steps = (nodes[:, None] - middle) / spread
        density = np.exp(-(steps**2) / 2) @ density / (math.sqrt(2 * math.pi) * spread) * weights
        places, before = nodes, fraction
    return Exits(tuple(found), tuple(given_up))


def _nodes(ends: Array, middle: float, spread: float) -> tuple[Array, Array]:
    """Return nodes and weights of the intervals between the bounds, where the density is not negligible."""
    ends = np.clip(ends, middle - FARTHEST * spread, middle + FARTHEST * spread)
    intervals = [(ends[0], ends[3])] if ends[1] == ends[2] else [(ends[0], ends[1]), (ends[2], ends[3])]
    points, weights = np.polynomial.legendre.leggauss(NODES)
    places = [(low + high) / 2 + (high - low) / 2 * points for low, high in intervals]
    return np.concatenate(places), np.concatenate([(high - low) / 2 * weights for low, high in intervals])


@functools.lru_cache(maxsize=256)
def critical_values(fractions: tuple[float, ...], level: float, spending: Spending) -> tuple[float, ...]:
    """Compute the critical values of |Z| at all looks that spend the level as a spending function says."""
    found: list[float] = []
    before = 0.0
    for place, fraction in enumerate(fractions, start=1):
        now = spent(spending, level, fraction)
        increment, before = max(now - before, 1e-300), now

        def excess(value: float, place: int = place, increment: float = increment) -> float:
            return exits(fractions[:place], (*found, value), (0.0,) * place, 0.0).different[-1] - increment

        largest = -float(ndtri(increment / 2))  # crossing at this look for the first time is less likely
        found.append(brentq(excess, 0.0, largest) if place > 1 and excess(largest) < 0 else largest)
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
    critical = critical_values(fractions, level, spending)

    def missing(drift: float) -> float:
        return Design(fractions, level, power, futility, critical, drift).power_at(drift) - power

    return Design(fractions, level, power, futility, critical, brentq(missing, 0.1, critical[-1] + 6.0))
