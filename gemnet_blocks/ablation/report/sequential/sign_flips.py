"""The sign-flip test at several looks, with one error rate for all of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from gemnet_blocks.ablation.report.statistics import EXACT_PAIRS, RANDOM_FLIPS

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class _Ranking:
    """The sign choices at a look.

    Attributes:
        order: the choices, those with the largest sums first.
        ends: the last place of each group of choices with equal sums.
    """

    order: Indices
    ends: Indices


@final
class SequentialSignFlips:
    """The group-sequential sign-flip test of a zero mean difference.

    If variant and base do not differ, d and −d are equally likely for every seed, so that all choices of signs s are
    equally likely, given |d|. Each choice is a course of the study: the sums |Σ s d| of the pairs of each look. The
    bound of a look is the largest p-value for which the share of choices that reach a bound at this look or before is
    at most the error rate that is spent so far. The observed signs are one of these choices. The chance of reaching a
    bound at any look is therefore at most the whole error rate for any number of pairs and any distribution, also if
    the looks and their error rates depend on |d|.

    Up to `EXACT_PAIRS` pairs at most, all choices are enumerated; beyond it, they are sampled, the same for all looks.
    The sign of the first pair is kept, because opposite choices have the same sums.

    Args:
        at_most: the largest number of pairs of the study.
        flips: number of sampled sign choices; the observed signs are one more.
    """

    def __init__(self, at_most: int, flips: int = RANDOM_FLIPS) -> None:
        self._exact = at_most <= EXACT_PAIRS
        self._choices = 2 ** (at_most - 1) if self._exact else flips + 1
        self._sums = np.zeros(self._choices)
        self._pairs = 0
        self._looks: list[_Ranking] = []

    def look(self, differences: Sequence[float] | Array) -> float:
        """Add a look and return its p-value: the share of sign choices with a sum at least as large as the observed.

        Args:
            differences: variant − base for all pairs so far, which begin with those of the look before.
        """
        values = np.asarray(differences, dtype=np.float64)
        for place in range(self._pairs, len(values)):
            self._sums += _signs(place, self._choices, self._exact) * values[place]
        self._pairs = len(values)
        sizes = np.abs(self._sums)
        order = np.argsort(-sizes)
        falls = -np.diff(sizes[order])
        # sums of the same numbers in another order differ by rounding
        ends = np.append(np.flatnonzero(falls > 1e-12 * np.abs(values).sum()), self._choices - 1)
        self._looks.append(_Ranking(order, ends))
        observed = np.flatnonzero(order == 0)[0]
        return float(ends[np.searchsorted(ends, observed)] + 1) / self._choices

    def bounds(self, spent: Sequence[float]) -> list[float]:
        """Compute the bounds of all looks: p-values up to which a difference is shown; 0 if no p-value is small enough.

        Args:
            spent: the error rate that may be spent up to each look.
        """
        undecided = np.ones(self._choices, dtype=bool)
        decided, found = 0, []
        for ranking, rate in zip(self._looks, spent, strict=True):
            reaching = np.cumsum(undecided[ranking.order])
            fitting = np.searchsorted(reaching, int(rate * self._choices + 1e-9) - decided, side="right")
            # choices with the same sum are taken together or not at all
            groups = np.searchsorted(ranking.ends, fitting, side="left")
            count = int(ranking.ends[groups - 1]) + 1 if groups else 0
            decided += int(reaching[count - 1]) if count else 0
            undecided[ranking.order[:count]] = False
            found.append(count / self._choices)
        return found


@functools.lru_cache(maxsize=256)
def _signs(place: int, choices: int, exact: bool) -> NDArray[np.int8]:
    """Return the sign of one pair in all choices; the first choice is that of the observed signs."""
    if place == 0:
        return np.ones(choices, dtype=np.int8)
    if exact:
        bits = (np.arange(choices) >> (place - 1)) & 1
    else:
        bits = np.random.default_rng([0, place]).integers(0, 2, choices)
        bits[0] = 0
    return (1 - 2 * bits).astype(np.int8)
