"""The angle of atoms around a middle edge, each for itself: θ_cabd is the difference of two of them.

In any frame (e₁, e₂) perpendicular to the middle edge b→a, an atom c has the azimuth ψ_c of (u_ca·e₁, u_ca·e₂), and
cos jθ_cabd = cos jψ_c cos jψ_d + sin jψ_c sin jψ_d, whatever the frame.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.geometry.angles import CollinearRule


def frames(direction: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges 3 3"]:
    """u, |u| e₁ and |u| e₂ of each edge, one below the other; differentiable, as e₁ and e₂ turn with the edge.

    Directions are shorter than 1 where atoms nearly coincide; where they are zero, so are all three.
    """
    square = (direction * direction).sum(dim=-1, keepdim=True)
    defined = square > torch.finfo(direction.dtype).tiny ** 0.5
    length = torch.where(defined, square, torch.ones_like(square)).sqrt()
    unit = torch.where(defined, direction, _axis(direction, torch.zeros_like(square[:, 0]).long())) / length
    # the axis that is least along the edge, so that its perpendicular part is long
    axis = _axis(direction, unit.detach().abs().argmin(dim=-1))
    first = axis - (axis * unit).sum(dim=-1, keepdim=True) * unit
    first = first / (first * first).sum(dim=-1, keepdim=True).sqrt()
    second = torch.linalg.cross(unit, first)
    length = torch.where(defined, length, torch.zeros_like(length))
    return torch.stack([direction, first * length, second * length], dim=1)


def _axis(like: Float[Tensor, "edges 3"], number: Tensor) -> Float[Tensor, "edges 3"]:
    return torch.nn.functional.one_hot(number, 3).to(like.dtype)


def harmonics(
    x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"], count: int, rule: CollinearRule, side: int
) -> list[Float[Tensor, "*shape"]]:
    r"""cos 0ψ, sin 0ψ, cos 1ψ, sin 1ψ, … of atoms in the plane perpendicular to a middle edge.

    They are the real and imaginary parts of powers of z, which the rule for collinear atoms makes of x + iy. A rule
    with a gate g, 0 for collinear atoms and 1 for others, gives them θ = π/2 instead: z⁰ is g then, and one more pair
    (1, ∓g) follows, so that

    $$\mathrm{Re}(z_c^j \bar z_d^j) + (1 - g_c g_d) \cos(j\pi/2)$$
    is the sum over all pairs with the coefficients of `with_gate`.

    Args:
        x: u_ca · |u_ba| e₁.
        y: u_ca · |u_ba| e₂.
        count: how many j.
        rule: what becomes of collinear atoms.
        side: -1 for c, 1 for d; what is summed is the product of both.
    """
    plane = rule.in_plane(x, y)
    one = torch.ones_like(x)
    real, imaginary = (one if plane.gate is None else plane.gate), torch.zeros_like(x)
    pairs = [real, imaginary]
    for _ in range(1, count):
        real, imaginary = (
            real * plane.real - imaginary * plane.imaginary,
            real * plane.imaginary + imaginary * plane.real,
        )
        pairs += [real, imaginary]
    if plane.gate is not None:
        pairs += [one, side * plane.gate]
    return pairs


def with_gate(coefficients: Float[Tensor, "multiples functions"]) -> Float[Tensor, "multiples_plus_1 functions"]:
    """Coefficients of cos jθ, and behind them the value of each function at θ = π/2, for rules with a gate."""
    at_right_angle = coefficients[0::4].sum(dim=0) - coefficients[2::4].sum(dim=0)
    return torch.cat([coefficients, at_right_angle[None]])
