from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gemnet_blocks.ablation.report import statistics
from gemnet_blocks.ablation.report.statistics import (
    Interval,
    bootstrap_interval,
    compare,
    holm,
    pairs_needed,
    sign_flip_test,
    smallest_p_value,
)


def normal(count: int, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, count)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1.0], 1.0),
        ([1.0, 2.0, 3.0], 2 / 8),
        ([1.0, 2.0, -3.0], 1.0),
        ([1.0, 1.0, 1.0, -1.0], 10 / 16),  # all or one sign other than the rest, either way round
        ([0.1] * 6, 2 / 64),  # sums in other orders differ by rounding
        ([-1e-300] * 5, 2 / 32),
        ([1e308] * 6, 2 / 64),
        ([0.0] * 8, 1.0),
    ],
)
def test_the_share_of_flips_that_are_as_extreme(differences, expected):
    assert sign_flip_test(differences) == expected


@pytest.mark.parametrize("seed", range(4))
def test_flips_are_those_of_scipy(seed):
    differences = normal(8, 0.5, seed)
    known = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue

    assert sign_flip_test(differences) == pytest.approx(known, abs=1e-12)


@pytest.mark.parametrize("mean", [0.0, 0.5, 3.0])
def test_many_pairs_are_flipped_at_random(mean, monkeypatch):
    differences = normal(18, mean)
    drawn = sign_flip_test(differences)
    assert drawn == sign_flip_test(differences)
    assert drawn >= smallest_p_value(18) == 1e-5

    monkeypatch.setattr(statistics, "EXACT_PAIRS", 18)
    assert drawn == pytest.approx(sign_flip_test(differences), abs=0.005)


@pytest.mark.parametrize("pairs", [1, 5, 6, 16])
def test_the_least_p_value_is_that_of_equal_signs(pairs):
    assert smallest_p_value(pairs) == sign_flip_test(np.linspace(1, 2, pairs)) == 2 / 2**pairs


def test_five_pairs_never_reach_the_level():
    assert smallest_p_value(5) == 0.0625 > statistics.LEVEL > smallest_p_value(6)
    assert smallest_p_value(0) == 1


@pytest.mark.parametrize("comparisons", range(1, 25))
def test_pairs_needed_are_the_fewest_that_can_show_a_difference(comparisons):
    needed = pairs_needed(comparisons)

    assert holm([smallest_p_value(needed)] + [1.0] * (comparisons - 1))[0] <= statistics.LEVEL
    if needed > statistics.MINIMUM_PAIRS:
        assert holm([smallest_p_value(needed - 1)] * comparisons)[0] > statistics.LEVEL


@pytest.mark.parametrize("bad", [[], [1.0, np.nan], [np.inf], [[1.0, 2.0]]])
@pytest.mark.parametrize("function", [sign_flip_test, bootstrap_interval])
def test_bad_differences_are_refused(function, bad):
    with pytest.raises(ValueError, match="differences must be"):
        function(bad)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    assert holm([0.02]).tolist() == [0.02]
    assert holm([]).tolist() == []


@pytest.mark.parametrize("bad", [[-0.1], [1.1], [np.nan]])
def test_what_is_no_p_value_is_refused(bad):
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm(bad)


def test_an_interval_lies_around_the_mean_and_moves_with_it():
    differences = normal(10)
    found = bootstrap_interval(differences)

    assert found == bootstrap_interval(differences)
    assert found.low < differences.mean() < found.high
    moved = bootstrap_interval(1e-3 * (differences + 5))
    assert (moved.low, moved.high) == pytest.approx((1e-3 * (found.low + 5), 1e-3 * (found.high + 5)), rel=1e-4)


def test_an_interval_follows_skew():
    differences = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 8.0])
    found = bootstrap_interval(differences)

    assert found.high - differences.mean() > 2 * (differences.mean() - found.low)


def test_intervals_hold_the_truth_as_often_as_said():
    held = sum(found.low <= 0 <= found.high for found in map(interval_of_six, range(400)))

    assert 0.82 < held / 400 < 0.92  # 87 % by 4,000 repetitions


def interval_of_six(seed: int) -> Interval:
    return bootstrap_interval(normal(6, seed=seed), resamples=999)


