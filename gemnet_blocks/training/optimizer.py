"""AdamW for the weights of a model: which of them decay, and how often each is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.options import Options

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
