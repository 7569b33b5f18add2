"""Studies of a learner that takes no time: what is done, skipped, retried and recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_learners import VARIANTS, SyntheticLearner, fits, small_spec, synthetic_study

from gemnet_blocks.ablation import Fit, HereExecutor, Learner, StudyResults, Task
from gemnet_blocks.ablation.runs.run_folder import slug
from gemnet_blocks.errors import SpecError
from gemnet_blocks.util.locks import only_writer_to_folder

ALL = [f"{name}/{seed}" for seed in (0, 1) for name in ("base", *VARIANTS)]


def run(folder: Path, *arguments, **options) -> StudyResults:
    return synthetic_study(folder, *arguments, **options).run("here", progress=False)


def test_every_variant_is_run_with_every_seed(tmp_path: Path) -> None:
    results = run(tmp_path)
    assert fits(tmp_path) == ALL
    assert results.complete
    assert list(results.values("no quadruplets")) == [0, 1]
    assert results.budget == "equal steps: 10"
    assert results.settings["budget"]["steps"] == 10
    assert results.runs[0].environment["torch"]
    assert StudyResults.load(tmp_path / "results.json") == results


def test_what_is_done_is_skipped(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert run(tmp_path) == first
    assert fits(tmp_path) == ALL


def test_new_variants_and_seeds_alone_are_run(tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path, {**VARIANTS, "wide": {"sizes.edge": 9}}, 3)
    assert fits(tmp_path)[len(ALL) :] == ["wide/0", "wide/1", "base/2", *(f"{name}/2" for name in VARIANTS), "wide/2"]


def test_what_changed_is_run_again(tmp_path: Path) -> None:
    run(tmp_path)
    changed = {**VARIANTS, "fewer functions": {"bases.circular.count": 1}}
    results = run(tmp_path, changed)
    assert fits(tmp_path)[len(ALL) :] == ["fewer functions/0", "fewer functions/1"]
    assert results.complete


def test_another_learner_does_all_anew(tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path, learner=SyntheticLearner(noise=0.5))
    assert fits(tmp_path) == 2 * ALL


def test_failures_are_recorded_and_tried_again(tmp_path: Path) -> None:
    failing = SyntheticLearner(fail=("no quadruplets",))
    results = run(tmp_path, learner=failing, retries=2)
    failed = results.failed()
    assert [(one.variant, one.seed, one.attempts) for one in failed] == [
        ("no quadruplets", 0, 3),
        ("no quadruplets", 1, 3),
    ]
    assert failed[0].error == "ValueError: no quadruplets cannot be learned"
    assert len(results.done()) == 4
    assert [one.attempts for one in run(tmp_path, learner=failing, retries=0).failed()] == [4, 4]


def test_metrics_that_are_no_numbers_are_failures(tmp_path: Path) -> None:
    results = run(tmp_path, learner=SyntheticLearner(noise=float("inf")))
    assert results.failed()[0].error == "ValueError: metrics must be finite, got NaN or infinity for forces_mae"


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"variant": "base"}', '{"key": "other", "variant": "b", "seed": 0}']
)
def test_a_damaged_result_is_made_anew(tmp_path: Path, damage: str) -> None:
    first = run(tmp_path)
    path = next((tmp_path / "runs" / "base").glob("0-*/result.json"))
    path.write_text(damage)
    again = run(tmp_path)
    assert again.values("base") == first.values("base")
    assert fits(tmp_path) == [*ALL, "base/0"]


def test_results_can_be_seen_before_anything_is_run(tmp_path: Path) -> None:
    results = synthetic_study(tmp_path).results()
    assert {one.status for one in results.runs} == {"missing"}
    assert len(results.runs) == 6


def test_the_report_is_written(tmp_path: Path) -> None:
    study = synthetic_study(tmp_path, seeds=6)
    study.run("here", progress=False)
    assert study.report() == tmp_path / "report" / "report.html"
    assert "no quadruplets" in (tmp_path / "report" / "report.html").read_text()


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="cannot be written to"):
        synthetic_study(tmp_path / "file" / "study").check()


def test_a_study_and_a_training_do_not_write_to_one_folder(tmp_path: Path) -> None:
    class Training(Learner):
        needs_data = False

        def fit(self, task: Task, folder: Path) -> Fit:
            with only_writer_to_folder(folder.parents[2], "output"):
                return Fit({"forces_mae": 0.0})

    variants = {"fewer": {"bases.circular.count": 2}}
    failed = run(tmp_path, variants, 1, Training(), retries=0).failed()
    assert [f"{tmp_path} is in use by process" in str(one.error) for one in failed] == [True, True]
    assert not list(tmp_path.glob(".lock*"))
    before = sorted(tmp_path.rglob("*"))
    with only_writer_to_folder(tmp_path, "output"), pytest.raises(SpecError, match=r"output: .* is in use by process"):
        run(tmp_path, variants, 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_names_become_folders_that_differ() -> None:
    names = ["a", "A", "a b", "a-b", "a/b", "../..", "…", "", "x" * 200, "x" * 201]
    assert len({slug(name) for name in names}) == len(names)
    assert all("/" not in slug(name) and "." not in slug(name) and len(slug(name)) < 80 for name in names)


def test_parts_and_learners_of_a_notebook_run_here_only(tmp_path: Path) -> None:
    class Own(Learner):
        needs_data = False

        def fit(self, task: Task, folder: Path) -> Fit:
            return Fit({"forces_mae": float(task.seed)})

    study = synthetic_study(tmp_path, learner=Own())
    with pytest.raises(SpecError, match=r"must be able to import .*Own, which is defined in .*executor=\"here\""):
        study.run("local", progress=False)
    assert study.run(HereExecutor(), progress=False).values("base") == {0: 0.0, 1: 1.0}


def test_runs_that_were_begun_go_on_with_what_they_were_begun_with(tmp_path: Path) -> None:
    """Equal keys may be of specs that are written in two ways."""
    plan = synthetic_study(tmp_path).check()
    one = plan.runs[0]
    one.folder.prepare(one.task, SyntheticLearner().settings())
    before = json.loads((one.folder.path / "run.json").read_text())
    other = replace(one.task, spec=small_spec(**{"neighbors.fade_width": 0.7}))
    one.folder.prepare(other, SyntheticLearner().settings())
    assert json.loads((one.folder.path / "run.json").read_text()) == before
    task, settings = one.folder.task()
    assert (task.spec, task.key) == (one.task.spec, one.task.key)
    assert settings == json.loads(json.dumps(SyntheticLearner().settings()["values"]))


def test_progress_is_told_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic_study(tmp_path, learner=SyntheticLearner(fail=("no quadruplets",)), retries=0).run("here")
    lines = capsys.readouterr().out.splitlines()
    assert any("base, seed 0: done (forces_mae " in line for line in lines)
    assert any(
        line.endswith("no quadruplets, seed 1: failed: ValueError: no quadruplets cannot be learned") for line in lines
    )
