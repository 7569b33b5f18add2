"""Activation functions with fast first and second derivatives."""

from __future__ import annotations

from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from gemnet_blocks.util.derivatives import transforms_are_active

Activation = Literal["silu", "siqu", "identity"]
"""The name of an activation function.

silu: silu(x)/0.6, which keeps the variance of inputs of unit variance; used by all published models.
siqu: x·silu(x).
identity: x.
"""

SILU_GAIN = 1 / 0.6


def without_gain(activation: nn.Module, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Apply an activation without the constant factor `gain_of`, which a later operation multiplies by."""
    if isinstance(activation, ScaledSiLU):
        return scaled_silu(x, 1.0)
    result: Tensor = activation(x)
    return result


def gain_of(activation: nn.Module) -> float:
    """Return the constant factor of an activation that `without_gain` leaves out."""
    return SILU_GAIN if isinstance(activation, ScaledSiLU) else 1.0


def activation_module(activation: Activation) -> nn.Module:
    """Construct the module of an activation function."""
    if activation == "silu":
        return ScaledSiLU()
    return SiQU() if activation == "siqu" else nn.Identity()


@final
class ScaledSiLU(nn.Module):
    """silu(x)/0.6, elementwise.

    The factor keeps the variance of inputs of unit variance. Gasteiger et al., NeurIPS 2021, arXiv 2106.08903.
    """

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return scaled_silu(x, SILU_GAIN)


@final
class SiQU(nn.Module):
    """x·silu(x), elementwise."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return x * scaled_silu(x, 1.0)


def scaled_silu(x: Float[Tensor, "*shape"], scale: float) -> Float[Tensor, "*shape"]:
    """Compute scale·silu(x) elementwise, with derivatives of any order.

    Training on gradient forces needs the second derivative. Outside of compilation and `torch.func` transforms, custom
    autograd functions compute each derivative in place, with few passes over memory.
    """
    if torch.compiler.is_compiling():
        return silu(x) * scale  # the compiler fuses operations better by itself
    if transforms_are_active():
        return x * torch.sigmoid(x) * scale  # unlike silu, differentiable in every mode and to every order
    if torch.is_grad_enabled() and x.requires_grad:
        result: Tensor = _ScaledSiLU.apply(x, scale)
        return result
    return _value(x, scale)


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
    """Compute scale·u·v·silu''(x)."""
    sigmoid = torch.sigmoid(x)
    if torch.is_grad_enabled():
        return scale * u * v * sigmoid * (1 - sigmoid) * (2 + x * (1 - 2 * sigmoid))
    y: Tensor = torch.ops.aten.sigmoid_backward(u, sigmoid)  # u σ(1-σ)
    y.mul_(v)
    # 2 + x - 2xσ = 2(1 + ½(x - 2xσ)), in the memory of σ
    y.addcmul_(y, torch.addcmul(x, x, sigmoid, value=-2, out=sigmoid), value=0.5)
    return y.mul_(2 * scale)


def has_hooks(*modules: nn.Module) -> bool:
    """Return True if a hook reads the input or output of one of the modules, which must then be called."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)
