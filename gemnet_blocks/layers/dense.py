"""Linear layers and residual layers."""

from __future__ import annotations

import math
from typing import final

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from gemnet_blocks.blocks.activations import Activation, ScaledSiLU, SiQU, activation_module
from gemnet_blocks.layers.initialization import he_orthogonal_
from gemnet_blocks.util.precision import PLAIN, Products

__all__ = [
    "Activation",
    "Dense",
    "Linear",
    "Residual",
    "ScaledSiLU",
    "SiQU",
    "activation_module",
    "linear",
    "residuals",
    "skip",
]


@final
class Linear(nn.Linear):
    """A bias-free linear map W x.

    Args:
        in_size: features in.
        out_size: features out.

    Attributes:
        products: how matrices are multiplied, which `build` chooses for a whole model.
    """

    def __init__(self, in_size: int, out_size: int) -> None:
        super().__init__(in_size, out_size, bias=False)
        self.products: Products = PLAIN

    @override
    def forward(self, x: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
        """W x of each row."""
        return self.products.linear(x, self.weight)


def linear(in_size: int, out_size: int) -> Linear:
    """A bias-free linear map with He-orthogonal weights."""
    layer = Linear(in_size, out_size)
    he_orthogonal_(layer.weight)
    return layer


@final
class Dense(nn.Module):
    """A bias-free linear map, then an activation: act(W x).

    Args:
        in_size: features in.
        out_size: features out.
        activation: the activation's name.
    """

    def __init__(self, in_size: int, out_size: int, activation: Activation = "silu") -> None:
        super().__init__()
        self.linear = linear(in_size, out_size)
        self.activation = activation_module(activation)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """act(W x)."""
        return self.activation(self.linear(x))


@final
class Residual(nn.Module):
    """(x + Dense(Dense(x)))/√2.

    Args:
        size: features in and out.
        activation: the activation's name.
    """

    def __init__(self, size: int, activation: Activation = "silu") -> None:
        super().__init__()
        self.first = Dense(size, size, activation)
        self.second = Dense(size, size, activation)

    def forward(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """(x + Dense(Dense(x)))/√2."""
        return skip(x, self.second(self.first(x)))


def residuals(count: int, size: int, activation: Activation = "silu") -> nn.Sequential:
    """`count` residual layers, one after another."""
    return nn.Sequential(*(Residual(size, activation) for _ in range(count)))


def skip(*terms: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The sum of n terms divided by √n, which keeps the variance of independent terms."""
    if len(terms) == 1:
        return terms[0]
    total = terms[0] + terms[1]
    for term in terms[2:]:
        total = total + term
    return total.mul_(1 / math.sqrt(len(terms)))  # nobody else holds this sum
