"""How the learning rate changes in the course of training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal, final

from pydantic import Field

from gemnet_blocks.options import Count, Options, Size
from gemnet_blocks.training.validation import Metric

Fraction = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""


class Schedule(Options, ABC):
    """The learning rate as a multiple of the optimizer's, in each step."""

    warmup: Count = 0
    """Steps over which the learning rate rises linearly; the first step has 1/warmup of it."""

    def factor(self, step: int, fraction: float, reductions: int = 0) -> float:
        """What the learning rate is multiplied by.

        Args:
            step: how many steps were taken before.
            fraction: how much of the budget was used before, from 0 to 1.
            reductions: how often validation has stopped improving; see `Plateau`.
        """
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return rise * self._decay(step, fraction, reductions)

    @abstractmethod
    def _decay(self, step: int, fraction: float, reductions: int) -> float:
        """The factor without the warmup."""


@final
class Constant(Schedule):
    """The same learning rate throughout."""

    type: Literal["constant"] = "constant"
    """The kind of schedule."""

    def _decay(self, step: int, fraction: float, reductions: int) -> float:
        return 1.0


@final
class Cosine(Schedule):
    """final + (1 - final)·(1 + cos πt)/2 with t the used fraction of the budget, whether steps, epochs or minutes.

    With a budget in minutes the rates depend on how fast the machine is.
    """

    type: Literal["cosine"] = "cosine"
    """The kind of schedule."""
    final: Fraction = 0.0
    """The factor at the end."""

    def _decay(self, step: int, fraction: float, reductions: int) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(fraction, 1.0))) / 2


@final
class Linear(Schedule):
    """1 - (1 - final)·t with t the used fraction of the budget."""

    type: Literal["linear"] = "linear"
    """The kind of schedule."""
    final: Fraction = 0.0
    """The factor at the end."""

    def _decay(self, step: int, fraction: float, reductions: int) -> float:
        return 1 - (1 - self.final) * min(fraction, 1.0)


@final
class Exponential(Schedule):
    """rate^(step / every), continuously."""

    type: Literal["exponential"] = "exponential"
    """The kind of schedule."""
    rate: Annotated[float, Field(gt=0, le=1)]
    """The factor after `every` steps."""
    every: Size
    """Steps."""

    def _decay(self, step: int, fraction: float, reductions: int) -> float:
        return self.rate ** (step / self.every)


@final
class Steps(Schedule):
    """rate to the power of how many milestones are behind."""

    type: Literal["steps"] = "steps"
    """The kind of schedule."""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The factor at each milestone."""
    milestones: list[Size]
    """The steps after which the learning rate falls."""

    def _decay(self, step: int, fraction: float, reductions: int) -> float:
        return self.rate ** sum(step >= milestone for milestone in self.milestones)


@final
class Plateau(Schedule):
    """The learning rate is reduced whenever a result of validation has not fallen for a while.

    With `metric: forces_mae`, `rate: 0.8`, `patience: 3` and `least: 0` this is the ReduceLROnPlateau of published
    trainings.
    """

    type: Literal["plateau"] = "plateau"
    """The kind of schedule."""
    metric: Metric = "loss"
    """The result of validation that must fall."""
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The factor of each reduction."""
    patience: Count = 5
    """Validations without a gain that are waited for, beyond which the learning rate is reduced."""
    least_gain: Fraction = 1e-4
    """The least relative fall of the metric that counts as a gain."""
    least: Fraction = 1e-3
    """The factor does not get smaller."""

    def _decay(self, step: int, fraction: float, reductions: int) -> float:
        return max(self.rate**reductions, self.least)


AnySchedule = Annotated[Constant | Cosine | Linear | Exponential | Steps | Plateau, Field(discriminator="type")]
"""Any of the schedules, chosen by `type`."""


@final
class PlateauWatch:
    """Counts how often the metric of a plateau schedule has stopped falling.

    Args:
        schedule: its rules.
    """

    def __init__(self, schedule: Plateau) -> None:
        self._schedule = schedule
        self.best = math.inf
        self.waited = 0
        self.reductions = 0

    def observe(self, value: float) -> None:
        """Compare the metric of one validation with the best before."""
        if value < self.best * (1 - self._schedule.least_gain):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self._schedule.patience:
            self.reductions, self.waited = self.reductions + 1, 0

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint holds."""
        return {"best": self.best, "waited": self.waited, "reductions": self.reductions}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on where `state_dict` was called."""
        self.best, self.waited = float(state["best"]), int(state["waited"])
        self.reductions = int(state["reductions"])
