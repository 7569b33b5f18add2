"""Executors start runs in this process, in processes of this machine, or as jobs of a cluster.

Jobs of clusters are submitit's. Its local executor is not used for processes of this machine: it kills a job one second
after an interrupt, which is too short to save a checkpoint, hides exit codes and signals, limits the time of a job,
lets jobs outlive the driver, and knows GPUs by index only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch

from gemnet_blocks.ablation.runs import worker
from gemnet_blocks.ablation.runs.jobs import Work, module_paths
from gemnet_blocks.ablation.runs.run_folder import LOG
from gemnet_blocks.ablation.runs.worker import cores
from gemnet_blocks.errors import SpecError


class Handle(ABC):
    """A run that has been started."""

    @abstractmethod
    def poll(self) -> int | None:
        """Return the exit code of the worker, negative for the signal that killed it, or None while it runs."""

    @abstractmethod
    def stop(self) -> None:
        """Tell the worker to save its state and end."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Wait at most `seconds` for the worker to end, then kill it if the executor can."""


class Executor(ABC):
    """Base class of executors, which start runs."""

    slots: int
    """Number of runs that are active at once."""

    on_this_machine: ClassVar[bool] = True
    """Whether runs are done by the machine of the driver."""

    @abstractmethod
    def start(self, folder: Path, token: str, work: Work) -> Handle:
        """Start the run of a folder.

        Args:
            folder: folder of the run.
            token: token of the claim that the worker takes over.
            work: learner and components for the worker.
        """

    def check(self, work: Work) -> None:
        """Check that workers can be started.

        Raises:
            SpecError: a worker could not import one of its classes.
            ImportError: a package is missing.
        """
        work.arguments(Path(), "")


@final
class HereExecutor(Executor):
    """Executor for notebooks with custom components and for small studies: one run after another in this process."""

    slots = 1

    def start(self, folder: Path, token: str, work: Work) -> Handle:
        code = worker.work(folder, work.learner, work.catalog(), token)
        if code > 128:  # a signal that stops a run in this process stops the study
            raise KeyboardInterrupt
        return _Ended(code)

    def check(self, work: Work) -> None:
        """Accept all classes: no other process imports them."""


@final
@dataclass(frozen=True, slots=True)
class _Ended(Handle):
    code: int

    def poll(self) -> int | None:
        return self.code

    def stop(self) -> None:
        pass

    def wait(self, seconds: float) -> None:
        pass


_POLL_INTERVAL = 2.0
"""Seconds between two queries for the state of a canceled job."""


@final
class SubmititExecutor(Executor):
    """Executor that submits runs as jobs of a cluster through submitit.

    Args:
        logs: folder for submitit's files.
        cluster: `slurm`, or `local` for submitit's processes on this machine.
        parameters: parameters of `submitit.AutoExecutor.update_parameters`, such as timeout_min, slurm_partition or
            gpus_per_node.
        jobs: number of jobs that are queued or running at once; 64 by default.

    Raises:
        ImportError: submitit is not installed.
        SpecError: the cluster is not available, or does not accept a parameter.
    """

    on_this_machine = False

    def __init__(
        self, logs: Path, cluster: str = "slurm", parameters: Mapping[str, Any] | None = None, jobs: int | None = None
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise ImportError("clusters need submitit: pip install 'gemnet_blocks[train]'") from error
        self.slots = jobs or 64
        try:
            self._executor = submitit.AutoExecutor(folder=logs, cluster=cluster)
            self._executor.update_parameters(**{"timeout_min": 24 * 60, "name": "ablation", **(parameters or {})})
        except (RuntimeError, NameError, TypeError, ValueError) as error:
            raise SpecError(f"executor: {cluster} cannot be used: {error}") from error

    def start(self, folder: Path, token: str, work: Work) -> Handle:
        return _Job(self._executor.submit(WorkerJob(work.arguments(folder, token), module_paths())))


class WorkerJob:
    """A worker as a job, which submitit submits again after a preemption or timeout.

    Args:
        arguments: command-line arguments of the worker.
        paths: additional module search paths.
    """

    def __init__(self, arguments: Sequence[str], paths: Sequence[str] = ()) -> None:
        self.arguments, self.paths = list(arguments), list(paths)

    def __call__(self) -> int:
        """Do the run and return the exit code."""
        sys.path.extend(path for path in self.paths if path not in sys.path)
        return worker.main(self.arguments)

    def checkpoint(self) -> Any:
        """Return the job to submit after a preemption or timeout; training resumes from its own checkpoint."""
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
        deadline = time.monotonic() + seconds
        while not self.job.done(force_check=True) and time.monotonic() < deadline:
            time.sleep(_POLL_INTERVAL)


MOST_PROCESSES = 8
"""The default limit on the number of processes, each of which holds a model and its data."""


@final
class ProcessExecutor(Executor):
    """Executor that starts a process of this machine for each run, which isolates runs from each other.

    The processes share the cores equally, and take the GPUs in turn.

    Args:
        processes: number of processes at once; None: one for each GPU, or without GPUs one for each core, at most 8.
        runs: number of runs; there are no more processes than runs.

    Raises:
        SpecError: `processes` is not positive.
    """

    def __init__(self, processes: int | None = None, runs: int | None = None) -> None:
        if processes is not None and processes < 1:
            raise SpecError(f"processes: must be at least 1, got {processes}")
        self._gpus = _gpus()
        wanted = processes or len(self._gpus) or min(cores(), MOST_PROCESSES)
        self.slots = wanted if runs is None else max(1, min(wanted, runs))
        self._started = 0

    def start(self, folder: Path, token: str, work: Work) -> Handle:
        command = [sys.executable, "-m", "gemnet_blocks.ablation.runs.worker", *work.arguments(folder, token)]
        command.append(f"--parent={os.getpid()}")
        threads = str(max(1, cores() // self.slots))
        environment = {
            **os.environ,
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads),
            "PYTHONPATH": os.pathsep.join(module_paths()),
        }
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[self._started % len(self._gpus)]
        self._started += 1
        with (folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only the driver, which then stops its workers
            )
        return _Process(process)


@final
@dataclass(frozen=True, slots=True)
class _Process(Handle):
    process: subprocess.Popen[bytes]

    def poll(self) -> int | None:
        return self.process.poll()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()

    def wait(self, seconds: float) -> None:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _gpus() -> list[str]:
    """Return the GPUs of this machine as `CUDA_VISIBLE_DEVICES` names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return given.split(",")[:count] if given else [str(index) for index in range(count)]
