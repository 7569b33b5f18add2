"""Studies in processes that are killed, that fail, and that work on one folder together."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from synthetic_learners import VARIANTS, SyntheticLearner, fits, synthetic_study

from gemnet_blocks.ablation import StudyResults, SubmititExecutor

ALL = Counter(f"{name}/{seed}" for seed in (0, 1) for name in ("base", *VARIANTS))

DRIVER = """
import sys
from pathlib import Path
from synthetic_learners import SyntheticLearner, synthetic_study
synthetic_study(Path(sys.argv[1]), learner=SyntheticLearner(seconds=0.5)).run("local", processes=2)
"""


def driver(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    log = (folder / "driver.log").open("ab")
    return subprocess.Popen([sys.executable, "-c", DRIVER, str(folder)], env=environment, stdout=log, stderr=log)


def content(results: StudyResults) -> list[object]:
    """Everything but times, attempts and machines."""
    return [(one.variant, one.seed, one.key, one.status, one.metrics, one.curve) for one in results.runs]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """The results of a study that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return synthetic_study(folder, learner=SyntheticLearner(seconds=0.5)).run("here", progress=False)


@pytest.mark.slow
def test_killed_drivers_are_taken_over_from(tmp_path: Path, whole: StudyResults) -> None:
    """Killed at random points, twice; then two at once end with what one would have."""
    chance = random.Random(0)
    for _ in range(2):
        one = driver(tmp_path)
        time.sleep(chance.uniform(6, 12))
        one.kill()
        one.wait()
    pair = [driver(tmp_path) for _ in range(2)]
    for one in pair:
        assert one.wait(240) == 0, (tmp_path / "driver.log").read_text()
    study = synthetic_study(tmp_path, learner=SyntheticLearner(seconds=0.5))
    assert content(study.results()) == content(whole)
    assert Counter(fits(tmp_path)) == ALL


@pytest.mark.slow
def test_killed_workers_are_started_again(tmp_path: Path) -> None:
    study = synthetic_study(tmp_path, {"fewer": {"bases.circular.count": 2}}, 1, SyntheticLearner(die=1), retries=1)
    results = study.run("local", processes=2, progress=False)
    assert results.complete
    assert [one.attempts for one in results.runs] == [2, 2]
    assert sorted(fits(tmp_path)) == ["base/0", "fewer/0"]


def test_workers_that_are_killed_too_often_are_failures(tmp_path: Path) -> None:
    study = synthetic_study(tmp_path, {"fewer": {"bases.circular.count": 2}}, 1, SyntheticLearner(die=1), retries=0)
    results = study.run("local", processes=2, progress=False)
    assert [one.status for one in results.runs] == ["failed", "failed"]
    assert "killed by signal 9" in str(results.runs[0].error)


@pytest.mark.slow
def test_workers_end_with_their_driver(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    one = driver(folder)
    deadline = time.monotonic() + 60
    while not list(folder.glob("runs/*/*/progress")) and time.monotonic() < deadline:
        time.sleep(0.01)
    one.send_signal(signal.SIGINT)
    assert one.wait(60) != 0
    assert not list(folder.glob("runs/*/*/claim.json"))
    assert len(fits(folder)) < 6


def test_jobs_of_submitit(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    study = synthetic_study(tmp_path / "study", {"fewer": {"bases.circular.count": 2}}, 1)
    executor = SubmititExecutor(tmp_path / "jobs", cluster="local", parameters={"timeout_min": 5})
    results = study.run(executor, progress=False)
    assert results.complete
    assert sorted(fits(tmp_path / "study")) == ["base/0", "fewer/0"]
    pids = {line.rsplit(" ", 1)[1] for line in (tmp_path / "study" / "done").read_text().splitlines()}
    assert str(os.getpid()) not in pids
    assert len(pids) == 2
