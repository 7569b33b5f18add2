"""Linear and dense layers, and skip connections."""

from __future__ import annotations

import math
from typing import final

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from gemnet_blocks.layers.activations import Activation, activation_module
from gemnet_blocks.layers.initialization import he_orthogonal_
from gemnet_blocks.util.precision import PLAIN, Products


@final
class Linear(nn.Linear):
    """Linear map W x without bias.

    Args:
        in_size: the number of input features.
        out_size: the number of output features.

    Attributes:
        products: the precision of matrix products, which `build` chooses for a whole model.
    """

    def __init__(self, in_size: int, out_size: int) -> None:
        super().__init__(in_size, out_size, bias=False)
        self.products: Products = PLAIN

    @override
    def forward(self, x: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
        return self.products.linear(x, self.weight)


def linear(in_size: int, out_size: int) -> Linear:
    """Construct a linear map without bias and with He-orthogonal weights."""
    layer = Linear(in_size, out_size)
    he_orthogonal_(layer.weight)
    return layer


@final
class Dense(nn.Module):
    """Linear map without bias, followed by an activation function: act(W x).

    Args:
        in_size: the number of input features.
        out_size: the number of output features.
        activation: the name of the activation function.
    """

    def __init__(self, in_size: int, out_size: int, activation: Activation = "silu") -> None:
        super().__init__()
        self.linear = linear(in_size, out_size)
        self.activation = activation_module(activation)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        return self.activation(self.linear(x))


def skip(*terms: Float[Tensor, "*shape"], divisor: float | None = None) -> Float[Tensor, "*shape"]:
    """Add n terms and divide by √n, which keeps the variance of independent terms, or by another divisor."""
    factor = 1 / (math.sqrt(len(terms)) if divisor is None else divisor)
    if len(terms) == 1:
        return terms[0] if factor == 1 else terms[0] * factor
    total = terms[0] + terms[1]
    for term in terms[2:]:
        total = total + term
    return total if factor == 1 else total.mul_(factor)  # in place, because the sum is not used elsewhere
