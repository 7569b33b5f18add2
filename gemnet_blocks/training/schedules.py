"""How the learning rate changes in the course of training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal, final

from pydantic import Field

from gemnet_blocks.options import Count, Options, Size

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
    """The learning rate is reduced whenever the validation loss has not fallen for a while."""

    type: Literal["plateau"] = "plateau"
    """The kind of schedule."""
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The factor of each reduction."""
    patience: Count = 5
    """Validations without a gain that are waited for, beyond which the learning rate is reduced."""
    least_gain: Fraction = 1e-4
    """The relative fall of the loss that counts as one."""
    least: Fraction = 1e-3
    """The factor does not get smaller."""

    def _decay(self, step: int, fraction: float, reductions: int) -> float:
        return max(self.rate**reductions, self.least)


AnySchedule = Annotated[Constant | Cosine | Linear | Exponential | Steps | Plateau, Field(discriminator="type")]
"""Any of the schedules, chosen by `type`."""


@final
class PlateauWatch:
    """Counts how often the validation loss has stopped falling.

    Args:
        schedule: its rules.
    """

    def __init__(self, schedule: Plateau) -> None:
        self._schedule = schedule
        self.best = math.inf
        self.waited = 0
        self.reductions = 0

    def observe(self, loss: float) -> None:
        """Take notice of the loss of one validation."""
        if loss < self.best * (1 - self._schedule.least_gain):
            self.best, self.waited = loss, 0
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
