"""Processes that train together, as torchrun or Slurm started them, and signals that stop them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Literal

import torch

Device = Literal["auto", "cpu", "cuda"]
"""The device; auto: a CUDA device if there is one."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run.

    Attributes:
        rank: the number of this process, from 0.
        world: the number of processes.
        nodes: the number of machines.
    """

    rank: int = 0
    world: int = 1
    nodes: int = 1

    @property
    def per_node(self) -> int:
        """The number of processes per machine."""
        return self.world // self.nodes

    def device(self, wanted: Device) -> torch.device:
        """The device of this process: of several GPUs, the one with the number of the process on its machine."""
        if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
            return torch.device("cpu")
        return torch.device("cuda", self.rank % self.per_node)

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] | None = None) -> Processes:
        """Read the environment variables of torchrun or Slurm's srun; one process without them.

        Args:
            environment: the variables; None: those of this process.
        """
        given = os.environ if environment is None else environment
        if "RANK" in given and "WORLD_SIZE" in given:
            world = int(given["WORLD_SIZE"])
            return cls(int(given["RANK"]), world, max(1, world // int(given.get("LOCAL_WORLD_SIZE", world))))
        interactive = given.get("SLURM_JOB_NAME") in ("bash", "interactive")
        if "SLURM_PROCID" in given and "SLURM_NTASKS" in given and not interactive:
            world = int(given["SLURM_NTASKS"])
            nodes = int(given.get("SLURM_STEP_NUM_NODES", given.get("SLURM_NNODES", "1")))
            return cls(int(given["SLURM_PROCID"]), world, nodes)
        return cls()


STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name))
"""The signals of Ctrl-C, kill, schedulers and a closed terminal."""


@contextmanager
def stop_signals(request_stop: Callable[[int], None]) -> Iterator[None]:
    """Call a function, with the number of the signal, on signals to stop inside the block.

    The second Ctrl-C interrupts immediately. Outside the main thread, where Python delivers no signals, nothing
    changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        request_stop(number)

    # ignored signals stay ignored: nohup ignores the closing of the terminal
    before = {number: signal.getsignal(number) for number in STOPPING}
    handled = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
