"""How runs are started and stopped, without starting any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic_learners import synthetic_study

from gemnet_blocks.ablation import Executor, ProcessExecutor
from gemnet_blocks.ablation.runs.executors import Handle
from gemnet_blocks.ablation.runs.jobs import Work
from gemnet_blocks.ablation.runs.run_folder import FILE, owner, process_start


@pytest.mark.parametrize(
    ("processes", "runs", "slots"), [(None, None, 6), (None, 2, 2), (None, 100, 6), (4, 2, 2), (4, None, 4), (2, 0, 1)]
)
def test_no_more_processes_than_runs_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, processes: int | None, runs: int | None, slots: int
) -> None:
    monkeypatch.setattr("gemnet_blocks.ablation.runs.executors.cores", lambda: 6)
    monkeypatch.setattr("gemnet_blocks.ablation.runs.executors._gpus", list)
    assert ProcessExecutor(processes, runs).slots == slots


class Job(Handle):
    """A job that a worker of a cluster does, and which takes its time to end."""

    def __init__(self, ends: bool) -> None:
        self.ends, self.stopped = ends, False

    def poll(self) -> int | None:
        if not self.stopped:
            raise KeyboardInterrupt
        return 143 if self.ends else None

    def stop(self) -> None:
        self.stopped = True

    def wait(self, seconds: float) -> None:
        """It takes longer than that."""


class Cluster(Executor):
    """A worker that takes a run over at once."""

    slots = 1

    def __init__(self, ends: bool) -> None:
        self.ends = ends
        self.folders: list[Path] = []

    def start(self, folder: Path, token: str, work: Work) -> Handle:
        claim = json.loads((folder / FILE).read_text())
        (folder / FILE).write_text(json.dumps({**claim, "pid": 1, "started": process_start(1)}))
        self.folders.append(folder)
        return Job(self.ends)


@pytest.mark.parametrize("ends", [True, False])
def test_a_stopped_study_gives_up_only_what_has_ended(tmp_path: Path, ends: bool) -> None:
    cluster = Cluster(ends)
    with pytest.raises(KeyboardInterrupt):
        synthetic_study(tmp_path).run(cluster, progress=False)
    assert [owner(folder) is None for folder in cluster.folders] == [ends]
