"""Effects of factors: planted games are recovered, and factors without an effect have none."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from gemnet_blocks.ablation import factors as designs
from gemnet_blocks.ablation.report import figures, pareto
from gemnet_blocks.ablation.report.content import page
from gemnet_blocks.ablation.report.factor_section import _heat_map
from gemnet_blocks.ablation.report.factorial import Factorial, factorial
from gemnet_blocks.ablation.report.formatting import quantity
from gemnet_blocks.ablation.report.page import to_markdown
from gemnet_blocks.ablation.report.statistics import bootstrap_interval
from gemnet_blocks.ablation.results import RunResult, StudyResults, Variant

NAMES = ("quadruplet", "atom_edge", "edge_atom")
WORTH = {"quadruplet": 0.5, "atom_edge": 0.2, "edge_atom": -0.1}


def planted(
    game: Callable[[frozenset[str]], float], seeds: int = 12, noise: float = 0.05, study: int = 0
) -> StudyResults:
    """A full factorial study whose errors are a game of the removed parts, a shared effect of the seed, and noise."""
    random = np.random.default_rng(study)
    luck = random.normal(size=seeds)
    variants, runs = [], []
    for levels in itertools.product(("on", "off"), repeat=len(NAMES)):
        removed = frozenset(name for name, level in zip(NAMES, levels, strict=True) if level == "off")
        name = ", ".join(sorted(removed)) or "base"
        variants.append(Variant(name, levels=dict(zip(NAMES, levels, strict=True))))
        for seed in range(seeds):
            error = 2 + game(removed) + luck[seed] + noise * random.normal()
            cost = {"inference_seconds": 0.01 * (4 - len(removed)), "parameters": 1000.0 - 200 * len(removed)}
            runs.append(RunResult(name, seed, "k", "done", metrics={"forces_mae": error}, cost=cost))
    return StudyResults("base", tuple(variants), tuple(runs), seeds=tuple(range(seeds)))


def additive(removed: frozenset[str]) -> float:
    return sum(WORTH[name] for name in removed)


def test_an_additive_game_is_recovered_within_its_intervals() -> None:
    found = factorial(planted(additive), "forces_mae")

    for effect in (*found.main_effects(), *found.shapley()):
        worth = WORTH[effect.factors[0]]
        assert effect.interval.low < worth < effect.interval.high
        assert effect.mean == pytest.approx(worth, abs=0.05)
    for effect in found.synergies():
        assert abs(effect.mean) < 0.08


def test_a_planted_synergy_is_found() -> None:
    pair = {"quadruplet", "edge_atom"}
    found = factorial(planted(lambda removed: additive(removed) + 0.3 * (pair <= removed)), "forces_mae")
    excluded = {one.factors for one in found.synergies() if one.interval.low > 0.15 and one.interval.high < 0.45}

    assert excluded == {("quadruplet", "edge_atom")}


def test_shares_add_up_and_synergies_are_shared_equally() -> None:
    """Without noise: the Shapley shares of a game of two parts that replace each other, from all orders."""

    def game(removed: frozenset[str]) -> float:
        return 1.0 if {"quadruplet", "atom_edge"} <= removed else 0.0

    study = planted(game, seeds=3, noise=0)
    shares = {one.factors[0]: one.mean for one in factorial(study, "forces_mae").shapley()}
    orders = list(itertools.permutations(NAMES))
    expected = dict.fromkeys(NAMES, 0.0)
    for order in orders:
        for place, name in enumerate(order):
            before, after = frozenset(order[:place]), frozenset(order[: place + 1])
            expected[name] += (game(after) - game(before)) / len(orders)

    assert shares == pytest.approx(expected)
    assert shares == pytest.approx({"quadruplet": 0.5, "atom_edge": 0.5, "edge_atom": 0.0})
    assert sum(one.mean for one in factorial(study, "inference_seconds").shapley()) == pytest.approx(-0.03)


def test_factors_without_an_effect_have_intervals_that_cover_zero() -> None:
    """200 studies in which nothing has an effect: the intervals cover zero about as often as they promise."""
    covered = total = 0
    for study in range(200):
        found = factorial(planted(lambda _: 0.0, seeds=20, noise=1.0, study=study), "forces_mae")
        for effect in found.shapley():
            interval = bootstrap_interval(list(effect.by_seed.values()), resamples=400)
            covered += interval.low <= 0 <= interval.high
            total += 1

    # BCa intervals of 20 pairs cover a normal mean in about 93 % of cases; four standard deviations of the binomial
    assert 0.93 - 4 * math.sqrt(0.93 * 0.07 / total) < covered / total < 0.98


def test_three_levels() -> None:
    levels = {"radial": ("a", "b", "c"), "depth": ("low", "high")}
    worth = {"a": 0.0, "b": 1.0, "c": 3.0, "low": 0.0, "high": 10.0}
    values = {cell: {0: worth[cell[0]] + worth[cell[1]]} for cell in itertools.product(*levels.values())}
    found = Factorial(levels, values)

    assert {one.name: one.mean for one in found.main_effects()} == {"radial b": 1, "radial c": 3, "depth high": 10}
    assert {one.factors[0]: one.mean for one in found.shapley()} == {"radial": 2, "depth": 10}
    assert [one.mean for one in found.synergies()] == [0, 0]


def test_fractions_estimate_main_effects_and_name_what_they_confound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The half fraction of three factors: each main effect is confounded with the synergy of the other two."""
    cells = [cell for cell in itertools.product(("on", "off"), repeat=3) if cell.count("off") % 2 == 0]
    levels = dict.fromkeys(NAMES, ("on", "off"))
    values = {
        cell: {0: additive(frozenset(name for name, level in zip(NAMES, cell, strict=True) if level == "off"))}
        for cell in cells
    }
    found = Factorial(levels, values)

    assert not found.full
    assert found.shapley() == []
    assert {one.factors[0]: one.mean for one in found.main_effects()} == pytest.approx(WORTH)
    assert [{one.factors for one in group} for group in found.aliases()] == [
        {("quadruplet",), ("atom_edge", "edge_atom")},
        {("atom_edge",), ("quadruplet", "edge_atom")},
        {("edge_atom",), ("quadruplet", "atom_edge")},
    ]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (figures, pareto):
        monkeypatch.setattr(module, "drawn", lambda draw, height: "<?xml?><svg></svg>")


