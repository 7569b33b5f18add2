"""Sequential studies as a whole: which runs are done, when they stop, and that interrupts do not matter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import numpy as np
import pytest
from synthetic_learners import fits, small_spec, synthetic_study
from typer.testing import CliRunner

from gemnet_blocks.ablation import Fit, Learner, Study, StudyResults, Task, bisect
from gemnet_blocks.ablation.report.content import report_files
from gemnet_blocks.ablation.report.factorial import factorial
from gemnet_blocks.ablation.report.looks_section import looks_blocks
from gemnet_blocks.ablation.report.sequential.study_looks import monitored
from gemnet_blocks.ablation.report.tables import compare_study
from gemnet_blocks.ablation.study_schema import json_schema
from gemnet_blocks.cli import app
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.document import dump

SEEDS: dict[str, Any] = {"at_most": 14, "at_least": 6, "step": 4, "futility": None}


@dataclass(frozen=True)
class Planted(Learner):
    """An error that a seed and a variant make, and what a Legendre basis is missing.

    It is interrupted before a run, and runs fail, as files in the folder of the study say.

    Attributes:
        effect: by how much every angular function fewer than 3 raises the error.
        seconds: how long it takes.
    """

    effect: float = 0.03
    seconds: float = 0.0

    needs_data: ClassVar[bool] = False

    def fit(self, task: Task, folder: Path) -> Fit:
        study = folder.parents[2]
        if (study / "stop").exists() and len(fits(study)) == int((study / "stop").read_text()):
            raise KeyboardInterrupt
        name = f"{task.variant}/{task.seed}"
        if (study / "fail").exists() and name in (study / "fail").read_text().splitlines():
            raise ValueError("it exploded")
        time.sleep(self.seconds)
        with (study / "done").open("a") as file:
            file.write(f"{name} {os.getpid()}\n")
        shared = np.random.default_rng(task.seed).normal()
        own = np.random.default_rng([task.seed, len(task.variant)]).normal()
        angular = task.spec.bases.circular.count  # type: ignore[attr-defined]
        return Fit({"forces_mae": 1 + 0.1 * shared + 0.01 * own + self.effect * (3 - angular)})


def sequential(folder: Path, variants: Any = None, seeds: Any = SEEDS, learner: Any = None, **options: Any) -> Study:
    return synthetic_study(folder, variants, seeds, learner or Planted(), **options)


def counted(results: StudyResults) -> dict[str, int]:
    return dict(Counter(run.variant for run in results.runs))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    sequential(folder).run("here", progress=False)
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> StudyResults:
    return StudyResults.load(folder / "results.json")


@pytest.fixture(scope="module")
def report(whole: StudyResults) -> dict[str, str]:
    return dict(report_files(whole))


def test_a_variant_that_is_decided_gets_no_more_seeds(folder: Path, whole: StudyResults) -> None:
    assert whole.complete
    assert counted(whole) == {"base": 14, "no quadruplets": 14, "fewer functions": 10}
    assert len(fits(folder)) == len(whole.runs)
    assert whole.seeds == tuple(range(14))
    table = whole.table()
    assert list(table["verdict"]) == ["no difference shown", "worse"]
    assert list(table["planned"]) == [14, 10]
    assert sequential(folder).run("here", progress=False) == whole
    assert len(fits(folder)) == len(whole.runs)


def content(results: StudyResults) -> list[object]:
    """Everything that a report shows."""
    return [results.seeds, results.variants, *(replace(run, attempts=0) for run in results.runs)]


def test_runs_that_are_done_already_change_nothing(tmp_path: Path, whole: StudyResults) -> None:
    sequential(tmp_path, seeds=14).run("here", progress=False)
    study = sequential(tmp_path)
    results = study.run("here", progress=False)

    assert results == study.results() == whole
    assert len(fits(tmp_path)) == 42 > len(results.runs)


@pytest.mark.parametrize("fit", [18, 29])
def test_a_study_that_was_killed_goes_on_to_the_same_results(
    tmp_path: Path, whole: StudyResults, report: dict[str, str], fit: int
) -> None:
    study = sequential(tmp_path)
    (tmp_path / "stop").write_text(str(fit))
    with pytest.raises(KeyboardInterrupt):
        study.run("here", progress=False)
    assert len(fits(tmp_path)) == fit
    assert not study.results().complete
    (tmp_path / "stop").unlink()
    results = sequential(tmp_path).run("here", progress=False)

    assert Counter(fits(tmp_path)) == {f"{run.variant}/{run.seed}": 1 for run in whole.runs}
    assert content(results) == content(whole)
    if fit == 18:  # between two looks
        assert report_files(results) == report


DRIVER = """
import sys
from pathlib import Path
from test_sequential_studies import Planted, sequential
sequential(Path(sys.argv[1]), learner=Planted(seconds=0.2)).run("here")
"""


@pytest.mark.slow
def test_killed_drivers_are_taken_over_from(tmp_path: Path) -> None:
    """Two drivers share the runs until both are killed, one in each look; another one ends the study."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    drivers = [subprocess.Popen(command, env=environment) for _ in range(2)]
    for driver, count in zip(drivers, (8, 21), strict=True):
        while len(fits(tmp_path)) < count and driver.poll() is None:
            time.sleep(0.05)
        driver.kill()
        driver.wait()
    learner = Planted(seconds=0.2)
    assert not sequential(tmp_path, learner=learner).results().complete
    found = sequential(tmp_path, learner=learner).run("here", progress=False)
    alone = sequential(tmp_path / "alone", learner=learner).run("here", progress=False)
    assert content(found) == content(alone)


