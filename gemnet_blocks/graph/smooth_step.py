"""The step by which edges and directions fade out, with its slope and its integral."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def smooth_step(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """t³(10 - 15t + 6t²) from 0 to 1, constant outside; two continuous derivatives."""
    t = t.clamp(0, 1)
    return t * t * t * (10 + t * (6 * t - 15))


def smooth_step_slope(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The derivative of the smooth step: 30 t²(1 - t)²."""
    t = t.clamp(0, 1)
    rest = t * (1 - t)
    return 30 * rest * rest


def smooth_step_integral(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The integral of the smooth step from 0: x⁴(5/2 - 3x + x²) up to 1, x - 1/2 beyond."""
    t = x.clamp(0, 1)
    return t * t * t * t * (2.5 + t * (t - 3)) + torch.relu(x - 1)
