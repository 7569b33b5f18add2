"""Runs in processes of this machine, which share its cores and GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import final

from gemnet_blocks.ablation.environment import cores
from gemnet_blocks.ablation.runs.executors import Executor, Handle
from gemnet_blocks.ablation.runs.jobs import Work, module_paths
from gemnet_blocks.ablation.runs.run_folder import LOG
from gemnet_blocks.errors import SpecError

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
