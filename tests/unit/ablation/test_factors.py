"""Factorial studies: from factors to variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from synthetic_learners import SyntheticLearner, small_spec, synthetic_study

from gemnet_blocks.ablation.factors import design
from gemnet_blocks.ablation.report.factorial import factorial
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.document import dump

FACTORS: dict[str, Any] = {
    "quadruplet": ["on", "off"],
    "bases.circular.count": [3, 2],
}


def test_all_combinations_become_variants_after_the_base(tmp_path: Path) -> None:
    plan = synthetic_study(tmp_path, {}, factors=FACTORS).check()

    assert [one.name for one in plan.variants] == [
        *("base", "bases.circular.count 2", "quadruplet off", "quadruplet off, bases.circular.count 2")
    ]
    assert plan.variants[0].levels == {"quadruplet": "on", "bases.circular.count": "3"}
    assert plan.variants[3].levels == {"quadruplet": "off", "bases.circular.count": "2"}
    assert [one.path for one in plan.variants[3].differences] == ["bases.circular.count", "interactions.quadruplet"]


def test_levels_of_all_kinds(tmp_path: Path) -> None:
    factors = {
        "triplet": [True, False],  # on and off, as YAML reads them
        "circular": ["legendre", "gaussian"],
        "depth": {"one": {}, "two": {"blocks.count": 2}, "three": {"blocks": {"count": 3}}},
    }
    study = synthetic_study(tmp_path, {"wider": {"sizes.edge": 9}}, seeds=1, factors=factors)
    names = [one.name for one in study.check().variants]

    assert len(names) == 2 * 2 * 3 + 1
    assert names[1] == "wider"
    assert "triplet off, circular gaussian, depth three" in names


def test_variants_of_a_factorial_study_have_the_run_keys_of_the_same_patches(tmp_path: Path) -> None:
    by_factors = synthetic_study(tmp_path / "a", {}, factors={"quadruplet": ["on", "off"]}).check()
    by_patch = synthetic_study(tmp_path / "b", {"none": {"interactions.quadruplet": None}}).check()

    assert [run.task.key for run in by_factors.runs] == [run.task.key for run in by_patch.runs]


def test_effects_of_a_study_that_has_run(tmp_path: Path) -> None:
    learner = SyntheticLearner(noise=0.0, effect=0.5)
    results = synthetic_study(tmp_path, {}, seeds=3, learner=learner, factors=FACTORS).run("here", progress=False)
    found = {one.name: one.mean for one in factorial(results, "forces_mae").main_effects()}

    assert found == pytest.approx({"quadruplet off": 0.0, "bases.circular.count 2": 0.5})


def test_a_study_file_with_factors(tmp_path: Path) -> None:
    from gemnet_blocks.ablation import Study

    (tmp_path / "base.yaml").write_text(dump(small_spec().to_dict()))
    text = "base: base.yaml\nbudget: {steps: 10}\nseeds: 2\nfactors:\n  quadruplet: [on, off]\n"
    (tmp_path / "study.yaml").write_text(text)
    study = Study.from_file(tmp_path / "study.yaml", learner=SyntheticLearner())
    assert [one.name for one in study.check().variants] == ["base", "quadruplet off"]

    (tmp_path / "more.yaml").write_text("extends: study.yaml\nfactors: {quadruplt: [on, off]}\n")
    with pytest.raises(
        SpecError, match=r"more\.yaml:2: factors\.quadruplt: expected a part of the base .* 'quadruplet'"
    ):
        Study.from_file(tmp_path / "more.yaml", learner=SyntheticLearner())


@pytest.mark.parametrize(
    ("factors", "told"),
    [
        ({"radial": ["cosine", "gaussian"]}, r"factors\.radial: the first level must be that of the base"),
        ({"radial": "gaussian"}, r"factors\.radial: must be a list of at least two levels"),
        ({"nothing": [1, 2]}, r"factors\.nothing: expected an interaction with the levels \[on, off\]"),
        ({"quadruplet": ["off", "on"]}, r"factors\.quadruplet: the first level must be that of the base: write"),
        ({"sizes.edge": [8, 9, 9]}, r"factors\.sizes\.edge: levels must be different, got 9 twice"),
        ({"deep": {"deep": {"blocks.count": 2}, "shallow": {}}}, r"factors\.deep: the first level, deep, must be"),
        ({"deep": {"shallow": {}, "deep": 3}}, r"factors\.deep: deep must be a mapping of changes"),
        (
            {"sizes.edge": [8, 9], "wide": {"no": {}, "yes": {"sizes.edge": 10}}},
            r"factors\.wide: changes sizes\.edge, which another factor changes, too",
        ),
    ],
)
def test_mistakes_in_factors(tmp_path: Path, factors: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        synthetic_study(tmp_path, {}, factors=factors)


def test_a_mistake_in_a_level_is_one_error(tmp_path: Path) -> None:
    factors = {"circular": ["legendre", "bernstein"], "quadruplet": ["on", "off"]}
    with pytest.raises(SpecError) as caught:
        synthetic_study(tmp_path, {}, factors=factors).check()

    assert str(caught.value).startswith("variants.circular bernstein: bases.circular.type: 'bernstein' is of the kind")
    assert len(str(caught.value).splitlines()) == 1


def test_mistakes_in_fractions(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="needs at least 3 factors, got 2"):
        synthetic_study(tmp_path, {}, factors=FACTORS, resolution=3)
    with pytest.raises(SpecError, match="need factors with two levels, but b has 3"):
        design({"a": 2, "b": 3, "c": 2}, 3)


def test_without_the_package_fractions_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyDOE3", None)

    with pytest.raises(SpecError, match=r"pip install 'gemnet_blocks\[train\]'"):
        design({"a": 2, "b": 2, "c": 2}, 3)


def test_a_study_without_variants_and_factors(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"variants: must have at least 1 of them, got \{\}: give"):
        synthetic_study(tmp_path, {})
