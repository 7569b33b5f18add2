"""From patches to variants, checked before anything trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from synthetic_learners import fits, small_spec, synthetic_study

from gemnet_blocks.ablation import Difference
from gemnet_blocks.errors import SpecError


def told(folder: Path, patch: Any, **options: Any) -> str:
    with pytest.raises(SpecError) as caught:
        synthetic_study(folder, {"wrong": patch}, **options).run("here", progress=False)
    assert fits(folder) == []
    return str(caught.value)


def test_differences_are_listed(tmp_path: Path) -> None:
    patches = {
        "without": {"interactions": {"quadruplet": None}},
        "two": {"sizes.edge": 9, "heads.energy.reduce": "mean"},
        "explicit": {"execution.angular": "explicit"},
    }
    variants = synthetic_study(tmp_path, patches).check().variants
    assert [one.name for one in variants] == ["base", "without", "two", "explicit"]
    removed = small_spec().to_dict()["interactions"]["quadruplet"]
    assert variants[1].differences == (Difference("interactions.quadruplet", removed, None),)
    assert [(one.path, one.value) for one in variants[2].differences] == [
        ("sizes.edge", 9),
        ("heads.energy.reduce", "mean"),
    ]
    assert variants[3].differences == (Difference("execution.angular", "auto", "explicit"),)
    assert variants[3].spec_hash == variants[0].spec_hash == small_spec().content_hash
    assert variants[1].patch == {"interactions": {"quadruplet": None}}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({}, "variants.wrong: changes nothing"),
        ({"sizes": {}}, "variants.wrong: sizes: changes nothing"),
        ({"sizes.edge": 8}, "variants.wrong: sizes.edge: is already 8 in the base"),
        ({"sizes": {"edge": 8, "atom": 9}}, "sizes.edge: is already 8 in the base"),
        ({"sizes.egde": 9}, "variants.wrong: sizes.egde: unknown field; did you mean 'edge'?"),
        ({"interactions.quadrplet": None}, "nothing of this name to remove; did you mean 'quadruplet'?"),
        ({"interactions.quadruplet.down": "many"}, "interactions.quadruplet.down: must be an integer"),
        ({"bases.spherical": None}, "variants.wrong: "),
        ({"graphs.quad": None}, "variants.wrong: "),
        (
            {"neighbors.fade_width": 0.7},
            "variants.wrong: computes the same as 'base', because the model",
        ),
        ({"execution": 3}, "variants.wrong: execution: must be a mapping"),
        ({"execution.angluar": "explicit"}, "execution.angluar: unknown field; did you mean 'angular'?"),
        (
            {"execution.angular": "fast"},
            "variants.wrong: execution.angular: must be 'auto', 'factorized' or 'explicit' or a mapping of fields, got "
            "'fast'",
        ),
        (
            {"execution.angular": {"triplet": "fast"}},
            "variants.wrong: execution.angular.triplet: must be 'auto', 'factorized' or 'explicit', got 'fast'",
        ),
        ({"execution.memory_budget": -1}, "variants.wrong: execution.memory_budget: must be greater than 0, got -1"),
        ({"execution.angular": "auto"}, "execution.angular: is already auto in the base"),
        ({"execution.angular": {"quadrplet": "explicit"}}, "angular: unknown interaction 'quadrplet'"),
    ],
    ids=str,
)
def test_patches_that_make_no_variant(tmp_path: Path, patch: Any, message: str) -> None:
    assert message.replace("already auto", "already 'auto'") in told(tmp_path, patch)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    patches = {"one": {"sizes.edge": 8}, "two": {"sizes.egde": 9}, "good": {"sizes.edge": 9}}
    with pytest.raises(SpecError) as caught:
        synthetic_study(tmp_path, patches).check()
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["variants.one", "variants.two"]


def test_equal_variants(tmp_path: Path) -> None:
    patches = {"one": {"sizes.edge": 9}, "other": {"sizes": {"edge": 9}}}
    with pytest.raises(SpecError, match=r"variants\.other: computes the same as 'one'"):
        synthetic_study(tmp_path, patches).check()
    assert len(synthetic_study(tmp_path, patches, allow_equal=True).check().runs) == 6


def test_an_a_a_study_is_run_twice(tmp_path: Path) -> None:
    study = synthetic_study(tmp_path, {"same": {}}, allow_equal=True)
    results = study.run("here", progress=False)
    assert len(fits(tmp_path)) == 4
    assert results.run("base", 0).key == results.run("same", 0).key
    assert results.values("base") != results.values("same")  # the synthetic learner's own noise


def test_a_part_may_say_its_type_again(tmp_path: Path) -> None:
    patch = {"bases.circular": {"type": "legendre", "count": 2}}
    assert len(synthetic_study(tmp_path, {"fewer": patch}).check().variants) == 2


def test_a_new_part_may_repeat_what_the_old_one_had(tmp_path: Path) -> None:
    patch = {"bases.circular": {"type": "gaussian", "count": 3}}
    assert len(synthetic_study(tmp_path, {"gaussian": patch}).check().variants) == 2
