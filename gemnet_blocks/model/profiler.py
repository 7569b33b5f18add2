"""Measured time, memory and operations of each part of a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch.profiler import ProfilerActivity, record_function
from torch.profiler import profile as traced
from typing_extensions import override

from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.model.costs import Task
from gemnet_blocks.model.gemnet import GemNet, check_structures
from gemnet_blocks.model.ledger import (
    BACKWARD,
    REST,
    DispatchRecorder,
    MemoryLedger,
    Observer,
    Step,
    parts,
    weight_bytes,
)
from gemnet_blocks.options import whole_number
from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.util.files import replacing
from gemnet_blocks.util.operations import Transfers


@dataclass(frozen=True, slots=True, eq=False)
class TimedPrediction:
    """A prediction with the time of each part.

    Attributes:
        prediction: energies and forces.
        counts: the numbers of edges, triplets and quadruplets.
        seconds: the time of each part; they add up to the total.
    """

    prediction: Prediction
    counts: dict[str, int]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class PartProfile:
    """The measured time and memory of one part of a model.

    Attributes:
        name: the part.
        seconds: the time of the part, without the parts within it.
        flops: floating-point operations of its matrix products; a multiplication and an addition count as two.
        peak_bytes: the peak memory of the whole model while this part was computed.
        held_bytes: memory of this part at the time of the model's peak.
        operations: operations of torch, without views and allocations; on a GPU, each of them has a cost of its own.
        waits: operations after which the host waits for the device, or would on a GPU: reading numbers, and results
            whose shape depends on data.
    """

    name: str
    seconds: float
    flops: int
    peak_bytes: int
    held_bytes: int
    operations: int = 0
    waits: int = 0


@dataclass(frozen=True, slots=True)
class Profile:
    """The measured cost of a model. Memory does not include the weights and the structures.

    Attributes:
        task: the task that was measured.
        counts: the numbers of edges, triplets and quadruplets.
        parts: the parts in the order of computation.
        peak_bytes: the peak memory in bytes.
        weight_bytes: the memory of the weights in bytes.
        kernels: the number of kernels that run on the GPU; None on a CPU.
    """

    task: Task
    counts: Mapping[str, int]
    parts: tuple[PartProfile, ...]
    peak_bytes: int
    weight_bytes: int
    kernels: int | None = None

    @property
    def seconds(self) -> float:
        """The total time."""
        return sum(part.seconds for part in self.parts)

    @property
    def flops(self) -> int:
        """Floating-point operations of all matrix products; a multiplication and an addition count as two."""
        return sum(part.flops for part in self.parts)

    @property
    def operations(self) -> int:
        """Operations of torch in all parts, without views and allocations."""
        return sum(part.operations for part in self.parts)

    @property
    def waits(self) -> int:
        """Operations in all parts after which the host waits for the device, or would on a GPU."""
        return sum(part.waits for part in self.parts)


@final
class Timer(Observer):
    """A timer of the parts of a model.

    Args:
        device: the device to synchronize before the time is read.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self.seconds: dict[str, float] = {}
        self._since = self._now()

    def before_change(self) -> None:
        """Add the time since the last change to the part."""
        now = self._now()
        self.seconds[self.part] = self.seconds.get(self.part, 0.0) + now - self._since
        self._since = now

    def restart(self) -> None:
        """Start timing."""
        self._since = self._now()

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def timed_prediction(
    model: GemNet, structures: Structures, predict: Callable[[Structures], Prediction] | None = None
) -> TimedPrediction:
    """Predict without gradients of the weights, and measure the time of each part.

    Args:
        model: the model.
        structures: one batch, on the device of the model.
        predict: computes the prediction with the model, such as a potential; None: the model itself.

    Raises:
        StructureError: a structure cannot be computed.
    """
    watch = Timer(structures.positions.device)
    seen: list[Topology] = []

    def keep(_module: object, _arguments: object, topology: Topology) -> None:
        seen.append(topology)

    handle = model.backbone.graphs.register_forward_hook(keep)
    try:
        with watch.watching(model), torch.no_grad():
            watch.restart()
            prediction = (predict or model)(structures)
            watch.before_change()
    finally:
        handle.remove()
    seconds = {name: watch.seconds[name] for name in _part_names(model) if name in watch.seconds}
    return TimedPrediction(prediction, seen[0].counts(), seconds)


