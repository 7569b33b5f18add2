"""AdamW for the weights of a model: which of them decay, and how often each is used."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field
from torch import nn

from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.options import Count, Options, Size
from gemnet_blocks.training.losses import Metric

Momentum = Annotated[float, Field(ge=0, lt=1)]
"""How much of a running mean is kept in each step."""


class OptimizerOptions(Options):
    """AdamW (Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101)."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """The learning rate that the schedule's factors multiply."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decay of the weights that have one: not of embeddings, biases and basis functions."""
    first_momentum: Momentum = 0.9
    """Of the mean gradient (β₁)."""
    second_momentum: Momentum = 0.999
    """Of the mean squared gradient (β₂)."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the mean squared gradient."""
    amsgrad: bool = False
    """Whether the largest mean squared gradient so far is used."""
    divide_shared_gradients: bool = False
    """Whether the gradients of projections that all blocks share are divided by the number of their uses."""


def make_optimizer(model: nn.Module, options: OptimizerOptions, scaled_gradients: bool = False) -> torch.optim.AdamW:
    """AdamW with a group of weights that decay and one of those that do not.

    Args:
        model: any module; parameters without gradient, such as scale factors, are left out.
        options: see there.
        scaled_gradients: whether gradients are those of a scaled loss, as in half precision.
    """
    spared = undecayed(model)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    groups: list[dict[str, Any]] = [
        {"params": [weight for name, weight in trained.items() if name not in spared]},
        {"params": [weight for name, weight in trained.items() if name in spared], "weight_decay": 0.0},
    ]
    # one kernel for all weights: a step of a small model on a CPU is several times as fast as weight after weight; but
    # it undoes the scale of gradients by itself, after they were clipped as if they were not scaled
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=options.learning_rate,
        betas=(options.first_momentum, options.second_momentum),
        eps=options.epsilon,
        weight_decay=options.weight_decay,
        amsgrad=options.amsgrad,
        fused=not scaled_gradients,
    )


def undecayed(model: nn.Module) -> frozenset[str]:
    """The names of parameters that weight decay leaves alone.

    Those are embedding tables, biases, single numbers and vectors, and whatever basis functions learn (frequencies).
    """
    return frozenset(
        name
        for prefix, module in model.named_modules()
        for name, weight in module.named_parameters(prefix, recurse=False)
        if isinstance(module, nn.Embedding) or weight.ndim < 2
    )


def shared_weights(model: GemNet) -> Mapping[nn.Parameter, int]:
    """The projections of the geometry that all blocks share, and how often a forward pass uses each.

    Each block uses them once; output blocks, of which there is one more, use their own.
    """
    geometry = model.trunk.geometry
    blocks = len(model.trunk.blocks)
    outputs = len(model.trunk.output_blocks)
    return {
        weight: outputs if weight is geometry.output_radial.weight else blocks
        for weight in geometry.parameters()
        if weight.ndim > 1  # what basis functions learn, numbers and vectors, is no projection
    }


@torch.no_grad()
def divide_gradients(counts: Mapping[nn.Parameter, int]) -> None:
    """Divide the gradient of each weight by the number of its uses."""
    for weight, count in counts.items():
        if weight.grad is not None and count > 1:
            weight.grad /= count


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
