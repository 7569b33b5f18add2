"""Studies of earlier versions: what is done is not done again, what was stopped goes on."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from recording import VERSIONS, assert_close, read_json

from gemnet_blocks.ablation import Study, StudyResults


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the studies of each version in turn."""
    return shutil.copytree(request.param / "study", tmp_path / "study")


def runs_of(results: StudyResults) -> dict[str, tuple[str, str]]:
    return {f"{run.variant} {run.seed}": (run.key, run.status) for run in results.runs}


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.reader(file))


def test_finished_runs_are_recognized_and_not_done_again(folder: Path) -> None:
    recorded = read_json(folder / "runs.json")
    study = Study.from_file(folder / "study.yaml", folder=folder / "finished")
    done = {name: (one["key"], "done") for name, one in recorded.items()}
    assert runs_of(study.results()) == done
    kept = {
        path: path.read_bytes()
        for path in (folder / "finished" / "runs").rglob("*")
        if path.is_file() and path.name != "run.json"  # says where the data are now
    }
    results = study.run(executor="here", progress=False)
    assert runs_of(results) == done
    assert {path: path.read_bytes() for path in kept} == kept
    for run in results.runs:
        assert dict(run.metrics) == recorded[f"{run.variant} {run.seed}"]["metrics"]


def test_results_are_read_and_reported_with_the_same_numbers(folder: Path) -> None:
    stored = StudyResults.load(folder / "finished" / "results.json")
    study = Study.from_file(folder / "study.yaml", folder=folder / "finished")
    assert study.results().runs == stored.runs
    assert [one.name for one in stored.variants] == ["base", "no triplets", "explicit sums"]
    study.report(folder / "again")
    for name in ("differences.csv", "runs.csv"):
        found, before = (
            list(csv.reader((one / name).open(encoding="utf-8")))
            for one in (folder / "again", folder / "finished/report")
        )
        assert found == before, name


def test_a_stopped_study_ends_where_an_uninterrupted_one_did(folder: Path) -> None:
    recorded = read_json(folder / "runs.json")
    study = Study.from_file(folder / "study.yaml", {"seeds": 1}, folder=folder / "stopped")
    done = [name for name, (_, status) in runs_of(study.results()).items() if status == "done"]
    assert done == ["base 0", "no triplets 0"]
    # one run is done from the start, with weights by name, and one from its checkpoint
    shutil.rmtree(folder / "stopped" / "runs" / "base")
    for run in Study.from_file(folder / "study.yaml", {"seeds": 1}, folder=folder / "stopped").run("here").runs:
        before = recorded[f"{run.variant} {run.seed}"]
        assert (run.key, run.status) == (before["key"], "done")
        assert run.metrics.keys() == before["metrics"].keys()
        for name, value in before["metrics"].items():
            assert_close(run.metrics[name], value, 1e-6, f"{run.variant}: {name}")
