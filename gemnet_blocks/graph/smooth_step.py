"""Smooth step function for edges and directions that fade out, with its derivative and its integral."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def smooth_step(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute t³(10 - 15t + 6t²) between t = 0 and 1, and 0 or 1 outside; two derivatives are continuous."""
    t = t.clamp(0, 1)
    return t * t * t * (10 + t * (6 * t - 15))


def smooth_step_slope(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute the derivative of the smooth step, 30 t²(1 - t)² between t = 0 and 1."""
    t = t.clamp(0, 1)
    rest = t * (1 - t)
    return 30 * rest * rest


def smooth_step_integral(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute the integral of the smooth step from 0 to x: x⁴(5/2 - 3x + x²) for x ≤ 1, and x - 1/2 beyond."""
    t = x.clamp(0, 1)
    return t * t * t * t * (2.5 + t * (t - 3)) + torch.relu(x - 1)
