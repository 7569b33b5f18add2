"""Controls of equal size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from synthetic_learners import SyntheticLearner, small_spec, synthetic_study

from gemnet_blocks.ablation import Study
from gemnet_blocks.ablation.learner import Task
from gemnet_blocks.ablation.runs.matching import nearest_width
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import build


def parameters(spec) -> int:
    with torch.device("meta"):
        return sum(one.numel() for one in build(spec).parameters())


def test_variants_of_another_size_get_a_control(tmp_path: Path) -> None:
    study = synthetic_study(tmp_path, match={"parameters": "sizes.edge", "tolerance": 0.04})
    plan = study.check()
    assert [one.name for one in plan.variants] == [
        "base",
        "no quadruplets",
        "no quadruplets (matched)",
        "fewer functions",
    ]
    control = plan.variants[2]
    assert control.control_of == "no quadruplets"
    spec = next(run.task.spec for run in plan.runs if run.task.variant == control.name)
    assert "quadruplet" not in spec.interactions
    assert abs(parameters(spec) / parameters(small_spec()) - 1) < 0.04
    assert control.differences[-1].path == "sizes.edge"
    assert f"{parameters(spec):,} parameters" in control.note
    assert parameters(small_spec().patch({"interactions.quadruplet": None})) < 0.96 * parameters(small_spec())


def test_no_width_is_near_enough(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"variants\.no quadruplets: has no control: the best match, sizes\.edge = \d+"):
        synthetic_study(tmp_path, match={"tolerance": 1e-4}).check()


def test_another_width_where_the_variant_changes_the_first(tmp_path: Path) -> None:
    study = synthetic_study(tmp_path, {"wide": {"sizes.edge": 9}}, match={"tolerance": 0.05})
    assert study.check().variants[2].differences[-1].path == "sizes.atom"
    with pytest.raises(SpecError, match=r"the variant changes both sizes\.edge and sizes\.atom"):
        synthetic_study(tmp_path, {"wide": {"sizes": {"edge": 12, "atom": 12}}}, match="parameters").check()


def test_what_is_no_width(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"^match\.parameters: must be a width of the base.*, got sizes\.age$"):
        synthetic_study(tmp_path, match={"parameters": "sizes.age"}).check()


@pytest.mark.parametrize("wanted", [1, 2, 10, 99, 100, 101, 12_345])
def test_the_nearest_width(wanted: int) -> None:
    widths = range(1, 200)
    found = nearest_width(lambda width: width * width, wanted)
    assert abs(found**2 - wanted) == min(abs(width**2 - wanted) for width in widths)


@dataclass(frozen=True)
class CountingLearner(SyntheticLearner):
    """Costs that follow from the widths, and times that are never the same twice."""

    def training_flops(self, task: Task, data: object) -> float:
        return 1e6 * width_of(task) ** 2 * interactions_of(task)

    def training_memory(self, task: Task, data: object) -> float:
        return 1e3 * width_of(task) * interactions_of(task)

    def training_seconds(self, task: Task, data: object) -> float:
        TIMED.append(task.variant)
        return 1e-3 * width_of(task) * interactions_of(task) * (1 + 1e-4 * len(TIMED))


TIMED: list[str] = []


def width_of(task: Task) -> int:
    return task.spec.sizes.edge


def interactions_of(task: Task) -> int:
    return len(task.spec.interactions)


@pytest.mark.parametrize(("quantity", "width"), [("flops", 45), ("memory", 50), ("seconds", 50)])
def test_controls_of_equal_cost(tmp_path: Path, quantity: str, width: int) -> None:
    """Five interactions and width 40 cost as much as four and width 50, or 44.7 where the cost is quadratic."""
    base = small_spec().patch({"sizes.edge": 40})
    variants = {"no quadruplets": {"interactions.quadruplet": None}}
    study = Study(
        base, variants, 1, budget={"steps": 1}, learner=CountingLearner(), folder=tmp_path / "study", match=quantity
    )
    control = study.check().variants[2]

    assert control.name == "no quadruplets (matched)"
    assert control.differences[-1].value == pytest.approx(width, abs=1 if quantity == "seconds" else 0)
    assert "sizes.edge is" in control.note


def test_measured_times_are_stored_so_that_a_study_keeps_its_controls(tmp_path: Path) -> None:
    def study() -> Study:
        variants = {"no quadruplets": {"interactions.quadruplet": None}}
        options = {"budget": {"steps": 1}, "learner": CountingLearner(), "folder": tmp_path / "study"}
        return Study(small_spec().patch({"sizes.edge": 40}), variants, 1, match="seconds", **options)

    keys = [run.task.key for run in study().check().runs]
    measured = len(TIMED)

    assert [run.task.key for run in study().check().runs] == keys
    assert [run.key for run in study().results().runs] == keys
    assert len(TIMED) == measured


def test_two_quantities_to_match(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match="match: needs one of parameters, flops, seconds and memory, got flops and memory"
    ):
        synthetic_study(tmp_path, match={"flops": "sizes.edge", "memory": "sizes.edge"})
    with pytest.raises(SpecError, match="match: must be one of parameters, flops, seconds, memory, or a mapping"):
        synthetic_study(tmp_path, match="time")


def test_costs_that_a_learner_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="does not implement training_memory"):
        synthetic_study(tmp_path, match="memory").check()
