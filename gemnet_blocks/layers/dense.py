"""Linear layers and residual layers."""

from __future__ import annotations

import math
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu
from typing_extensions import override

from gemnet_blocks.layers.initialization import he_orthogonal_
from gemnet_blocks.util.derivatives import transforms_are_active
from gemnet_blocks.util.precision import PLAIN, Products

Activation = Literal["silu", "siqu", "identity"]
"""silu: silu(x)/0.6, of unit variance for inputs of unit variance. siqu: x·silu(x). identity: x."""

SILU_GAIN = 1 / 0.6


def scaled_silu(x: Float[Tensor, "*shape"], scale: float) -> Float[Tensor, "*shape"]:
    """scale·silu(x), elementwise; derivatives of any order.

    Args:
        x: any numbers.
        scale: a constant.
    """
    if torch.compiler.is_compiling():
        return silu(x) * scale  # a compiler fuses better than what is written out here
    if transforms_are_active():
        return x * torch.sigmoid(x) * scale  # all of which, unlike silu, torch differentiates in every mode and order
    if torch.is_grad_enabled() and x.requires_grad:
        result: Tensor = _ScaledSiLU.apply(x, scale)
        return result
    return _value(x, scale)


@final
class ScaledSiLU(nn.Module):
    """silu*(x) = silu(x)/0.6, which keeps unit variance (GemNet, arXiv 2106.08903)."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """silu(x)/0.6, elementwise."""
        return scaled_silu(x, SILU_GAIN)


@final
class SiQU(nn.Module):
    """x·silu(x), elementwise."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """x·silu(x), elementwise."""
        return x * scaled_silu(x, 1.0)


def activation_module(activation: Activation) -> nn.Module:
    """The module of an activation's name."""
    if activation == "silu":
        return ScaledSiLU()
    return SiQU() if activation == "siqu" else nn.Identity()


class _ScaledSiLU(torch.autograd.Function):
    """scale·silu(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.scale = scale
        return _value(x, scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return _differentiable_slope(grad, x, ctx.scale), None


class _Slope(torch.autograd.Function):
    """scale·v·silu'(x)."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, x: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(v, x)
        ctx.scale = scale
        return _slope(v, x, scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        v, x = ctx.saved_tensors
        to_v = _differentiable_slope(grad, x, ctx.scale) if ctx.needs_input_grad[0] else None
        to_x = _curvature(grad, v, x, ctx.scale) if ctx.needs_input_grad[1] else None
        return to_v, to_x, None


def _differentiable_slope(v: Tensor, x: Tensor, scale: float) -> Tensor:
    if transforms_are_active():
        sigmoid = torch.sigmoid(x)
        return scale * v * sigmoid * (1 + x * (1 - sigmoid))
    if not torch.is_grad_enabled():
        return _slope(v, x, scale)
    result: Tensor = _Slope.apply(v, x, scale)
    return result


def _value(x: Tensor, scale: float) -> Tensor:
    y = silu(x)
    return y if scale == 1 else y.mul_(scale)


def _slope(v: Tensor, x: Tensor, scale: float) -> Tensor:
    y: Tensor = torch.ops.aten.silu_backward(v, x)
    return y if scale == 1 else y.mul_(scale)


def _curvature(u: Tensor, v: Tensor, x: Tensor, scale: float) -> Tensor:
    """scale·u·v·silu''(x)."""
    sigmoid = torch.sigmoid(x)
    if torch.is_grad_enabled():
        return scale * u * v * sigmoid * (1 - sigmoid) * (2 + x * (1 - 2 * sigmoid))
    y: Tensor = torch.ops.aten.sigmoid_backward(u, sigmoid)  # u σ(1-σ)
    y.mul_(v)
    # 2 + x - 2xσ = 2(1 + ½(x - 2xσ)), in the memory that is there
    y.addcmul_(y, torch.addcmul(x, x, sigmoid, value=-2, out=sigmoid), value=0.5)
    return y.mul_(2 * scale)


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
