"""The sign-flip test at several looks: one error rate for all of them, whatever the distribution."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gemnet_blocks.ablation.report.sequential.sign_flips import SequentialSignFlips
from gemnet_blocks.ablation.report.statistics import sign_flip_test

LOOKS, SPENT = (6, 8, 10), (0.04, 0.09, 0.2)


def p_values_and_bounds(differences, at_most=10, looks=LOOKS, spent=SPENT, **options):
    test = SequentialSignFlips(at_most, **options)
    p_values = [test.look(differences[:count]) for count in looks]
    return p_values, test.bounds(spent[: len(looks)])


@pytest.mark.parametrize("seed", range(4))
def test_p_values_are_those_of_the_test_of_the_library(seed):
    differences = np.random.default_rng(seed).normal(0.4, 1, 10)
    p_values, _ = p_values_and_bounds(differences)

    assert p_values == pytest.approx([sign_flip_test(differences[:count]) for count in LOOKS])


@pytest.mark.parametrize("values", ["different", "equal", "one large"])
def test_all_sign_choices_together_spend_at_most_the_planned_error_rate(values):
    """The definition: every sign choice is tried as the observed one."""
    sizes = {
        "different": np.random.default_rng(0).exponential(1, 10),
        "equal": np.ones(10),
        "one large": np.array([1.0] * 5 + [30.0] + [1.0] * 4),
    }[values]
    reached = np.zeros(3)
    for signs in itertools.product((1, -1), repeat=9):
        p_values, bounds = p_values_and_bounds(sizes * np.array([1, *signs]))
        first = [one <= bound for one, bound in zip(p_values, bounds, strict=True)]
        if any(first):
            reached[first.index(True) :] += 1
    shares = reached / 2**9
    assert np.all(shares <= np.array(SPENT) + 1e-12)
    if values == "different":  # next to nothing is left: sums are all different, and what one look leaves the next has
        assert shares[-1] > 0.19


def test_bounds_do_not_depend_on_the_signs():
    differences = np.random.default_rng(3).normal(0, 1, 10)
    bounds = {tuple(p_values_and_bounds(differences * signs)[1]) for signs in (1, [-1, 1] * 5, [1, 1, -1, -1, 1] * 2)}

    assert len(bounds) == 1


def test_a_look_does_not_change_those_before():
    differences = np.random.default_rng(4).normal(0, 1, 10)
    p_values, bounds = p_values_and_bounds(differences)
    first = p_values_and_bounds(differences, looks=LOOKS[:2])

    assert (p_values[:2], bounds[:2]) == first


def test_sampled_choices_agree_with_all_of_them():
    differences = np.random.default_rng(5).normal(0.3, 1, 10)
    exact = p_values_and_bounds(differences)
    sampled = p_values_and_bounds(differences, at_most=17, flips=99_999)

    assert sampled == p_values_and_bounds(differences, at_most=17, flips=99_999)
    for one, other in zip(exact, sampled, strict=True):
        assert one == pytest.approx(other, abs=0.006)


def test_equal_runs_show_no_difference():
    p_values, bounds = p_values_and_bounds(np.zeros(10))

    assert p_values == [1, 1, 1]
    assert bounds == [0, 0, 0]
