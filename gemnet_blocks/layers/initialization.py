"""Weight initialization: He-orthogonal matrices for hidden layers, and the options for output layers."""

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
"""The initialization of the last layers, which compute energies and forces.

he_orthogonal: like hidden layers.
zeros: zero, so that an untrained model predicts zero.
grid: each row equally spaced from -1 to 1.
loggrid: each row logarithmically spaced from 10⁻⁴ to 1.
"""

Module = TypeVar("Module", bound=nn.Module)

_left_out: ContextVar[bool] = ContextVar("weights are left at zero", default=False)


@contextmanager
def without_initial_values() -> Iterator[None]:
    """Leave the weights of models that are constructed inside at zero.

    This saves seconds for models whose weights are loaded afterwards, or of which only the shapes are needed.
    """
    token = _left_out.set(True)
    try:
        yield
    finally:
        _left_out.reset(token)


def with_single_precision_draws(make: Callable[[], Module]) -> Module:
    """Construct a module whose initial weights do not depend on torch's default floating-point type.

    Random number generators give different numbers in different types. Weights are therefore drawn in float32 and then
    converted to the default type.

    Args:
        make: constructs the module; it is called once.
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
    """Fill a weight in place with a semi-orthogonal matrix of variance 1/fan_in, and return it.

    Orthogonality decorrelates the outputs; the variance is that of He's initialization. The matrix is standardized to
    mean 0 and variance 1 along its inputs and divided by √fan_in. The inputs are axis 1 of a weight of shape (out, in),
    and axes 0 and 1 of a weight of shape (in₁, in₂, out). A single input is not standardized, because it has no
    variance. Inside `without_initial_values`, the weight becomes zero.

    Gasteiger et al., NeurIPS 2021, arXiv 2106.08903, appendix on initialization.
    """
    if weight.is_meta:  # without values; torch would spend milliseconds on the shapes of each operation
        return weight
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
    """Fill the weight of an output layer in place and return it."""
    size = weight.shape[1]
    if choice == "he_orthogonal":
        return he_orthogonal_(weight)
    if choice == "zeros":
        return weight.zero_()
    if choice == "grid":
        return weight.copy_(torch.linspace(-1, 1, size, dtype=weight.dtype, device=weight.device).expand_as(weight))
    return weight.copy_(torch.logspace(-4, 0, size, dtype=weight.dtype, device=weight.device).expand_as(weight))
