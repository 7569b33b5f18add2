"""Runs as jobs of a cluster, through submitit."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from gemnet_blocks.ablation.runs.executors import Executor, Handle
from gemnet_blocks.ablation.runs.jobs import Work, module_paths
from gemnet_blocks.errors import SpecError

_PAUSE = 2.0
"""Seconds between two questions to the cluster whether a job that was cancelled has ended."""


@final
class SubmititExecutor(Executor):
    """Jobs of a cluster, through submitit.

    Args:
        logs: the folder for submitit's files.
        cluster: slurm, or local for submitit's own processes.
        parameters: of `submitit.AutoExecutor.update_parameters`, such as timeout_min, slurm_partition, gpus_per_node.
        jobs: how many are submitted at once.

    Raises:
        ImportError: submitit is not installed.
        SpecError: there is no Slurm here, or it does not know a parameter.
    """

    on_this_machine = False

    def __init__(
        self, logs: Path, cluster: str = "slurm", parameters: Mapping[str, Any] | None = None, jobs: int | None = None
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise ImportError("clusters need submitit: pip install 'gemnet_blocks[cluster]'") from error
        self.slots = jobs or 64
        try:
            self._executor = submitit.AutoExecutor(folder=logs, cluster=cluster)
            self._executor.update_parameters(**{"timeout_min": 24 * 60, "name": "ablation", **(parameters or {})})
        except (RuntimeError, NameError, TypeError, ValueError) as error:
            raise SpecError(f"executor: {cluster} cannot be used: {error}") from error

    def start(self, folder: Path, token: str, work: Work) -> Handle:
        """Submit a job."""
        return _Job(self._executor.submit(WorkerJob(work.arguments(folder, token), module_paths())))


class WorkerJob:
    """A worker as a job, which is submitted again where the cluster takes its place from it.

    Args:
        arguments: of the worker.
        paths: where modules are looked for besides.
    """

    def __init__(self, arguments: Sequence[str], paths: Sequence[str] = ()) -> None:
        self.arguments, self.paths = list(arguments), list(paths)

    def __call__(self) -> int:
        """Do the run; returns an exit code."""
        sys.path.extend(path for path in self.paths if path not in sys.path)
        from gemnet_blocks.ablation.runs.worker import main

        return main(self.arguments)

    def checkpoint(self) -> Any:
        """What submitit submits when a job is stopped; training goes on from its own checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@final
@dataclass(frozen=True, slots=True)
class _Job(Handle):
    job: Any

    def poll(self) -> int | None:
        if not self.job.done():
            return None
        return int(self.job.result()) if self.job.exception() is None else 1

    def stop(self) -> None:
        self.job.cancel()

    def wait(self, seconds: float) -> None:
        """Wait for the cluster to end it."""
        deadline = time.monotonic() + seconds
        while not self.job.done(force_check=True) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
