"""Shared code of the workers of both implementations: requests and answers, timing, and resident memory.

A worker reads one JSON request per line and answers each with one line of JSON. Each worker is run by the interpreter
of its implementation, so this file may import only torch and the standard library.
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

# Optimizers import this module when they are created; the memory of training should not include it.
import torch._dynamo
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

STATUS = Path("/proc/self/status")

Data = TypeVar("Data")
"""Type of the input of a model."""


class Task(ABC):
    """Computation that is measured for one case.

    Attributes:
        model: the measured model.
    """

    model: nn.Module

    @abstractmethod
    def run(self) -> dict[str, Any]:
        """Run once and return the seconds and further results of the run."""

    @abstractmethod
    def outputs(self) -> dict[str, Any]:
        """Return the outputs before any training step, on which both implementations must agree."""


class Training(Task, Generic[Data]):
    """Steps of AdamW on Σ energies + Σ squared forces.

    Args:
        model: the trained model.
        data: creates the input of the model.
        predict: computes energies and forces.
    """

    def __init__(
        self, model: nn.Module, data: Callable[[], Data], predict: Callable[[Data], tuple[Tensor, Tensor]]
    ) -> None:
        self.model, self.data, self.predict = model.train(), data, predict
        self.optimizer = torch.optim.AdamW(model.parameters())

    def run(self) -> dict[str, Any]:
        """Perform one step: forward pass, backward pass, update."""
        data = self.data()
        seconds = timed(lambda: self._step(data))
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        return {"seconds": seconds, "gradient": float(torch.stack([one.double().norm() for one in gradients]).norm())}

    def outputs(self) -> dict[str, Any]:
        """Return energies and forces."""
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
        model: the model.
        data: creates the input of the model.
        predict: computes energies and forces.
    """

    def __init__(
        self, model: nn.Module, data: Callable[[], Data], predict: Callable[[Data], tuple[Tensor, Tensor]]
    ) -> None:
        self.model, self.data, self.predict = model.eval(), data, predict

    @torch.no_grad()
    def run(self) -> dict[str, Any]:
        """Perform one prediction."""
        data = self.data()
        return {"seconds": timed(lambda: self.predict(data))}

    @torch.no_grad()
    def outputs(self) -> dict[str, Any]:
        """Return energies and forces."""
        energy, forces = self.predict(self.data())
        return {"energy": energy.tolist(), "forces": forces.tolist()}


def on_gpu() -> bool:
    """Return True if this process computes on a CUDA device."""
    return torch.cuda.is_available() and torch.cuda.is_initialized()


def synchronize() -> None:
    """Wait until the CUDA device has finished; do nothing on the CPU."""
    if on_gpu():
        torch.cuda.synchronize()


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes, including the work of a CUDA device."""
    synchronize()
    start = time.perf_counter()
    function()
    synchronize()
    return time.perf_counter() - start


def launches(function: Callable[[], object]) -> int:
    """Count the kernels that a call launches on a CUDA device; on the CPU, the operations of torch in it."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu() else [])]
    with profile(activities=kinds) as found:
        function()
        synchronize()
    if on_gpu():
        return sum(event.device_type == DeviceType.CUDA for event in found.events())
    return sum(event.cpu_parent is None for event in found.events())  # others are called by operations


def serve(make: Callable[[dict[str, Any]], Task], package: str) -> None:
    """Answer requests until standard input ends.

    Args:
        make: creates a task from a `prepare` request.
        package: name of the measured distribution, whose version is reported.
    """
    # the output of libraries must not mix with the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with suppress(OSError):  # if memory runs out, the system should kill this process
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
    """Answer requests.

    Args:
        make: creates a task from a `prepare` request.
        package: name of the measured distribution, whose version is reported.
    """

    def __init__(self, make: Callable[[dict[str, Any]], Task], package: str) -> None:
        self.make, self.package = make, package
        self.imported = resident("VmRSS")
        self.task: Task | None = None

    def answer(self, do: str, **request: Any) -> dict[str, Any]:
        """Return the answer to one request."""
        if do == "versions":
            return self.versions()
        if do == "limit":
            resource.setrlimit(resource.RLIMIT_DATA, (request["bytes"], request["bytes"]))
            return {}
        if do == "prepare":
            self.task = self.make(request)
            return {"parameters": sum(parameter.numel() for parameter in self.task.model.parameters())}
        assert self.task is not None, "expected a request `prepare` first"
        if do == "outputs":
            return self.task.outputs()
        if do == "run":
            return self.task.run()
        if do == "reset_memory":
            with suppress(OSError):  # otherwise the peak covers the whole process
                Path("/proc/self/clear_refs").write_text("5")
            if on_gpu():
                torch.cuda.reset_peak_memory_stats()
            return {}
        if do == "launches":
            return {"launches": launches(self.task.run)}
        if do == "memory":
            peak = torch.cuda.max_memory_allocated() if on_gpu() else resident("VmHWM") - self.imported
            return {"megabytes": peak / 1e6}
        raise ValueError(f"unknown request {do!r}")

    def versions(self) -> dict[str, Any]:
        """Return the versions and the number of threads of this implementation."""
        packages = {name: version(name) for name in (self.package, "torch", "numpy")}
        return {"python": platform.python_version()} | packages | {"threads": torch.get_num_threads()}


def resident(field: str) -> int:
    """Return the current (VmRSS) or peak (VmHWM) resident memory in bytes; without /proc, always the peak."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field + ":"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
