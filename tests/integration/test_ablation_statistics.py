"""What a study says when nothing differs, and when something does, over 200 studies of a fast learner."""

from __future__ import annotations

import functools
import gc
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from scipy.stats import binom
from synthetic_studies import BROKEN, learned_study, study_of

from gemnet_blocks.ablation.options import LEVEL
from gemnet_blocks.ablation.report import statistics
from gemnet_blocks.ablation.report.statistics import Comparison
from gemnet_blocks.ablation.report.tables import compare_study

STUDIES = 200
LEAST, MOST = binom.interval(0.95, STUDIES, LEVEL)
"""How many of so many studies may err at the level, by chance."""


@pytest.fixture(autouse=True, scope="module")
def _only_what_verdicts_depend_on() -> Iterator[None]:
    """Leave out the bootstrap intervals, which no verdict depends on and which take most of the time of a comparison.

    statsmodels runs the garbage collector in every correction of p-values, so existing objects are hidden from it.
    """
    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "bootstrap_interval", lambda differences: None)
        yield


@functools.cache
def comparisons(variants: tuple[str, ...], seeds: int, studies: int = STUDIES) -> list[Sequence[Comparison]]:
    """The comparisons of each study."""
    return [compare_study(learned_study(variants, seeds, number)) for number in range(studies)]


def verdicts(variants: Sequence[str], seeds: int, studies: int = STUDIES) -> list[dict[str, str]]:
    """The verdict of each study on each variant."""
    return [{one.variant: one.verdict for one in study} for study in comparisons(tuple(variants), seeds, studies)]


def wrong(found: list[dict[str, str]]) -> int:
    """In how many studies anything is called different."""
    return sum(not {"worse", "better"}.isdisjoint(one.values()) for one in found)


def test_one_identical_variant_is_called_different_as_often_as_the_level_says():
    # with 10 pairs the test attains 50/1024 = 4.9 %
    assert LEAST <= wrong(verdicts(["twin"], 10)) <= MOST


def test_six_seeds_err_less_often():
    # with 6 pairs it attains 2/64 = 3.1 %: the interval holds from above
    found = verdicts(["twin"], 6)

    assert 0 < wrong(found) <= MOST
    assert {name for one in found for name in one.values()} <= {"worse", "better", "no difference shown"}


def test_four_identical_variants_are_called_different_no_more_often_than_one():
    assert wrong(verdicts(["twin", "triplet", "clone", "double"], 10)) <= MOST


def test_errors_without_the_correction_would_be_found():
    studies = comparisons(("twin", "triplet", "clone", "double"), 10)
    uncorrected = sum(any(one.p_value <= LEVEL for one in study) for study in studies)

    assert uncorrected > MOST


@pytest.mark.parametrize("seeds", [6, 8])
def test_a_planted_effect_is_found(seeds):
    found = Counter(one[BROKEN] for one in verdicts([BROKEN], seeds))

    assert found["worse"] >= 0.95 * STUDIES
    assert found["better"] == 0


def test_a_planted_effect_is_found_among_others_that_are_not_blamed():
    found = verdicts(["twin", BROKEN, "clone"], 8)

    assert sum(one[BROKEN] == "worse" for one in found) >= 0.95 * STUDIES
    others = [{name: verdict for name, verdict in one.items() if name != BROKEN} for one in found]
    assert wrong(others) <= MOST


def test_six_seeds_are_too_few_for_four_variants():
    found = verdicts(["twin", BROKEN, "clone", "double"], 6, studies=40)

    assert {verdict for one in found for verdict in one.values()} == {"inconclusive"}


def test_the_same_runs_under_two_names_show_no_difference():
    errors = [0.1, 0.2, 0.15, 0.12, 0.11, 0.3]
    (one,) = compare_study(study_of({"base": errors, "twin": errors}))

    assert (one.verdict, one.p_value, one.mean) == ("no difference shown", 1.0, 0.0)


def test_five_seeds_are_inconclusive_however_large_the_effect():
    found = verdicts([BROKEN], 5, studies=40)

    assert {one[BROKEN] for one in found} == {"inconclusive"}
