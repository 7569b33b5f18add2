"""Initial weights: He-orthogonal matrices for hidden layers, and the choices for the last ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

OutputInitialization = Literal["he_orthogonal", "zeros", "grid", "loggrid"]
"""Initial weights of the layers that end in energies and forces.

he_orthogonal: as hidden layers. zeros: zero. grid: each row evenly from -1 to 1. loggrid: each row from 10⁻⁴ to 10⁰,
evenly in the exponent.
"""


Module = TypeVar("Module", bound=nn.Module)

_left_out: ContextVar[bool] = ContextVar("initial values are left out", default=False)


@contextmanager
def without_initial_values() -> Iterator[None]:
    """Make models whose weights are replaced, or of which only shapes count: without decomposing matrices, in seconds
    less."""
    token = _left_out.set(True)
    try:
        yield
    finally:
        _left_out.reset(token)


def with_single_precision_draws(make: Callable[[], Module]) -> Module:
    """Make a module whose initial weights do not depend on torch's default floating-point type.

    Random numbers of different types differ. So weights are drawn in float32, and converted to the default type.

    Args:
        make: makes the module; called once.
    """
    wanted = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        module = make()
    finally:
        torch.set_default_dtype(wanted)
    if wanted == torch.float32:
        return module
    return module._apply(lambda tensor: tensor.to(wanted) if tensor.dtype == torch.float32 else tensor)


@torch.no_grad()
def he_orthogonal_(weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Fill a weight with a semi-orthogonal matrix of He's variance: decorrelated outputs, Var[W] = 1/fan_in.

    The matrix is standardised to mean 0 and variance 1 along its inputs and divided by √fan_in. Inputs are axis 1 of
    a weight (out, in), and axes 0 and 1 of a weight (in₁, in₂, out). A single input has no variance and is left as it
    is. Changes `weight` and returns it. GemNet (arXiv 2106.08903), appendix on initialisation. Zeros where initial
    values are left out.
    """
    if _left_out.get():
        return weight.zero_()
    nn.init.orthogonal_(weight)
    if weight.ndim == 3:
        inputs: tuple[int, ...] = (0, 1)
        fan_in = weight.shape[0] * weight.shape[1]
    else:
        inputs = (1,)
        fan_in = weight.shape[1]
    if fan_in > 1:
        variance, mean = torch.var_mean(weight, dim=inputs, keepdim=True)
        weight.sub_(mean).div_((variance + 1e-6).sqrt())
    return weight.mul_(math.sqrt(1 / fan_in) if fan_in else 1.0)


@torch.no_grad()
def initialize_output_(weight: Float[Tensor, "out in"], choice: OutputInitialization) -> Float[Tensor, "out in"]:
    """Fill the weight of a last layer as chosen; changes `weight` and returns it."""
    size = weight.shape[1]
    if choice == "he_orthogonal":
        return he_orthogonal_(weight)
    if choice == "zeros":
        return weight.zero_()
    if choice == "grid":
        return weight.copy_(torch.linspace(-1, 1, size, dtype=weight.dtype, device=weight.device).expand_as(weight))
    return weight.copy_(torch.logspace(-4, 0, size, dtype=weight.dtype, device=weight.device).expand_as(weight))
