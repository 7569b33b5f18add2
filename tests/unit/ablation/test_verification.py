"""Reports that verify themselves: every changed number is found and named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from planted_torsion import TorsionLearner
from synthetic_learners import synthetic_study

from gemnet_blocks.ablation import Fit, StudyResults, Task, Verification, verification, verify
from gemnet_blocks.ablation.report import atoms_figure, figures, pareto
from gemnet_blocks.ablation.results import RunResult
from gemnet_blocks.ablation.runs import worker
from gemnet_blocks.ablation.runs.comparison import comparable, mismatches, numbers
from gemnet_blocks.errors import SpecError

VARIANT = "no quadruplets"


@dataclass(frozen=True)
class SmallLearner(TorsionLearner):
    train: int = 4
    test: int = 3


@dataclass(frozen=True)
class ChangedLearner(SmallLearner):
    """A learner whose code gives another number for one of the runs."""

    def fit(self, task: Task, folder: Path) -> Fit:
        found = super().fit(task, folder)
        off = 1e-15 if (task.variant, task.seed) == (VARIANT, 1) else 0.0
        return replace(found, metrics={name: value * (1 + off) for name, value in found.metrics.items()})


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    """Empty figures, which are most of the time of a report."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (figures, atoms_figure, pareto):
            patch.setattr(module, "drawn", lambda draw, height: "<?xml?><svg></svg>")
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verified") / "study"
    study = synthetic_study(folder, {VARIANT: {"interactions.quadruplet": None}}, 2, SmallLearner())
    assert study.run("here", progress=False).complete
    study.report()
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the study."""
    return shutil.copytree(finished, tmp_path / "study")


def verified(path: Path, sample: int = 0, seed: int | None = 0, learner: type = SmallLearner) -> Verification:
    return verify(path, sample, seed, learner=learner)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_reports_that_nobody_changed_are_verified(folder: Path) -> None:
    told: list[str] = []
    found = verify(folder / "report", 4, learner=SmallLearner, tell=told.append)

    assert found.passed, found.mismatches
    assert (found.report, found.runs) == (folder / "report", 4)
    assert found.files == len([path for path in (folder / "report").rglob("*") if path.is_file()])
    assert {(one.variant, one.seed) for one in found.reruns} == {
        (name, seed) for name in ("base", VARIANT) for seed in (0, 1)
    }
    assert all("compared bit for bit" in str(one) and one.numbers > 100 for one in found.reruns)
    assert re.fullmatch(r"the runs were drawn with seed \d+", found.notes[0])
    assert len(told) == 2 + 4
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert verified(folder, 1).reruns == verified(folder / "report/report.html", 1).reruns
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_changed_number_of_the_results_is_named(folder: Path) -> None:
    value = StudyResults.load(folder / "results.json").run("base", 1).metrics["forces_mae"]
    change(folder / "results.json", repr(value), repr(value / 2))
    (found,) = verified(folder).mismatches
    assert (found.where, found.what) == ("base, seed 1", "metrics.forces_mae in results.json of the study")
    assert (found.recorded, found.found) == (repr(value / 2), repr(value))

    change(folder / "results.json", repr(value / 2), repr(value))
    change(folder / "report/results.json", repr(value), repr(value / 2))
    found, *texts = verified(folder).mismatches
    assert (found.where, found.what) == ("base, seed 1", "metrics.forces_mae in results.json of the report")
    assert {one.where for one in texts} >= {"runs.csv", "report.md", "report.html", "differences.csv", "tables.tex"}


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [
        ("runs.csv", r"(no quadruplets,0,\w+,done,,)", r"\g<1>9", "row 3 (no quadruplets, 0), forces_mae"),
        ("where.csv", r"(forces,element,O,no quadruplets,)6", r"\g<1>7", "row 2 (forces, element), atoms"),
        ("figures/learning_curves.csv", r"(base,0,1.0,)", r"\g<1>9", "row 1 (base, 0), forces MAE (meV/Å)"),
        ("report.md", r"seeds:\*\* 2", "seeds:** 9", "line "),
        ("report.html", r"<dt>seeds</dt><dd>2", "<dt>seeds</dt><dd>9", "line "),
        ("tables.tex", r"\$\\pm\$", "$+$", "line "),
        ("figures/parity.svg", "", "", "file"),
        ("curves.csv", r"\n.*\n$", "\n", "row 4 (no quadruplets, 1)"),
    ],
)
def test_a_changed_number_of_the_report_is_named(folder: Path, file: str, old: str, new: str, what: str) -> None:
    path = folder / "report" / file
    if not old:
        path = path.with_name("where_1.svg")
        path.unlink()
    else:
        text = path.read_text(encoding="utf-8")
        changed = re.sub(old, new, text, count=1)
        assert changed != text
        path.write_text(changed, encoding="utf-8")
    (found,) = verified(folder).mismatches
    assert found.where == path.relative_to(folder / "report").as_posix()
    assert found.what.startswith(what)


def test_a_number_that_was_changed_everywhere_is_found_by_doing_its_run_again(folder: Path) -> None:
    """Results, the folder of the run and a report of the changed results agree; only the run itself does not."""
    results = StudyResults.load(folder / "results.json")
    value = results.run(VARIANT, 0).metrics["forces_mae"]
    (record,) = folder.glob("runs/no-quadruplets-*/0-*/result.json")
    for path in (folder / "results.json", record):
        path.write_text(path.read_text().replace(repr(value), repr(0.9 * value)))
    study = synthetic_study(folder, {VARIANT: {"interactions.quadruplet": None}}, 2, SmallLearner())
    study.report()

    assert verified(folder, sample=0).passed
    found = verified(folder, sample=4)
    assert {one.where for one in found.mismatches} == {f"{VARIANT}, seed 0"}
    assert (found.mismatches[-1].what, found.mismatches[-1].found) == ("metrics.forces_mae", repr(value))


def test_changed_code_and_changed_definitions_are_found(folder: Path) -> None:
    found = verified(folder, sample=4, learner=ChangedLearner)
    (one,) = found.mismatches
    assert (one.where, one.what) == (f"{VARIANT}, seed 1", "metrics.forces_mae")

    (record,) = folder.glob("runs/base/1-*/run.json")
    content = json.loads(record.read_text())
    content["spec"]["sizes"]["atom"] = 16
    record.write_text(json.dumps(content))
    found = verified(folder, sample=4)
    assert [(one.where, one.what) for one in found.mismatches] == [
        ("base, seed 1", "hash of spec, data, training, seed and code"),
        ("base, seed 1", "content hash of the spec"),
    ]


def test_another_machine_has_a_tolerance_that_is_stated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "environment", lambda: {"torch": "another", "host": "other"})
    found = verify(folder, 4, 0, 1e-12, learner=ChangedLearner)
    assert found.passed
    assert "with a tolerance of 1e-12, because gemnet_blocks, torch, " in str(found.reruns[0])
    assert not verify(folder, 4, 0, 1e-17, learner=ChangedLearner).passed


def test_the_code_of_learners_runs_only_if_allowed(folder: Path) -> None:
    with pytest.raises(SpecError, match=r"the learner test_verification:SmallLearner did the run, .* --allow-imports"):
        verify(folder, 1)
    assert verify(folder, 0).passed
    assert verify(folder, 1, allow_imports=True).passed


def test_runs_that_fail_when_they_are_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: object) -> Fit:
        raise ValueError("out of luck")

    monkeypatch.setattr(SmallLearner, "fit", fit)
    (found,) = verified(folder, 1).mismatches
    assert (found.what, found.found) == ("run", "failed: ValueError: out of luck")


def test_what_is_not_compared_is_said(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder / "report", tmp_path / "alone")
    with pytest.raises(SpecError, match=r"expected folders of finished runs beside the report, .* or --sample 0"):
        verified(tmp_path / "alone", 2)
    found = verified(tmp_path / "alone")
    assert found.passed
    assert (found.runs, found.reruns) == (0, ())
    assert "the folders of the runs are not beside the report" in found.notes

    with monkeypatch.context() as patch:
        patch.setattr(verification, "generator", lambda: "gemnet_blocks 9.9, matplotlib 9.9")
        change(folder / "report/figures/where_1.svg", "<svg", "<svg ")
        found = verified(folder)
    assert found.passed
    assert "drawings were not compared, because gemnet_blocks" in found.notes[0]
    shutil.rmtree(next(folder.glob("runs/base/0-*")))
    assert "no result is in the folder of base, seed 0" in verified(folder).notes
    for name in ("results.json", "report/results.json"):
        (folder / name).unlink()
    with pytest.raises(SpecError, match=r"expected a report with results\.json in its folder or that of its study"):
        verified(folder)
    with pytest.raises(SpecError, match=r"expected the folder of a report or of a study with a report"):
        verified(tmp_path / "nowhere")
    (folder / "report/results.json").write_text("{}")
    with pytest.raises(SpecError, match=r"report/results\.json: expected results of a study"):
        verified(folder)


def test_the_command_tells_and_exits_with_the_outcome(folder: Path) -> None:
    import typer
    from typer.testing import CliRunner

    from gemnet_blocks.cli.ablate import ablate

    app = typer.Typer()
    app.command()(ablate)
    command = ["--verify", str(folder / "report"), "--sample", "1", "--seed", "3", "--allow-imports"]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0, told.output
    assert "done again" in told.output
    assert told.output.endswith("the report is verified\n")
    change(folder / "report/runs.csv", "base,0", "base,5")
    told = CliRunner().invoke(app, [*command[:2], "--sample", "0"])
    assert told.exit_code == 1
    assert "runs.csv: row 1 (base, 5), seed: recorded 5, found 0" in told.output
    refused = CliRunner().invoke(app, [*command, "--check"])
    assert isinstance(refused.exception, SpecError)


def test_numbers_are_compared_exactly_or_within_a_tolerance() -> None:
    run = RunResult(
        *("base", 0, "k", "done"),
        metrics={"forces_mae": 1.0},
        cost={"training_seconds": 3.0, "steps": 5.0, "edges": 7.0},
        curve=({"step": 1, "seconds": 2.0}, {"step": 2, "forces_mae": 0.5}),
        elements={"Cu": {"atoms": 3}},
    )
    own = numbers(run)
    assert set(comparable(own, 0)) == {
        *("metrics.forces_mae", "cost.steps", "cost.edges", "curve.step", "curve.forces_mae", "elements.Cu.atoms")
    }
    assert set(comparable(own, 0.1)) == {"metrics.forces_mae", "cost.edges", "elements.Cu.atoms"}
    other = numbers(replace(run, metrics={"forces_mae": 1.04, "energy_mae": 1.0}, curve=run.curve[:1]))
    assert [one.what for one in mismatches("base", own, other, 0.05)] == [
        *("curve.forces_mae", "curve.seconds", "curve.step", "metrics.energy_mae")
    ]
    assert "metrics.forces_mae" in [one.what for one in mismatches("base", own, other)]
