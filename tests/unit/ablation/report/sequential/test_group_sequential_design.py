"""Group-sequential designs against published tables and simulated paths."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from gemnet_blocks.ablation.report.sequential.design import critical_values, design, exits, spent

FIFTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


@pytest.mark.parametrize(
    ("spending", "published"),
    [
        # ldbounds and Reboussin, DeMets, Kim and Lan, Control. Clin. Trials 21, 190 (2000)
        ("obrien_fleming", (4.877, 3.357, 2.680, 2.290, 2.031)),
        ("pocock", (2.438, 2.427, 2.410, 2.397, 2.386)),
    ],
)
def test_critical_values_are_those_of_published_tables(spending, published):
    assert critical_values(FIFTHS, 0.05, spending) == pytest.approx(published, abs=2e-3)


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_the_whole_level_is_spent_at_the_end_and_nothing_at_first(spending):
    fractions = np.linspace(0.01, 1, 50)
    found = [spent(spending, 0.05, one) for one in fractions]

    assert found == sorted(found)
    assert found[-1] == pytest.approx(0.05)
    assert spent(spending, 0.05, 1.2) == 0.05
    assert found[0] < 0.001


def test_probabilities_of_crossing_are_those_of_the_multivariate_normal_distribution():
    fractions, critical, drift = (0.3, 0.7, 1.0), (2.9, 2.4, 2.1), 1.7
    times = np.array(fractions)
    correlation = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    found = exits(fractions, critical, (0.0, 0.0, 0.0), drift)
    for count in (1, 2, 3):
        limits = np.array(critical[:count])
        statistic = multivariate_normal(drift * np.sqrt(times[:count]), correlation[:count, :count])
        inside = statistic.cdf(limits, lower_limit=-limits, rng=np.random.default_rng(0))
        assert sum(found.different[:count]) == pytest.approx(1 - inside, abs=1e-5)


def test_probabilities_with_futility_stops_are_those_of_simulated_paths():
    one = design(FIFTHS, 0.05, 0.8, "obrien_fleming", 0.2)
    futile = [one.futile_below(fraction) for fraction in FIFTHS]
    found = exits(FIFTHS, one.critical, futile, one.drift)
    steps = np.random.default_rng(0).normal(one.drift * 0.2, np.sqrt(0.2), (200_000, 5))
    size = np.abs(np.cumsum(steps, axis=1) / np.sqrt(FIFTHS))
    running = np.ones(len(size), dtype=bool)
    for look in range(5):
        shown = running & (size[:, look] >= one.critical[look])
        stopped = running & (size[:, look] < futile[look])
        assert shown.mean() == pytest.approx(found.different[look], abs=0.004)
        assert stopped.mean() == pytest.approx(found.futile[look], abs=0.004)
        running &= ~(shown | stopped)


@pytest.mark.parametrize("futility", [None, 0.1, 0.3])
@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_the_drift_gives_the_promised_power_and_futility_stops_cost_only_power(spending, futility):
    one = design(FIFTHS, 0.05 / 3, 0.9, spending, futility)

    assert one.power_at(one.drift) == pytest.approx(0.9, abs=1e-6)
    assert one.power_at(0.0) <= 0.05 / 3 + 1e-6
    assert one.drift > norm.isf(0.05 / 6) + norm.ppf(0.9)
    assert 0 < one.expected(one.drift) < 1
    assert futility is None or one.expected(0.0) < design(FIFTHS, 0.05 / 3, 0.9, spending, None).expected(0.0)


def test_conditional_power_at_the_futility_bound_is_the_limit():
    one = design(FIFTHS, 0.05, 0.8, "obrien_fleming", 0.15)
    fraction, bound = 0.8, one.futile_below(0.8)
    steps = np.random.default_rng(1).normal(one.drift * 0.2, np.sqrt(0.2), 400_000)

    assert bound > 0
    assert np.mean(bound * np.sqrt(fraction) + steps >= one.critical[-1]) == pytest.approx(0.15, abs=0.003)


def test_one_look_is_a_fixed_design():
    one = design((1.0,), 0.05, 0.8, "obrien_fleming", 0.1)

    assert one.critical == pytest.approx((norm.isf(0.025),))
    assert one.drift == pytest.approx(norm.isf(0.025) + norm.ppf(0.8), abs=1e-4)
    assert one.pairs_for(0.5) == pytest.approx(one.fixed_pairs(0.5), rel=1e-4)
    assert one.pairs_for(one.effect_of(20)) == pytest.approx(20)
    assert one.drift_of(one.effect_of(20), 20) == pytest.approx(one.drift)
