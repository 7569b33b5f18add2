"""AdamW, weight decay, shared gradients and learning rate schedules."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field
from torch import nn

from gemnet_blocks.errors import SpecError
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.options import Count, Options, Size
from gemnet_blocks.spec.catalog import did_you_mean
from gemnet_blocks.training.losses import Metric

Momentum = Annotated[float, Field(ge=0, lt=1)]
"""The fraction of a running mean that each step keeps."""


class LearningRate(Options):
    """The learning rate of parameters whose names match a pattern."""

    parameters: str
    """The pattern, such as `blocks.0.*`, where * stands for any text and ? for any character."""
    factor: Annotated[float, Field(gt=0)]
    """The number by which the learning rate is multiplied, such as 0.1."""


class OptimizerOptions(Options):
    """AdamW (Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101)."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """The learning rate before the schedule multiplies it by a factor. Typical: 1e-4 to 1e-3."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decay of all weights except embeddings, biases and weights of basis functions. Typical: 0 to 0.01."""
    first_momentum: Momentum = 0.9
    """Momentum β₁ of the mean gradient."""
    second_momentum: Momentum = 0.999
    """Momentum β₂ of the mean squared gradient."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """Number added to the root of the mean squared gradient."""
    amsgrad: bool = False
    """Whether the largest mean squared gradient so far is used instead of the current one."""
    learning_rates: Annotated[tuple[LearningRate, ...], Field(strict=False)] = ()
    """Other learning rates of some parameters, such as `[{parameters: heads.*, factor: 10}]`; the first entry that
    matches a parameter counts."""
    divide_shared_gradients: bool = False
    """Whether the gradients of projections that all blocks share are divided by the number of their uses, as in the
    published trainings of GemNet."""


def make_optimizer(model: nn.Module, options: OptimizerOptions, scaled_gradients: bool = False) -> torch.optim.AdamW:
    """Make AdamW with one group of weights that decay, and one of weights that do not, for each learning rate.

    Groups whose learning rate has a factor other than one store it under `FACTOR`.

    Args:
        model: any module; parameters without gradient, such as scale factors and frozen weights, are omitted.
        options: the options.
        scaled_gradients: whether gradients are those of a scaled loss, as in half precision.

    Raises:
        SpecError: a pattern of `learning_rates` matches no parameter, or no weight is left to train.
    """
    spared = undecayed(model)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    factors = rate_factors(model, options)
    groups: list[dict[str, Any]] = [
        {
            "params": [one for name, one in trained.items() if factors[name] == factor and (name in spared) == spare],
            **({"weight_decay": 0.0} if spare else {}),
            **({"lr": factor * options.learning_rate, FACTOR: factor} if factor != 1 else {}),
        }
        for factor in dict.fromkeys((1.0, *factors.values()))
        for spare in (False, True)
    ]
    # a fused kernel makes steps of small models on CPUs several times as fast; but it removes the scale of gradients
    # itself, after they were clipped as if they had no scale
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=options.learning_rate,
        betas=(options.first_momentum, options.second_momentum),
        eps=options.epsilon,
        weight_decay=options.weight_decay,
        amsgrad=options.amsgrad,
        fused=not scaled_gradients,
    )


def rate_factors(model: nn.Module, options: OptimizerOptions) -> dict[str, float]:
    """Find the factor of the learning rate of every trained parameter, by name.

    Raises:
        SpecError: a pattern matches no parameter, or no weight is left to train.
    """
    names = dict(model.named_parameters())
    factors = {name: 1.0 for name, weight in names.items() if weight.requires_grad}
    if not factors:
        raise SpecError("training.freeze: leaves no weight to train: freeze fewer parameters")
    for rate in reversed(options.learning_rates):
        found = matching(rate.parameters, names, "optimizer.learning_rates")
        factors |= dict.fromkeys(found & factors.keys(), rate.factor)
    return factors


FACTOR = "factor"
"""The key of the factor of the learning rate in a group of weights."""


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group of weights, times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(FACTOR, 1.0)


def matching(pattern: str, names: Collection[str], place: str) -> set[str]:
    """Find the parameters whose names match a pattern, as in model files or with the names of the parts of specs.

    The latter are without the prefix `trunk.` of the backbone, and have `readout` instead of `read_out`.

    Args:
        pattern: a name with wildcards, such as `blocks.0.*`.
        names: the names of all parameters.
        place: the option with the pattern, for errors.

    Raises:
        SpecError: no name matches; suggests names.
    """
    short = {name.removeprefix(BACKBONE).replace("read_out.", "readout."): name for name in names}
    found = {name for one, name in short.items() if fnmatchcase(one, pattern) or fnmatchcase(name, pattern)}
    if not found:
        hint = did_you_mean(pattern.removeprefix(BACKBONE).rstrip(".*"), _beginnings(short))
        raise SpecError(f"{place}: no parameter has a name like {pattern!r}{hint}")
    return found


BACKBONE = "trunk."
"""The beginning of the names of parameters of the backbone."""


def _beginnings(names: Collection[str]) -> list[str]:
    """List all beginnings of dotted names, the shortest ones first."""
    split = [name.split(".") for name in names]
    found = dict.fromkeys(".".join(parts[:end]) for end in range(1, max(map(len, split)) + 1) for parts in split)
    return list(found)


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Exclude parameters from training.

    Args:
        model: any module.
        patterns: names with wildcards; those that begin with ! except parameters from the patterns before them.

    Raises:
        SpecError: a pattern matches no parameter.
    """
    weights = {name: one for name, one in model.named_parameters() if one.requires_grad}
    frozen: set[str] = set()
    for pattern in patterns:
        found = matching(pattern.removeprefix("!"), weights, "training.freeze")
        frozen = frozen - found if pattern.startswith("!") else frozen | found
    for name in frozen:
        weights[name].requires_grad_(False)


