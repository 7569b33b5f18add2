"""Residual layers of two dense layers."""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.layers.activations import Activation, gain_of, has_hooks, without_gain
from gemnet_blocks.layers.dense import Dense, skip


@final
class Residual(nn.Module):
    """Residual layer of two dense layers: (x + Dense(Dense(x)))/√2.

    The factor 1/√2 keeps the variance of the features. Gasteiger et al., NeurIPS 2021, arXiv 2106.08903.

    Args:
        size: the number of features.
        activation: the name of the activation function.
    """

    def __init__(self, size: int, activation: Activation = "silu") -> None:
        super().__init__()
        self.first = Dense(size, size, activation)
        self.second = Dense(size, size, activation)

    def forward(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        inner, second = self.first(x), self.second
        if has_hooks(second):
            return skip(x, second(inner))
        # the gain of the last activation is a factor of the addition, which costs no operation of its own
        y = without_gain(second.activation, second.linear(inner))
        return torch.add(x, y, alpha=gain_of(second.activation)).mul_(math.sqrt(0.5))


def residuals(count: int, size: int, activation: Activation = "silu") -> nn.Sequential:
    """Construct a sequence of `count` residual layers."""
    return nn.Sequential(*(Residual(size, activation) for _ in range(count)))


def last_weights_of(layers: nn.Sequential) -> list[Tensor]:
    """Return the weights without which residual layers multiply by `factor_at_zero_of` alone."""
    return [layer.second.linear.weight for layer in layers if isinstance(layer, Residual)]


def factor_at_zero_of(layers: nn.Sequential) -> float:
    """Return the factor of residual layers whose last weights are zero, (1/√2)^n of n layers."""
    return math.prod(math.sqrt(0.5) for layer in layers if isinstance(layer, Residual))