def test_the_heat_map_is_drawn() -> None:
    found = factorial(planted(additive), "forces_mae")

    assert _heat_map(found, found.synergies(), quantity("forces_mae")).startswith("<?xml")


@pytest.mark.usefixtures("undrawn")
def test_the_section_of_the_report() -> None:
    text = to_markdown(page(planted(additive))).replace("\\", "")

    assert "## Factors" in text
    assert "| quadruplet off |" in text
    assert "![factors](figures/factors.svg)" in text
    assert "share of inference time" in text
    assert "−10.00 ms (+33.3 %)" in text
    nothing = (
        to_markdown(page(planted(lambda _: 0.0, noise=1.0))).split("Worth of the factors")[1].split("Means over")[0]
    )
    assert nothing.count(" %)") == 2 * len(NAMES), "the parts of both costs, and none of an error that does not differ"


@pytest.mark.usefixtures("undrawn")
def test_without_complete_seeds_the_section_says_so() -> None:
    study = planted(additive, seeds=2)
    some = StudyResults(study.base_name, study.variants, study.runs[:-2], seeds=study.seeds)

    assert factorial(some, "forces_mae") is None
    assert "No seed has finished runs of all combinations" in to_markdown(page(some))


def test_a_fraction_contains_the_base_and_has_its_resolution() -> None:
    pytest.importorskip("pyDOE3")
    for count, resolution, rows in ((5, 3, 8), (5, 5, 16), (6, 4, 16)):
        chosen = designs.design({str(place): 2 for place in range(count)}, resolution)

        assert len(chosen) == rows
        assert chosen[0] == (0,) * count
        signs = 1 - 2 * np.array(chosen)
        for size in range(1, resolution):
            for places in itertools.combinations(range(count), size):
                assert signs[:, places].prod(axis=1).sum() == 0


def test_findings_begin_with_the_factors_if_there_are_many_combinations() -> None:
    text = to_markdown(page(planted(additive)))
    findings = text.split("## Findings")[1].split("## Factors")[0]

    assert findings.index("quadruplet off: forces MAE +") < findings.index("atom\\_edge off: forces MAE +")
    assert "higher with 12 of 12 seeds." in findings
    assert findings.index("Largest synergy: ") < findings.index("**atom\\_edge: ")
    places = [text.index(title) for title in ("## Findings", "## Factors", "## Changes", "## Differences")]
    assert places == sorted(places)
    assert next(one for one in page(planted(additive)).sections if one.title == "Changes").blocks[0].kind == "folded"


@pytest.mark.parametrize(
    ("seeds", "told", "other"),
    [
        (2, "all 8 combinations. Intervals need at least 3 seeds.", "95 % BCa intervals, which"),
        (3, "With fewer than 6 seeds, the intervals are far too narrow.", "need at least 3"),
        (6, "95 % BCa intervals, which", "far too narrow"),
    ],
)
def test_few_seeds_are_told(seeds: int, told: str, other: str) -> None:
    factors = to_markdown(page(planted(additive, seeds))).split("## Factors")[1].split("## Changes")[0]

    assert told in factors
    assert other not in factors
