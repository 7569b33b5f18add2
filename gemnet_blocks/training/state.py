"""State of a run besides its weights, from which it resumes with bitwise identical results."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.document import shown
from gemnet_blocks.training.data_stream import StreamPosition
from gemnet_blocks.training.options import BUDGETS, TrainingConfig, TrainingOptions


@dataclass(frozen=True, slots=True)
class StepReport:
    """Numbers of one step, over all processes.

    Attributes:
        place: position of its batch.
        loss: loss before the step.
        error_sums: sums of absolute errors.
        error_counts: the number of summands.
        seconds: duration of training before the step, by the clock of the first process.
        stop_requested: whether a process received a signal to stop.
        gradient_norm: norm of the gradient before clipping.
        learning_rate: the learning rate.
        skipped: whether the optimizer left the weights unchanged, because a gradient in half precision overflowed.
    """

    place: StreamPosition
    loss: float
    error_sums: tuple[float, ...]
    error_counts: tuple[float, ...]
    seconds: float
    stop_requested: bool
    gradient_norm: float
    learning_rate: float
    skipped: bool = False

    @property
    def loss_finite(self) -> bool:
        """Whether the loss is finite."""
        return math.isfinite(self.loss)

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are finite."""
        return self.loss_finite and math.isfinite(self.gradient_norm)


@dataclass(slots=True)
class Means:
    """Means over the steps since the last row of the log.

    Attributes:
        steps: the number of steps.
        loss: the sum of their losses.
        error_sums: sums of absolute errors.
        error_counts: the number of summands.
    """

    steps: int = 0
    loss: float = 0.0
    error_sums: list[float] = field(default_factory=list)
    error_counts: list[float] = field(default_factory=list)

    def add(self, report: StepReport) -> None:
        """Add a step."""
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
    """Progress of a run.

    Attributes:
        step: the number of steps taken, without skipped ones.
        place: position of the next batch.
        seconds: duration of training and validation.
        finished: whether the budget is used up or early stopping ended the run.
        best_loss: the lowest validation loss.
        best_step: the step of the lowest validation loss.
        stop_best: the lowest value of the metric of early stopping.
        stop_waited: the number of validations since the metric last improved.
        means: means since the last row of the log.
        validations: step, seconds and metrics of each validation.
        curve: the same of each validation that is only a point of the learning curve.
    """

    step: int = 0
    place: StreamPosition = field(default_factory=StreamPosition)
    seconds: float = 0.0
    finished: bool = False
    best_loss: float = math.inf
    best_step: int = 0
    stop_best: float = math.inf
    stop_waited: int = 0
    means: Means = field(default_factory=Means)
    validations: list[dict[str, float]] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)

    def fraction(self, budget: TrainingOptions) -> float:
        """The used fraction of a budget, from 0 to 1; the same on all processes."""
        used = [0.0]
        if budget.steps is not None:
            used.append(self.step / budget.steps)
        if budget.epochs is not None:
            used.append((self.place.epoch + self.place.index / self.place.count) / budget.epochs)
        if budget.minutes is not None:
            used.append(self.seconds / 60 / budget.minutes)
        return min(1.0, max(used))

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> RunState:
        """Read what `to_dict` wrote."""
        # checkpoints of version 0.1 have no points of learning curves
        known = {"curve": [], **{one.name: state[one.name] for one in fields(cls) if one.name in state}}
        return cls(**{**known, "place": StreamPosition(**state["place"]), "means": Means(**state["means"])})


ENDS = (*BUDGETS, "stop_early")
"""Fields of `training` that determine the end of a run, and may differ when it is resumed."""


def extend(state: RunState, before: Mapping[str, Any], config: TrainingConfig) -> None:
    """Extend or shorten a run whose budget or early stopping has changed.

    From the next step on, the learning rate follows the schedule of the new budget as if the run had had it from the
    beginning. The patience of early stopping starts again.

    Args:
        state: state of the run, which is modified if the end has changed.
        before: the complete config that the run was stopped with.
        config: the config to resume with.

    Raises:
        SpecError: the new budget is already used up.
    """
    old, new = TrainingOptions.model_validate(before["training"]), config.training
    changed = [name for name in ENDS if getattr(old, name) != getattr(new, name)]
    if not changed:
        return
    described = "; ".join(f"training.{name} was {_shown(old, name)}, is {_shown(new, name)}" for name in changed)
    if state.fraction(new) >= 1:
        epochs = state.place.epoch + state.place.index / state.place.count
        raise SpecError(
            f"{described}: expected a larger budget, as the run has taken {state.step} steps ({epochs:.4g} epochs, "
            f"{state.seconds / 60:.3g} minutes)"
        )
    state.finished, state.stop_waited = False, 0
    if new.stop_early is None or old.stop_early is None or new.stop_early.metric != old.stop_early.metric:
        state.stop_best = math.inf
    rates = [
        config.optimizer.learning_rate * config.schedule.factor(state.step, state.fraction(one)) for one in (old, new)
    ]
    if rates[0] != rates[1]:
        warnings.warn(
            f"{described}: the schedule follows the new budget, so that the learning rate after step {state.step} is "
            f"{rates[1]:.3g} instead of {rates[0]:.3g}",
            stacklevel=2,
        )


def _shown(options: TrainingOptions, name: str) -> str:
    return shown(options.model_dump(mode="json")[name])


def random_state() -> dict[str, Any]:
    """The state of torch's generators."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "devices": devices}


def restore_random_state(state: dict[str, Any]) -> None:
    """Restore the state that `random_state` returned, on the CPU and on GPUs if their number is the same."""
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["devices"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["devices"])
