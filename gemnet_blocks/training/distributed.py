"""How many processes train together, as torchrun or Slurm started them."""

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
"""What is computed on; auto: a CUDA device if there is one."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run.

    Attributes:
        rank: the number of this one, from 0.
        world: how many there are.
        nodes: on how many machines.
    """

    rank: int = 0
    world: int = 1
    nodes: int = 1

    @property
    def per_node(self) -> int:
        """How many are on one machine."""
        return self.world // self.nodes

    def device(self, wanted: Device) -> torch.device:
        """The device of this process, of several the one with its number on its machine."""
        if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
            return torch.device("cpu")
        return torch.device("cuda", self.rank % self.per_node)

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] | None = None) -> Processes:
        """What the variables of torchrun say, or those of Slurm's srun; one process without any.

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
"""Ctrl-C, what kill and schedulers send, and a terminal that is closed."""


@contextmanager
def stopping(wish: Callable[[int], None]) -> Iterator[None]:
    """Hand signals to stop to `wish` inside the block; the second Ctrl-C interrupts at once.

    Outside of the main thread, where Python delivers no signals, nothing changes.

    Args:
        wish: called with the number of the signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        wish(number)

    # what is ignored stays so: nohup ignores that the terminal is closed
    before = {number: signal.getsignal(number) for number in STOPPING}
    handled = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
