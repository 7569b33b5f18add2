"""Where runs are done: the contract, and this very process."""

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

from gemnet_blocks.ablation.runs.jobs import Work, module_paths
from gemnet_blocks.ablation.runs.run_folder import LOG
from gemnet_blocks.ablation.runs.worker import cores
from gemnet_blocks.errors import SpecError


class Handle(ABC):
    """A run that has been started."""

    @abstractmethod
    def poll(self) -> int | None:
        """The exit code of its worker, negative for the signal that killed it; None while it runs."""

    @abstractmethod
    def stop(self) -> None:
        """Tell it to save its state and end."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Wait so long for it to end, and then end it, where that can be done from here."""


class Executor(ABC):
    """Starts runs."""

    slots: int
    """How many runs it does at once."""

    on_this_machine: ClassVar[bool] = True
    """Whether runs are done by the machine of the driver."""

    @abstractmethod
    def start(self, folder: Path, token: str, work: Work) -> Handle:
        """Start the run of a folder.

        Args:
            folder: of the run.
            token: of the claim that the worker takes over.
            work: what it needs besides.
        """

    def check(self, work: Work) -> None:
        """Check that workers can be started.

        Raises:
            SpecError: they cannot.
            ImportError: a package is missing.
        """
        work.arguments(Path(), "")


@final
class HereExecutor(Executor):
    """This very process, one run after another: for notebooks with parts of their own, and small studies."""

    slots = 1

    def start(self, folder: Path, token: str, work: Work) -> Handle:
        """Do the run, now."""
        from gemnet_blocks.ablation.runs.worker import work as do

        code = do(folder, work.learner, work.catalog(), token)
        if code > 128:  # what stops a run here, stops the study
            raise KeyboardInterrupt
        return _Ended(code)

    def check(self, work: Work) -> None:
        """Nothing needs to be imported."""


@final
@dataclass(frozen=True, slots=True)
class _Ended(Handle):
    code: int

    def poll(self) -> int | None:
        return self.code

    def stop(self) -> None:
        """It has ended."""

    def wait(self, seconds: float) -> None:
        """It has ended."""


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


MOST_PROCESSES = 8
"""How many processes there are at most if nobody says how many: each holds a model and its data."""


@final
class ProcessExecutor(Executor):
    """Processes of this machine: what one of them does to itself concerns no other run.

    The cores are shared: with n processes, each computes with 1/n of them. GPUs go to processes in turn.

    Args:
        processes: how many at once; None: as many as there are GPUs; without any, as there are cores, up to 8.
        runs: how many there are to do; no more processes share the cores.
    """

    def __init__(self, processes: int | None = None, runs: int | None = None) -> None:
        if processes is not None and processes < 1:
            raise SpecError(f"processes: must be at least 1, got {processes}")
        self._gpus = _gpus()
        wanted = processes or len(self._gpus) or min(cores(), MOST_PROCESSES)
        self.slots = wanted if runs is None else max(1, min(wanted, runs))
        self._started = 0

    def start(self, folder: Path, token: str, work: Work) -> Handle:
        """Start a process."""
        command = [sys.executable, "-m", "gemnet_blocks.ablation.runs.worker", *work.arguments(folder, token)]
        command.append(f"--parent={os.getpid()}")
        environment = {**os.environ, **_threads(max(1, cores() // self.slots))}
        environment["PYTHONPATH"] = os.pathsep.join(module_paths())
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
                start_new_session=True,  # Ctrl-C is for the driver, which tells its workers
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


def _threads(count: int) -> dict[str, str]:
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(count))


def _gpus() -> list[str]:
    """The GPUs of this machine, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return given.split(",")[:count] if given else [str(index) for index in range(count)]