def test_failed_runs_are_tried_again_before_a_look(tmp_path: Path, whole: StudyResults) -> None:
    (tmp_path / "fail").write_text("base/1\nfewer functions/3")
    failed = sequential(tmp_path, retries=0).run("here", progress=False)
    assert [(run.variant, run.seed) for run in failed.failed()] == [("base", 1), ("fewer functions", 3)]
    assert list(failed.table()["pairs"]) == [13, counted(failed)["fewer functions"] - 2]
    assert failed.table().loc["fewer functions", "verdict"] == "worse"
    (tmp_path / "fail").unlink()
    results = sequential(tmp_path, retries=0).run("here", progress=False)

    assert content(results) == content(whole)


def test_a_variant_that_always_fails_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / "fail").write_text("\n".join(f"no quadruplets/{seed}" for seed in range(14)))
    results = sequential(tmp_path, retries=0).run("here", progress=False)

    assert counted(results) == {"base": 10, "no quadruplets": 6, "fewer functions": 10}
    assert results.table().loc["no quadruplets", "verdict"] == "inconclusive"
    assert monitored(results).comparison("no quadruplets").decision == "no pairs"


def test_looks_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sequential(tmp_path, seeds={**SEEDS, "effect": 0.02}).run("here")
    lines = capsys.readouterr().out.splitlines()
    pilot = lines.index("  number of seeds, from the spread of the differences in this pilot")

    assert "look 1 of 3, 6 seeds" in lines
    assert "a difference of 2.0 % needs about" in lines[pilot + 1]
    assert any(re.match(r"\[1/\d+\] base, seed 6: done", line) for line in lines[pilot:])  # before the long run goes on
    assert any(line.startswith("  fewer functions: differs from the base (p = ") for line in lines)


def test_the_report_of_a_sequential_study(report: dict[str, str]) -> None:
    text = report["report.md"]

    assert "## Looks" in text
    assert "| 2 | fewer functions | differs from the base | 2 of 3 | 10 |" in text
    assert "The study took 38 runs. A fixed design with the same error rate and power takes" in text
    assert "14 seeds find a difference of" in text
    assert "at every look" in text
    assert "Decided at look 2 with 10 of at most 14 seeds (p = 0.002; the bound is 0.0" in text
    assert report["figures/looks.svg"].startswith("<?xml")
    rows = report["looks.csv"].splitlines()
    assert len(rows) == 1 + 3 + 2
    assert rows[0].startswith("variant,look,seeds,pairs,information,p,bound")
    assert "missing" not in text.split("## Errors")[1].split("##")[0]


def test_a_report_before_the_first_look(tmp_path: Path) -> None:
    results = sequential(tmp_path).results()

    assert counted(results) == {"base": 6, "no quadruplets": 6, "fewer functions": 6}
    assert len(looks_blocks(results, compare_study(results))) == 2
    assert set(results.table()["verdict"]) == {"inconclusive"}


def test_all_combinations_of_factors_get_the_same_seeds(tmp_path: Path) -> None:
    factors = {"quadruplet": ["on", "off"], "bases.circular.count": [3, 2]}
    results = sequential(tmp_path, {}, {"at_most": 8}, factors=factors).run("here", progress=False)

    assert len(set(counted(results).values())) == 1
    assert factorial(results, "forces_mae").seeds == results.seeds


def test_controls_are_compared_like_variants(tmp_path: Path) -> None:
    match = {"parameters": "sizes.edge", "tolerance": 0.04}
    results = sequential(tmp_path, seeds={"at_most": 8}, match=match).run("here", progress=False)

    assert results.complete
    assert results.table().loc["no quadruplets (matched)", "verdict"] == "no difference shown"
    assert monitored(results).design.level == pytest.approx(0.05 / 3)