def profile(
    model: GemNet, structures: Structures, task: Task = "predict", repeats: int = 3, trace: Path | None = None
) -> Profile:
    """Measure the time, memory and operations of a model for one batch of structures.

    The time is that of the fastest of several runs after a first one; memory and operations are recorded in a separate
    run. Intermediate results are stored, whatever the memory budget of the model.

    Args:
        model: the model; it does not change.
        structures: one batch, on the device of the model.
        task: energy, predict or train.
        repeats: the number of timed runs, at least 1.
        trace: file for the trace of one run, see `write_trace`; None for no file.

    Raises:
        StructureError: a structure cannot be computed.
        ValueError: the task is unknown, or `repeats` is not a positive integer.
        OSError: the trace cannot be written.
    """
    check_structures(structures)
    repeats = whole_number("profile", "repeats", repeats, least=1)
    ledger = MemoryLedger()
    step = Step(model, task, ledger)
    counts: dict[str, int] = {}

    def count(_module: object, _arguments: object, topology: Topology) -> None:
        counts.update(topology.counts())

    handle = model.backbone.graphs.register_forward_hook(count)
    try:
        step(structures)
    finally:
        handle.remove()
    seconds = min((_seconds(model, structures, task) for _ in range(repeats)), key=lambda run: sum(run.values()))
    with ledger.watching(step.model), DispatchRecorder(ledger), Transfers(ledger):
        step(structures)
    kernels = _kernels(model, structures, task) if structures.positions.is_cuda else None
    if trace is not None:
        write_trace(trace, model, structures, task)
    held = ledger.at_peak
    measured = (
        PartProfile(
            name,
            seconds[name],
            ledger.flops.get(name, 0),
            ledger.peak_during.get(name, 0),
            held.get(name, 0),
            ledger.operations[name],
            ledger.waits[name],
        )
        for name in _part_names(step.model)
        if name in seconds
    )
    return Profile(task, counts, tuple(measured), ledger.peak, weight_bytes(model), kernels)


class PartRanges(Observer):
    """Marks the parts of a model as named ranges in a trace of torch.profiler."""

    def __init__(self) -> None:
        super().__init__()
        self._range: record_function | None = None

    @override
    def before_change(self) -> None:
        """End the range of the part."""
        if self._range is not None:
            self._range.__exit__(None, None, None)
            self._range = None

    @override
    def after_change(self) -> None:
        """Start the range of the part."""
        self._range = record_function(self.part)
        self._range.__enter__()


def write_trace(path: Path, model: GemNet, structures: Structures, task: Task = "predict") -> None:
    """Write the trace of one run, after a first one, as JSON for Perfetto and chrome://tracing.

    It has all operations and kernels with their times, and a named range for each part of the model.

    Args:
        path: the file to write, such as trace.json, or trace.json.gz for a compressed file.
        model: the model; it does not change.
        structures: one batch, on the device of the model.
        task: energy, predict or train.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path, durable=False) as temporary:
        _traced(model, structures, task, PartRanges()).export_chrome_trace(str(temporary))


def _kernels(model: GemNet, structures: Structures, task: Task) -> int:
    """Count the kernels of one run on the GPU."""
    events = _traced(model, structures, task, Timer(torch.device("cpu"))).events()
    return sum(event.device_type.name == "CUDA" for event in events)


def _traced(model: GemNet, structures: Structures, task: Task, observer: Observer) -> Any:
    """Execute one run inside of torch.profiler."""
    activities = [ProfilerActivity.CPU]
    if structures.positions.is_cuda:
        activities.append(ProfilerActivity.CUDA)
    step = Step(model, task, observer)
    with traced(activities=activities) as recorded, observer.watching(step.model):
        step(structures)
    return recorded


def _seconds(model: GemNet, structures: Structures, task: Task) -> dict[str, float]:
    watch = Timer(structures.positions.device)
    step = Step(model, task, watch)
    with watch.watching(step.model):
        watch.restart()
        step(structures)
        watch.before_change()
    return watch.seconds


def _part_names(model: GemNet) -> tuple[str, ...]:
    return (*parts(model), BACKWARD, REST)
