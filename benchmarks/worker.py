"""What the workers of both sides share: requests and answers, the clock, and resident memory.

A worker reads one JSON request per line and answers each with one line of JSON. It is run by the interpreter of its own
side, so this file needs nothing but torch.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

# An optimizer imports it when it is made; that is no memory that training takes.
import torch._dynamo
from torch import Tensor, nn

STATUS = Path("/proc/self/status")

Data = TypeVar("Data")
"""What a model is called with."""


class Task(ABC):
    """Something that is measured, made for one case.

    Attributes:
        model: what is measured.
    """

    model: nn.Module

    @abstractmethod
    def run(self) -> dict[str, Any]:
        """Do it once: the seconds, and what else is known of the run."""

    @abstractmethod
    def outputs(self) -> dict[str, Any]:
        """What both sides must agree on, before any training step."""


class Training(Task, Generic[Data]):
    """Steps of AdamW on Σ energies + Σ squared forces.

    Args:
        model: what is trained.
        data: makes what it is called with.
        predict: energies and forces of the model.
    """

    def __init__(
        self, model: nn.Module, data: Callable[[], Data], predict: Callable[[Data], tuple[Tensor, Tensor]]
    ) -> None:
        self.model, self.data, self.predict = model.train(), data, predict
        self.optimizer = torch.optim.AdamW(model.parameters())

    def run(self) -> dict[str, Any]:
        """One step: forward, backward, update."""
        data = self.data()
        seconds = timed(lambda: self._step(data))
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        return {"seconds": seconds, "gradient": float(torch.stack([one.double().norm() for one in gradients]).norm())}

    def outputs(self) -> dict[str, Any]:
        """Energies and forces."""
        energy, forces = self.predict(self.data())
        return {"energy": energy.detach().tolist(), "forces": forces.detach().tolist()}

    def _step(self, data: Data) -> None:
        energy, forces = self.predict(data)
        self.optimizer.zero_grad()
        (energy.sum() + forces.pow(2).sum()).backward()
        self.optimizer.step()


class Prediction(Task, Generic[Data]):
    """Energies and forces without gradients of the weights.

    Args:
        model: what predicts.
        data: makes what it is called with.
        predict: energies and forces of the model.
    """

    def __init__(
        self, model: nn.Module, data: Callable[[], Data], predict: Callable[[Data], tuple[Tensor, Tensor]]
    ) -> None:
        self.model, self.data, self.predict = model.eval(), data, predict

    @torch.no_grad()
    def run(self) -> dict[str, Any]:
        """One prediction."""
        data = self.data()
        return {"seconds": timed(lambda: self.predict(data))}

    @torch.no_grad()
    def outputs(self) -> dict[str, Any]:
        """Energies and forces."""
        energy, forces = self.predict(self.data())
        return {"energy": energy.tolist(), "forces": forces.tolist()}


def timed(function: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def serve(make: Callable[[dict[str, Any]], Task], package: str) -> None:
    """Answer requests until there are no more.

    Args:
        make: makes a task from the request `prepare`.
        package: the distribution that is measured, for its version.
    """
    # what libraries print must not mix with the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with suppress(OSError):  # where memory runs out, this process is the one to go
        Path("/proc/self/oom_score_adj").write_text("1000")
    worker = Worker(make, package)
    for line in sys.stdin:
        try:
            answer = worker.answer(**json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class Worker:
    """Answers requests.

    Args:
        make: makes a task from the request `prepare`.
        package: the distribution that is measured, for its version.
    """

    def __init__(self, make: Callable[[dict[str, Any]], Task], package: str) -> None:
        self.make, self.package = make, package
        self.imported = resident("VmRSS")
        self.task: Task | None = None

    def answer(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer to one request."""
        if do == "versions":
            return self.versions()
        if do == "limit":
            resource.setrlimit(resource.RLIMIT_DATA, (request["bytes"], request["bytes"]))
            return {}
        if do == "prepare":
            self.task = self.make(request)
            return {"parameters": sum(parameter.numel() for parameter in self.task.model.parameters())}
        assert self.task is not None, "nothing was prepared"
        if do == "outputs":
            return self.task.outputs()
        if do == "run":
            return self.task.run()
        if do == "reset_memory":
            with suppress(OSError):  # else the peak is that of the whole process
                Path("/proc/self/clear_refs").write_text("5")
            return {}
        if do == "memory":
            return {"megabytes": (resident("VmHWM") - self.imported) / 1e6}
        raise ValueError(f"unknown request {do!r}")

    def versions(self) -> dict[str, Any]:
        """Versions and threads of this side."""
        packages = {name: version(name) for name in (self.package, "torch", "numpy")}
        return {"python": platform.python_version()} | packages | {"threads": torch.get_num_threads()}


def resident(field: str) -> int:
    """Resident memory in bytes: now (VmRSS) or at most so far (VmHWM); the latter for both where there is no /proc."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field + ":"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
