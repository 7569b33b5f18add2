"""Decisions of sequential studies: error rate and power over many synthetic studies, and that only results matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy.stats import binom

from gemnet_blocks.ablation.options import SequentialSeeds
from gemnet_blocks.ablation.report.sequential.monitor import Monitoring, design_of, monitor
from gemnet_blocks.ablation.report.sequential.words import pilot_in_words
from gemnet_blocks.ablation.report.statistics import holm, sign_flip_test

NOISE = 0.05
"""The standard deviation of paired differences of errors around 1."""


def errors(generator: np.random.Generator, seeds: int, shift: float = 0.0, tails: bool = False) -> dict[int, float]:
    noise = generator.standard_t(3, seeds) / np.sqrt(3) if tails else generator.normal(0, 1, seeds)
    return dict(enumerate(1 + shift + NOISE / np.sqrt(2) * noise))


def studies(
    options: SequentialSeeds, shifts: Sequence[float], count: int, tails: bool = False, flips: int = 499
) -> list[Monitoring]:
    """Look at synthetic studies with the function that studies call."""
    found = []
    for number in range(count):
        generator = np.random.default_rng([7, number])
        base, *own = (errors(generator, options.at_most, shift, tails) for shift in (0.0, *shifts))
        found.append(monitor(options, base, {str(place): one for place, one in enumerate(own)}, flips=flips))
    return found


def wrong(found: Sequence[Monitoring]) -> float:
    """The fraction of studies that call any variant different."""
    return float(np.mean([any(one.decision == "different" for one in study.comparisons) for study in found]))


def seeds_used(found: Sequence[Monitoring]) -> float:
    return float(np.mean([one.looks[-1].seeds for study in found for one in study.comparisons]))


def test_two_thousand_studies_of_equal_variants_stay_below_five_percent():
    options = SequentialSeeds(at_most=20, step=7)
    found = studies(options, (0.0, 0.0), 2000)

    assert 0.03 < wrong(found) <= 0.05
    assert seeds_used(found) < 0.95 * options.at_most
    # the same looks without one error rate for all of them err more often
    repeated = np.mean(
        [any(one.p_value <= 0.025 for one in comparison.looks) for study in found for comparison in study.comparisons]
    )
    assert repeated > 0.03


@pytest.mark.parametrize(
    ("options", "tails"),
    [
        ({"at_most": 20, "step": 7, "effect": 0.04}, False),  # the number of seeds follows from the spread
        ({"at_most": 20, "step": 7, "spending": "pocock"}, True),
        ({"at_most": 20, "step": 7, "futility": None}, True),
    ],
)
def test_the_error_rate_holds_for_other_plans_and_distributions(options, tails):
    found = studies(SequentialSeeds(**options), (0.0,), 250, tails)

    assert wrong(found) <= binom.ppf(0.975, 250, 0.05) / 250


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_a_planted_effect_is_found_with_the_promised_power(spending):
    options = SequentialSeeds(at_most=24, spending=spending)
    plan = design_of(options, 1)
    found = studies(options, (NOISE * plan.effect_of(24),), 200, flips=999)

    assert wrong(found) >= binom.ppf(0.025, 200, options.power) / 200
    assert seeds_used(found) < plan.fixed_pairs(plan.effect_of(24))


def test_an_effect_that_is_worth_finding_is_found_with_the_seeds_that_it_needs():
    options = SequentialSeeds(at_most=40, effect=0.03)
    found = studies(options, (0.03,), 150, flips=999)
    used = seeds_used(found)

    assert wrong(found) >= binom.ppf(0.025, 150, options.power) / 150
    assert used < design_of(options, 1).fixed_pairs(0.03 / NOISE) * 1.2
    assert seeds_used(studies(SequentialSeeds(at_most=40, effect=0.06), (0.06,), 50, flips=999)) < 0.7 * used


def test_others_are_not_blamed_for_a_variant_that_is_worse():
    options = SequentialSeeds(at_most=20, step=7)
    found = studies(options, (0.0, 0.1, 0.0), 100)
    decisions = [[one.decision for one in study.comparisons] for study in found]

    assert all(one[1] == "different" for one in decisions)
    assert (
        np.mean([one[0] == "different" or one[2] == "different" for one in decisions])
        <= binom.ppf(0.975, 100, 0.05) / 100
    )
    # the variant that is worse gets no more seeds, the base as many as the others
    for study in found:
        last = {name: max(seed for one, seed in study.needed if one == name) + 1 for name in ("base", "0", "1", "2")}
        assert last["base"] == max(last.values())
        assert last["1"] == study.comparison("1").looks[-1].seeds <= last["base"]
    assert np.mean([study.comparison("1").looks[-1].seeds for study in found]) < 16


def test_with_one_look_the_verdicts_are_those_of_a_fixed_number_of_seeds():
    options = SequentialSeeds(at_least=10, at_most=10)
    for number in range(30):
        generator = np.random.default_rng([3, number])
        base, *own = (errors(generator, 10, shift) for shift in (0.0, 0.0, 0.05, 0.08))
        found = monitor(options, base, {str(place): one for place, one in enumerate(own)})
        p_values = holm([sign_flip_test(np.array([*one.values()]) - np.array([*base.values()])) for one in own])
        assert [one.decision == "different" for one in found.comparisons] == [p <= 0.05 for p in p_values]


def partly(found: Mapping[int, float], count: int) -> dict[int, float]:
    return {seed: value for seed, value in found.items() if seed < count}


def test_only_the_seeds_of_a_look_matter():
    """Runs that are done already do not change a look, nor do those of other seeds wait for it."""
    options = SequentialSeeds(at_most=18, step=6)
    generator = np.random.default_rng(11)
    base, own, other = (errors(generator, 18, shift) for shift in (0.0, 0.02, 0.09))
    whole = monitor(options, base, {"a": own, "b": other}, flips=999)
    nothing = monitor(options, {}, {"a": {}, "b": {}}, flips=999)
    assert nothing.looks == 0
    assert nothing.needed == tuple((name, seed) for seed in range(6) for name in ("base", "a", "b"))

    ended: dict[str, set[int]] = {"base": set(), "a": set(), "b": set()}
    known = {"base": base, "a": own, "b": other}
    while True:  # as a driver does, but with the runs in a random order
        results = {name: {seed: known[name][seed] for seed in seeds} for name, seeds in ended.items()}
        found = monitor(options, results["base"], {"a": results["a"], "b": results["b"]}, flips=999)
        missing = [(name, seed) for name, seed in found.needed if seed not in ended[name]]
        if not missing:
            break
        name, seed = missing[generator.integers(len(missing))]
        ended[name].add(seed)
    assert found == whole
    assert Counter(name for name, _ in found.needed) == {name: len(seeds) for name, seeds in ended.items()}


def test_together_all_variants_get_the_same_seeds():
    options = SequentialSeeds(at_most=18, step=6)
    generator = np.random.default_rng(11)
    base, own, other = (errors(generator, 18, shift) for shift in (0.0, 0.0, 0.2))
    apart = monitor(options, base, {"a": own, "b": other}, flips=999)
    joint = monitor(options, base, {"a": own, "b": other}, together=True, flips=999)

    assert joint.comparisons == apart.comparisons
    assert apart.comparison("b").looks[-1].seeds < apart.comparison("a").looks[-1].seeds
    assert Counter(name for name, _ in joint.needed)["b"] == apart.comparison("a").looks[-1].seeds


def test_pairs_that_failed_are_left_out():
    options = SequentialSeeds(at_most=12, step=6)
    generator = np.random.default_rng(1)
    base, own = errors(generator, 12), errors(generator, 12)
    del own[2]
    ended = frozenset((name, seed) for name in ("base", "a", "b") for seed in range(12))
    found = monitor(options, base, {"a": own, "b": {}}, ended)

    assert [one.pairs for one in found.comparison("a").looks] == [5, 11]
    assert found.comparison("a").decision in ("not shown", "futile")
    assert found.comparison("b").decision == "no pairs"
    assert Counter(name for name, _ in found.needed)["b"] == 6


def test_the_pilot_tells_how_many_seeds_are_needed():
    options = SequentialSeeds(at_most=24, effect=0.02, power=0.8)
    generator = np.random.default_rng(2)
    base, own = errors(generator, 24), errors(generator, 24)
    pilot = monitor(options, partly(base, 6), {"a": partly(own, 6)})
    (look,) = pilot.comparison("a").looks
    spread = np.std([own[seed] - base[seed] for seed in range(6)], ddof=1)
    error = np.mean([own[seed] + base[seed] for seed in range(6)]) / 2
    plan = design_of(options, 1)

    assert look.needed == pytest.approx(plan.pairs_for(0.02 * error / spread))
    assert look.needed > options.at_most == look.planned
    assert pilot.power(look) < 0.8
    assert pilot.needed[-1] == ("a", 10)
    larger = SequentialSeeds(at_most=24, effect=0.2)
    (look,) = monitor(larger, partly(base, 6), {"a": partly(own, 6)}).comparison("a").looks
    assert (look.needed, look.planned) == (6, 6)


def test_nothing_differs_if_all_errors_are_zero():
    zero = dict.fromkeys(range(12), 0.0)
    for effect in (None, 0.1):
        found = monitor(SequentialSeeds(at_most=12, effect=effect), zero, {"a": zero})
        assert found.comparisons[0].decision in ("futile", "not shown")


def test_a_pilot_of_equal_differences_says_nothing_about_seeds() -> None:
    options = SequentialSeeds(at_most=12)
    base = errors(np.random.default_rng(0), 12)
    found = monitor(options, base, {"same": base, "other": errors(np.random.default_rng(1), 12)}, flips=499)
    same, other = (pilot_in_words(one, found) for one in found.comparisons)

    assert same.startswith("same: the differences of all pairs are the same, so that their spread says nothing about")
    assert other.startswith("other: 12 seeds find a difference of ")