STUDY = """\
base: base.yaml
variants: {fewer: {bases.circular.count: 2}}
budget: {steps: 5}
seeds: {at_most: 24}
"""


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ("{at_most: 24, alhpa: 0.1}", r"study\.yaml:4: seeds\.alhpa: unknown field; did you mean 'alpha'\?"),
        ("{at_least: 8}", r"study\.yaml:4: seeds\.at_most: is missing"),
        ("{at_most: 4}", r"study\.yaml:4: seeds\.at_most: must be at least 6, got 4"),
        ("{at_most: 24, at_least: 30}", r"study\.yaml:4: seeds: at_least must not exceed at_most, got 30 and 24"),
        ("{at_most: 24, spending: obrien}", r"seeds\.spending: must be 'obrien_fleming' or 'pocock', got 'obrien'"),
        ("{at_most: 24, power: 80}", r"seeds\.power: must be at most 0\.99, got 80"),
        ("{at_most: 24, effect: 0}", r"seeds\.effect: must be greater than 0, got 0"),
        ("{at_most: true}", r"seeds\.at_most: must be an integer, got true"),
        ("twelve", r"seeds: must be a list of seeds or a number of seeds from 1 to 10000, got 'twelve'; for a seq"),
    ],
)
def test_mistakes_name_the_entry(tmp_path: Path, seeds: str, told: str) -> None:
    (tmp_path / "base.yaml").write_text(dump(small_spec().to_dict()))
    (tmp_path / "study.yaml").write_text(STUDY.replace("{at_most: 24}", seeds))
    with pytest.raises(SpecError, match=told):
        Study.from_file(tmp_path / "study.yaml", learner=Planted())


def test_too_few_seeds_for_all_variants_are_an_error(tmp_path: Path) -> None:
    variants = {f"{count} atoms": {"sizes.atom": count} for count in range(9, 13)}
    with pytest.raises(SpecError, match=r"seeds\.at_most: 7 seeds cannot show any difference among 4 variants at the"):
        sequential(tmp_path, variants, seeds={"at_most": 7}).check()
    sequential(tmp_path, variants, seeds={"at_most": 8}).check()


def test_a_plan_that_is_changed_after_the_first_runs_is_warned_of(tmp_path: Path) -> None:
    only = {"fewer functions": {"bases.circular.count": 2}}
    sequential(tmp_path, only, {"at_most": 7, "at_least": 7}).run("here", progress=False)
    with pytest.warns(UserWarning, match=r"^seeds: the plan of the looks was changed .* \(at_most from 7 to 8\): if"):
        sequential(tmp_path, only, {"at_most": 8, "at_least": 7}).run("here", progress=False)


def test_bisections_need_a_fixed_number_of_seeds(tmp_path: Path) -> None:
    other = small_spec(**{"blocks.count": 2})
    with pytest.raises(SpecError, match=r"seeds: a bisection needs a fixed number of seeds, got a sequential study"):
        bisect(sequential(tmp_path), other)


def test_a_study_file_and_its_check(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(dump(small_spec().to_dict()))
    (tmp_path / "study.yaml").write_text(STUDY)
    study = Study.from_file(tmp_path / "study.yaml", {"seeds.at_least": 8, "seeds.alpha": 0.1}, learner=Planted())
    options = study.document.options.sequential
    assert options is not None
    assert (options.looks, options.alpha, study.seeds) == ((8, 12, 16, 20, 24), 0.1, tuple(range(24)))
    fixed = Study.from_file(tmp_path / "study.yaml", {"seeds": 7}, learner=Planted())
    assert (fixed.document.options.sequential, fixed.seeds) == (None, tuple(range(7)))
    (tmp_path / "more.yaml").write_text("extends: study.yaml\nseeds: 3\n")
    again = Study.from_file(tmp_path / "more.yaml", {"seeds.at_most": 9}, learner=Planted())
    assert again.seeds == tuple(range(9))

    schema = json_schema()
    valid = jsonschema.Draft202012Validator(schema["properties"]["seeds"] | {"$defs": schema["$defs"]})
    assert valid.is_valid({"at_most": 24, "effect": 0.05, "futility": None})
    assert not valid.is_valid({"at_most": 24, "efect": 0.05})
    assert not valid.is_valid({"at_least": 24})


def test_check_tells_the_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemnet_blocks.ablation.study.TrainingLearner", Planted)
    (tmp_path / "base.yaml").write_text(dump(small_spec().to_dict()))
    (tmp_path / "study.yaml").write_text(STUDY)
    shown = CliRunner().invoke(app, ["ablate", str(tmp_path / "study.yaml"), "--check"])

    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.output.split())
    assert "0 of at most 24" in text
    assert "Looks after 6, 11, 16, 21 and 24 seeds, with an error rate of 0.05" in text
