"""How far a run has come: everything besides weights that it needs to go on as if it had never stopped."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch

from gemnet_blocks.training.data_stream import Place
from gemnet_blocks.training.options import TrainingOptions


@dataclass(frozen=True, slots=True)
class StepReport:
    """Numbers of one step, over all processes.

    Attributes:
        place: where its batch was.
        loss: before the step.
        error_sums: sums of absolute errors.
        error_counts: how many were added up.
        seconds: of training before the step, by the clock of the first process.
        stop_wished: whether a process was told to stop.
        gradient_norm: before clipping.
        learning_rate: of the step.
    """

    place: Place
    loss: float
    error_sums: tuple[float, ...]
    error_counts: tuple[float, ...]
    seconds: float
    stop_wished: bool
    gradient_norm: float
    learning_rate: float

    @property
    def loss_finite(self) -> bool:
        """Whether the loss is a number."""
        return math.isfinite(self.loss)

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are numbers."""
        return self.loss_finite and math.isfinite(self.gradient_norm)


@dataclass(slots=True)
class Means:
    """Means of what steps found since the last row of the log.

    Attributes:
        steps: how many steps.
        loss: the sum of their losses.
        error_sums: sums of absolute errors.
        error_counts: how many were added up.
    """

    steps: int = 0
    loss: float = 0.0
    error_sums: list[float] = field(default_factory=list)
    error_counts: list[float] = field(default_factory=list)

    def add(self, report: StepReport) -> None:
        """Take notice of a step."""
        if not self.steps:
            self.error_sums, self.error_counts = [0.0] * len(report.error_sums), [0.0] * len(report.error_counts)
        self.steps += 1
        self.loss += report.loss
        self.error_sums = [a + b for a, b in zip(self.error_sums, report.error_sums, strict=True)]
        self.error_counts = [a + b for a, b in zip(self.error_counts, report.error_counts, strict=True)]

    @property
    def errors(self) -> list[float]:
        """The mean of each error."""
        return [total / max(count, 1.0) for total, count in zip(self.error_sums, self.error_counts, strict=True)]


@dataclass(slots=True)
class RunState:
    """How far a run has come.

    Attributes:
        step: steps taken.
        place: of the next batch.
        seconds: of training and validation.
        finished: whether the budget is used up or training ended early.
        best_loss: the lowest validation loss.
        best_step: the step of it.
        stop_best: the lowest value of the metric that may end training early.
        stop_waited: validations without a gain in it.
        means: since the last row of the log.
        validations: step, seconds and metrics of each.
    """

    step: int = 0
    place: Place = field(default_factory=Place)
    seconds: float = 0.0
    finished: bool = False
    best_loss: float = math.inf
    best_step: int = 0
    stop_best: float = math.inf
    stop_waited: int = 0
    means: Means = field(default_factory=Means)
    validations: list[dict[str, float]] = field(default_factory=list)

    def fraction(self, budget: TrainingOptions) -> float:
        """How much of a budget is used, from 0 to 1; the same on all processes."""
        used = [0.0]
        if budget.steps is not None:
            used.append(self.step / budget.steps)
        if budget.epochs is not None:
            used.append((self.place.epoch + self.place.index / self.place.count) / budget.epochs)
        if budget.minutes is not None:
            used.append(self.seconds / 60 / budget.minutes)
        return min(1.0, max(used))

    def to_dict(self) -> dict[str, Any]:
        """Plain containers and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> RunState:
        """Read what `to_dict` wrote."""
        known = {one.name: state[one.name] for one in fields(cls)}
        return cls(**{**known, "place": Place(**state["place"]), "means": Means(**state["means"])})


def random_state() -> dict[str, Any]:
    """The state of torch's generators."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "devices": devices}


def restore_random_state(state: dict[str, Any]) -> None:
    """Go on where `random_state` was called, on devices that are as many as then."""
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["devices"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["devices"])
