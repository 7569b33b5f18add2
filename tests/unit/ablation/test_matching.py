"""Controls of equal size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from synthetic_learners import small_spec, synthetic_study

from gemnet_blocks.ablation.variants import nearest_width
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
