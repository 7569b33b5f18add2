"""Seconds and memory spent in each part of a model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch

from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.model.costs import Task
from gemnet_blocks.model.gemnet import GemNet, check_structures
from gemnet_blocks.model.ledger import BACKWARD, REST, Bookkeeper, Ledger, Observer, Step, parts, weight_bytes
from gemnet_blocks.options import whole_number
from gemnet_blocks.structures import Prediction, Structures


@dataclass(frozen=True, slots=True, eq=False)
class TimedPrediction:
    """A prediction and what it took.

    Attributes:
        prediction: energies and forces.
        counts: edges, triplets and quadruplets.
        seconds: of each part; together the time of the whole.
    """

    prediction: Prediction
    counts: dict[str, int]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class PartProfile:
    """What one part of a model took.

    Attributes:
        name: the part.
        seconds: spent in it, without the parts within it.
        flops: of its products of matrices; a multiplication and an addition are two.
        peak_bytes: the most memory in use while it was computed, by whatever part.
        held_bytes: how much of the whole's peak was memory that this part asked for.
    """

    name: str
    seconds: float
    flops: int
    peak_bytes: int
    held_bytes: int


@dataclass(frozen=True, slots=True)
class Profile:
    """What a model took; memory is counted on top of that of the weights and structures.

    Attributes:
        task: what for.
        counts: edges, triplets and quadruplets.
        parts: in the order of computation.
        peak_bytes: the most memory in use at any time.
        weight_bytes: memory of the weights.
    """

    task: Task
    counts: Mapping[str, int]
    parts: tuple[PartProfile, ...]
    peak_bytes: int
    weight_bytes: int

    @property
    def seconds(self) -> float:
        """Of the whole."""
        return sum(part.seconds for part in self.parts)

    @property
    def flops(self) -> int:
        """Of all products of matrices; a multiplication and an addition are two."""
        return sum(part.flops for part in self.parts)


@final
class Stopwatch(Observer):
    """Seconds of each part.

    Args:
        device: what is computed on it is waited for.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self.seconds: dict[str, float] = {}
        self._since = self._now()

    def before_change(self) -> None:
        """Count the time since the last change."""
        now = self._now()
        self.seconds[self.part] = self.seconds.get(self.part, 0.0) + now - self._since
        self._since = now

    def restart(self) -> None:
        """Count from now on."""
        self._since = self._now()

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def timed_prediction(model: GemNet, structures: Structures) -> TimedPrediction:
    """Predict without gradients to the weights, and measure each part.

    Raises:
        StructureError: a structure cannot be computed.
    """
    watch = Stopwatch(structures.positions.device)
    seen: list[Topology] = []

    def keep(_module: object, _arguments: object, topology: Topology) -> None:
        seen.append(topology)

    handle = model.trunk.graphs.register_forward_hook(keep)
    try:
        with watch.watching(model), torch.no_grad():
            watch.restart()
            prediction = model(structures)
            watch.before_change()
    finally:
        handle.remove()
    seconds = {name: watch.seconds[name] for name in _part_names(model) if name in watch.seconds}
    return TimedPrediction(prediction, seen[0].counts(), seconds)


def profile(model: GemNet, structures: Structures, task: Task = "predict", repeats: int = 3) -> Profile:
    """Measure what a model takes for structures that are computed as one batch.

    Time is that of the fastest of some runs after a first one; memory is counted in a run of its own. Intermediate
    results are kept, whatever the memory budget of the model.

    Args:
        model: the model; it is left as it was.
        structures: on the device of the model.
        task: what the model is used for.
        repeats: how many runs are timed.

    Raises:
        StructureError: a structure cannot be computed.
        ValueError: there is no such task, or nothing is to be timed.
    """
    check_structures(structures)
    repeats = whole_number("profile", "repeats", repeats, least=1)
    ledger = Ledger()
    step = Step(model, task, ledger)
    counts: dict[str, int] = {}

    def count(_module: object, _arguments: object, topology: Topology) -> None:
        counts.update(topology.counts())

    handle = model.trunk.graphs.register_forward_hook(count)
    try:
        step(structures)
    finally:
        handle.remove()
    seconds = min((_seconds(model, structures, task) for _ in range(repeats)), key=lambda run: sum(run.values()))
    with ledger.watching(step.model), Bookkeeper(ledger):
        step(structures)
    held = ledger.at_peak
    measured = (
        PartProfile(
            name,
            seconds[name],
            ledger.flops.get(name, 0),
            ledger.peak_during.get(name, 0),
            held.get(name, 0),
        )
        for name in _part_names(step.model)
        if name in seconds
    )
    return Profile(task, counts, tuple(measured), ledger.peak, weight_bytes(model))


def _seconds(model: GemNet, structures: Structures, task: Task) -> dict[str, float]:
    watch = Stopwatch(structures.positions.device)
    step = Step(model, task, watch)
    with watch.watching(step.model):
        watch.restart()
        step(structures)
        watch.before_change()
    return watch.seconds


def _part_names(model: GemNet) -> tuple[str, ...]:
    return (*parts(model), BACKWARD, REST)