@pytest.mark.parametrize("value", [0.0, -0.3, 1e-250])
def test_equal_differences_have_an_interval_without_width(value):
    assert bootstrap_interval([value] * 6) == Interval(value, value)


def test_tiny_and_huge_differences_have_intervals():
    for scale in (1e-250, 1e200):
        found = bootstrap_interval(scale * normal(6))
        assert found.low < scale * normal(6).mean() < found.high


def test_two_pairs_have_no_interval():
    assert bootstrap_interval([1.0, 2.0]) is None
    assert bootstrap_interval([1.0, 2.0, 4.0]) is not None


def by_seed(values) -> dict[int, float]:
    return dict(enumerate(values))


BASE = by_seed(np.linspace(1.0, 2.0, 8))


def shifted(by: float, count: int = 8) -> dict[int, float]:
    return {seed: BASE[seed] + by * (1 + 0.1 * seed) for seed in range(count)}


def test_verdicts_follow_the_sign():
    worse, better = compare(BASE, {"a": shifted(0.1), "b": shifted(-0.1)})

    assert (worse.verdict, better.verdict) == ("worse", "better")
    assert worse.corrected == 2 * worse.p_value == 2 * 2 / 2**8
    assert worse.mean == pytest.approx(0.135)
    assert worse.relative == pytest.approx(0.135 / 1.5)
    assert (worse.higher, better.higher) == (8, 0)
    assert worse.interval.low > 0 > better.interval.high


def test_higher_can_be_better():
    one, two = compare(BASE, {"a": shifted(0.1), "b": shifted(-0.1)}, higher_is_better=True)

    assert (one.verdict, two.verdict) == ("better", "worse")


def test_noise_shows_no_difference():
    (one,) = compare(BASE, {"a": by_seed(np.linspace(1, 2, 8) + 0.1 * np.array([1, -1] * 4))})

    assert (one.verdict, one.p_value, one.reason) == ("no difference shown", 1.0, "")


@pytest.mark.parametrize("pairs", range(6))
def test_fewer_than_six_pairs_are_inconclusive_whatever_they_show(pairs):
    (one,) = compare(BASE, {"a": shifted(100.0, pairs)})

    assert one.verdict == "inconclusive"
    assert one.p_value is one.corrected is None
    assert (len(one.seeds), one.planned, one.missing) == (pairs, 8, 8 - pairs)
    assert "fewer than 6" in one.reason
    assert (one.interval is None) == (pairs < 3)


def test_more_variants_need_more_pairs():
    six = {seed: BASE[seed] for seed in range(6)}
    (alone,) = compare(six, {"a": shifted(1.0, 6)})
    several = compare(six, {name: shifted(1.0, 6) for name in "abcd"})

    assert alone.verdict == "worse"
    assert {one.verdict for one in several} == {"inconclusive"}
    assert "6 pairs cannot show any difference among 4 variants" in several[0].reason
    assert "8 are needed" in several[0].reason


def test_few_pairs_are_judged_where_the_others_leave_room():
    # the others are so sure that the last one needs no correction any more
    several = compare(BASE, {"a": shifted(1.0), "b": shifted(1.0), "c": shifted(1.0), "d": shifted(1.0, 6)})

    assert [one.verdict for one in several] == ["worse"] * 4
    assert several[3].corrected == 2 / 64


def test_variants_that_cannot_be_judged_count_for_the_correction():
    one, _ = compare(BASE, {"a": shifted(1.0), "failed": {}})

    assert one.corrected == 2 * one.p_value


def test_only_finite_pairs_count():
    variant = {**shifted(0.1), 0: np.nan, 1: np.inf}
    (one,) = compare({**BASE, 2: -np.inf}, {"a": variant}, seeds=range(10))

    assert one.seeds == (3, 4, 5, 6, 7)
    assert (one.planned, one.missing) == (10, 5)


def test_identical_runs_show_no_difference_however_many_variants():
    six = {seed: BASE[seed] for seed in range(6)}

    assert {one.verdict for one in compare(six, dict.fromkeys("abcd", six))} == {"no difference shown"}


def test_nothing_to_compare():
    assert compare(BASE, {}) == ()
    (one,) = compare({}, {"a": {}})
    assert (one.verdict, one.planned) == ("inconclusive", 0)
    assert np.isnan([one.mean, one.relative, one.base_mean]).all()
