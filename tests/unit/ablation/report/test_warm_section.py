"""Cold against warm: the report compares conclusions and times of runs that start in both ways."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gemnet_blocks.ablation.report.content import page
from gemnet_blocks.ablation.report.page import to_markdown
from gemnet_blocks.ablation.report.warm_section import twins, warm_blocks
from gemnet_blocks.ablation.results import Difference, RunResult, StudyResults, Variant

WARM = Difference("start_from", None, "start/best.safetensors")
WITHOUT = Difference("interactions.quadruplet", {"graph": "quad"}, None)
STEPS = np.arange(1, 11) * 100


def results(seeds: int = 6, effect: float = 0.01, warm_effect: float = 0.01) -> StudyResults:
    """Errors fall as 1/step from random weights, and twice as fast from a model; the removal adds an effect."""
    random = np.random.default_rng(0)
    variants = {
        "base": (),
        "without": (WITHOUT,),
        "warm": (WARM,),
        "warm without": (WITHOUT, WARM),
        "wider": (Difference("sizes.edge", 64, 128),),
    }
    luck = random.normal(0, 0.001, seeds)
    runs = []
    for name, differences in variants.items():
        warm = WARM in differences
        for seed in range(seeds):
            end = (warm_effect if warm else effect) if WITHOUT in differences else 0.0
            speed = 2 if warm else 1
            errors = 0.05 + luck[seed] + end * STEPS / 1000 + 10 / (speed * STEPS) + random.normal(0, 1e-5, len(STEPS))
            curve = [
                {"step": float(step), "seconds": float(step) / 10, "forces_mae": float(error)}
                for step, error in zip(STEPS, errors, strict=True)
            ]
            runs.append(
                RunResult(name, seed, f"{name}-{seed}", "done", metrics={"forces_mae": float(errors[-1])}, curve=curve)
            )
    described = tuple(Variant(name, differences=differences) for name, differences in variants.items())
    return StudyResults("base", described, tuple(runs), seeds=tuple(range(seeds)))


def rows(table: Any) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in table.rows}


def test_variants_that_differ_in_the_start_alone_are_twins() -> None:
    found = [(pair.cold.name, pair.warm.name) for pair in twins(results())]
    assert found == [("base", "warm"), ("without", "warm without")]
    # the base may be the one that starts from a model
    study = results()
    renamed = {"base": (), "cold": (replace(WARM, base="start/best.safetensors", value=None),)}
    warm = {"training": {"training": {"start_from": "start/best.safetensors"}}}
    variants = tuple(Variant(name, differences=differences) for name, differences in renamed.items())
    (pair,) = twins(replace(study, variants=variants, settings=warm))
    assert (pair.cold.name, pair.warm.name) == ("cold", "base")


def test_the_fraction_of_the_time_is_that_of_equal_validation_errors() -> None:
    errors, _ = warm_blocks(results())
    assert rows(errors)["base"][2] in ("50%", "52%", "55%", "57%", "60%")  # the noise may cost one step
    never, _ = warm_blocks(results(effect=-0.02, warm_effect=0.02))
    assert rows(never)["without"][2] == "not reached"


@pytest.mark.parametrize(("warm_effect", "conclusion"), [(0.01, "the same"), (-0.01, "another"), (0.0, "another")])
def test_conclusions_are_compared(warm_effect: float, conclusion: str) -> None:
    _, conclusions = warm_blocks(results(warm_effect=warm_effect))
    (row,) = conclusions.rows
    assert row[0] == "without"
    assert row[1].startswith("+10")
    assert row[3] == conclusion
    assert (row[4] in ("5%", "10%")) == (conclusion == "the same")


def test_the_report_has_the_section_only_for_warm_starts() -> None:
    text = to_markdown(page(results()))
    assert "## Warm starts" in text
    assert "starts from start/best.safetensors" in text
    study = results()
    cold = tuple(one for one in study.variants if WARM not in one.differences)
    runs = tuple(one for one in study.runs if not one.variant.startswith("warm"))
    assert warm_blocks(replace(study, variants=cold, runs=runs)) == ()
    assert warm_blocks(replace(study, runs=())) != ()
