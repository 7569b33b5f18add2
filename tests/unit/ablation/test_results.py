"""Results as plain values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gemnet_blocks.ablation import Difference, RunResult, StudyResults, Variant


def results() -> StudyResults:
    runs = [
        RunResult(
            name,
            seed,
            f"key-{name}-{seed}",
            status="done",
            metrics={"forces_mae": 0.1 * seed, "energy_mae": 1.0},
            curve=({"step": 1.0, "forces_mae": 2.0},),
            cost={"steps": 3.0},
            environment={"torch": "2"},
            attempts=1,
        )
        for name in ("base", "other")
        for seed in (1, 0)
    ]
    runs[-1] = RunResult("other", 0, "key", status="failed", error="why")
    variants = (
        Variant("base"),
        Variant("other", {"a.b": 2}, (Difference("a.b", 1, [2, {"c": None}]),), "hash", "base"),
    )
    return StudyResults("base", variants, tuple(runs), seeds=(0, 1), budget="equal steps: 3")


def test_they_are_the_same_after_json(tmp_path: Path) -> None:
    found = results()
    assert StudyResults.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    found.save(tmp_path / "results.json")
    assert StudyResults.load(tmp_path / "results.json") == found


def test_what_is_found_in_them() -> None:
    found = results()
    assert found.values("base") == {0: 0.0, 1: 0.1}
    assert found.values("other") == {1: 0.1}  # what failed has none
    assert found.values("base", "energy_mae") == {0: 1.0, 1: 1.0}
    assert [one.seed for one in found.runs_of("base")] == [0, 1]
    assert found.run("other", 0) is found.failed()[0]
    assert found.run("other", 7) is None
    assert not found.complete
    with pytest.raises(KeyError, match="choose from base, other"):
        found.variant("none")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 99}', '{"format": 1}', '{"format": 1, "base_name": "b", "variants": [3], "runs": []}'],
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match=r"r\.json: expected results of a study"):
        StudyResults.load(tmp_path / "r.json")


def test_a_status_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="must be one of done, failed, running, missing"):
        RunResult("base", 0, "key", status="finished")  # type: ignore[arg-type]