def undecayed(model: nn.Module) -> frozenset[str]:
    """Names of the parameters without weight decay: embedding tables, biases, and other numbers and vectors."""
    return frozenset(
        name
        for prefix, module in model.named_modules()
        for name, weight in module.named_parameters(prefix, recurse=False)
        if isinstance(module, nn.Embedding) or weight.ndim < 2
    )


def shared_weights(model: GemNet) -> Mapping[nn.Parameter, int]:
    """The projections of the geometry that all blocks share, and the number of their uses in a forward pass.

    Each block uses them once; the output blocks, one more than there are blocks, have separate projections.
    """
    geometry = model.backbone.geometry
    blocks = len(model.backbone.blocks)
    outputs = len(model.backbone.output_blocks)
    output = None if geometry.output_radial is None else geometry.output_radial.weight
    return {
        weight: outputs if weight is output else blocks
        for weight in geometry.parameters()
        if weight.ndim > 1  # the numbers and vectors of basis functions are not projections
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
    """Factors by which the learning rate of the optimizer is multiplied in each step."""

    warmup: Count = 0
    """The number of steps in which the learning rate rises linearly, from 1/warmup in the first step."""

    def factor(self, step: int, fraction: float, reductions: int = 0) -> float:
        """The factor of a step.

        Args:
            step: the number of steps taken before.
            fraction: the fraction of the budget used before, from 0 to 1.
            reductions: the number of reductions at plateaus; see `Plateau`.
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
    """final + (1 - final)·(1 + cos πt)/2 with t the used fraction of the budget.

    With a budget in minutes, the rates depend on the speed of the machine.
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
    """rate^(step / every) with a real exponent."""

    type: Literal["exponential"] = "exponential"
    """The kind of schedule."""
    rate: Annotated[float, Field(gt=0, le=1)]
    """The factor after `every` steps."""
    every: Size
    """The number of steps in which the learning rate falls by `rate`."""

    def _decay(self, step: int, fraction: float, reductions: int) -> float:
        return self.rate ** (step / self.every)


@final
class Steps(Schedule):
    """rate^n after n milestones."""

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
    """Reductions of the learning rate whenever a validation metric has stopped falling.

    With `metric: forces_mae`, `rate: 0.8`, `patience: 3` and `least: 0` this is the ReduceLROnPlateau of published
    trainings.
    """

    type: Literal["plateau"] = "plateau"
    """The kind of schedule."""
    metric: Metric = "loss"
    """The validation metric that must fall."""
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The factor of each reduction."""
    patience: Count = 5
    """The number of validations without a gain after which the next one without a gain reduces the learning rate."""
    least_gain: Fraction = 1e-4
    """The least relative fall of the metric that counts as a gain."""
    least: Fraction = 1e-3
    """The smallest factor."""

    def _decay(self, step: int, fraction: float, reductions: int) -> float:
        return max(self.rate**reductions, self.least)


AnySchedule = Annotated[Constant | Cosine | Linear | Exponential | Steps | Plateau, Field(discriminator="type")]
"""Any of the schedules, chosen by `type`."""


@final
class PlateauWatch:
    """Counts the reductions of a plateau schedule."""

    def __init__(self, schedule: Plateau) -> None:
        self._schedule = schedule
        self.best = math.inf
        self.waited = 0
        self.reductions = 0

    def observe(self, value: float) -> None:
        """Compare the metric of a validation with the best before."""
        if value < self.best * (1 - self._schedule.least_gain):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self._schedule.patience:
            self.reductions, self.waited = self.reductions + 1, 0

    def state_dict(self) -> dict[str, float]:
        """Return the state for a checkpoint."""
        return {"best": self.best, "waited": self.waited, "reductions": self.reductions}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore what `state_dict` returned."""
        self.best, self.waited = float(state["best"]), int(state["waited"])
        self.reductions = int(state["reductions"])
