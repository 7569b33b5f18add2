"""Lines that tell log files how far the runs of a study are."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import small_spec
from rich.console import Console

from gemnet_blocks.ablation.learner import Task
from gemnet_blocks.ablation.results import RunResult
from gemnet_blocks.ablation.runs import scheduler
from gemnet_blocks.ablation.runs.plan import PlannedRun
from gemnet_blocks.ablation.runs.run_folder import RunFolder
from gemnet_blocks.ablation.runs.scheduler import Progress

HEADING = "step,seconds,loss,validation_loss,validation_forces_mae_mev_per_angstrom\n"


def planned(folder: Path, rows: str = "") -> PlannedRun:
    run = PlannedRun(Task("base", 0, "key", small_spec()), RunFolder.of(folder, "base", 0, "key"))
    run.folder.path.mkdir(parents=True)
    (run.folder.path / "log.csv").write_text(HEADING + rows)
    return run


def log(run: PlannedRun, rows: str) -> None:
    with (run.folder.path / "log.csv").open("a") as file:
        file.write(rows)


def state(run: PlannedRun, status: str) -> dict[str, RunResult]:
    return {run.name: RunResult("base", 0, "key", status, metrics={"forces_mae": 0.01})}  # type: ignore[arg-type]


def test_each_validation_of_a_running_run_has_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = planned(tmp_path, "10,1.0,0.9,0.8,70\n")
    with Progress([run], "title", "forces_mae") as progress:
        progress.update(state(run, "running"))
        log(run, "20,2.0,0.7,,\n30,63.0,0.6,0.5,40\n40,64.0,0.5,0.4,30\n50,6")  # the last row is still written
        progress.update(state(run, "done"))
    assert capsys.readouterr().out.splitlines() == [
        "[0/1] base, seed 0: running (forces_mae 0.01)",
        "base, seed 0: step 30, 0:01:03, loss 0.6, validation F MAE 40 meV/Å",
        "base, seed 0: step 40, 0:01:04, loss 0.5, validation F MAE 30 meV/Å",
        "[1/1] base, seed 0: done (forces_mae 0.01)",
    ]


def test_notebooks_show_one_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "plain_console", lambda: Console(force_jupyter=True))
    run = planned(tmp_path)
    with Progress([run], "a study", "forces_mae") as progress:
        progress.update(state(run, "done"), last=True)
    captured = capsys.readouterr()
    assert "a study: 100%" in captured.err
    assert "1 done" in captured.err
    assert captured.out == ""


def test_a_run_that_begins_again_is_told_from_its_beginning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "LOOK", 0.01)
    run = planned(tmp_path, "10,1.0,0.9,0.8,70\n")
    with Progress([run], "title", "forces_mae") as progress:
        (run.folder.path / "log.csv").write_text(HEADING + "5,1.0,0.9,,\n")
        progress.update(state(run, "running"))
        log(run, "8,2.0,0.9,0.7,60\n")
        progress.update(state(run, "failed"))
    assert "base, seed 0: step 8, 0:00:02, loss 0.9, validation F MAE 60 meV/Å" in capsys.readouterr().out


@pytest.mark.parametrize("show", [False, None])
def test_a_run_in_this_process_is_told_of_while_nobody_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, show: bool | None
) -> None:
    monkeypatch.setattr(scheduler, "LOOK", 0.01)
    run, told = planned(tmp_path), ""
    with Progress([run], "title", "forces_mae", show):
        log(run, "10,1.0,0.9,0.8,70\n")
        for _ in range(200):
            if told or show is False:
                break
            scheduler.time.sleep(0.01)
            told += capsys.readouterr().out
    assert ("step 10" in told + capsys.readouterr().out) == (show is None)


def test_logs_without_steps_or_with_damage_are_passed_over(tmp_path: Path) -> None:
    run = planned(tmp_path)
    for text in ("", "a,b\n1,2\n", HEADING + "x,1,,,\n", "\0\xff\n"):
        (run.folder.path / "log.csv").write_text(text)
        with Progress([run], "title", "forces_mae") as progress:
            progress.update(state(run, "running"))
