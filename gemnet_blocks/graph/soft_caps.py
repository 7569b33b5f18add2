"""Caps on the number of neighbors that no neighbor crosses at once: weights that fade with the distance."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.graph.smooth_step import smooth_step, smooth_step_integral, smooth_step_slope
from gemnet_blocks.util.derivatives import in_forward_mode

HALVINGS = 60
"""Steps of the search for a radius: the interval shrinks to the last bit of double precision."""


def soft_weights(
    distance: Float[Tensor, " pairs"],
    target: Int[Tensor, " pairs"],
    atom_count: int,
    max_neighbors: int,
    cutoff: float,
    width: float,
    parent: Float[Tensor, " pairs"] | None = None,
) -> Float[Tensor, " pairs"]:
    r"""Weights from 0 to 1 that add up to hardly more than `max_neighbors` per target atom, the nearest first.

    $$w_j = p_j\, s\Big(\frac{r - d_j}{\delta}\Big), \qquad
    \text{with } r \text{ such that } \sum_j p_j u_j\, s\Big(\frac{r - d_j}{\delta}\Big) = M - e(M - k), \quad
    M = \sum_j p_j u_j, \quad u_j = s\Big(\frac{R - d_j}{\delta}\Big)$$

    for each target atom, where s is the smooth step t³(10 - 15t + 6t²) from 0 at t = 0 to 1 at t = 1 and e its integral
    from 0. So all weights are p where there are no more than k neighbors, and their sum approaches k + 1/2 where there
    are more. The factor u counts neighbors less the nearer they are to the cutoff R; there, an envelope makes them
    vanish anyway. All functions have two continuous derivatives; so have the weights as functions of the distances,
    whatever neighbors come, go or change places. Neighbors at the same distance have the same weight.

    The idea of a cutoff per atom that depends smoothly on its surroundings: Pozdnyakov and Ceriotti, NeurIPS 2023,
    arXiv 2305.19302.

    Args:
        distance: d_j ≤ R in Å; in double precision.
        target: the atom that counts the neighbor.
        atom_count: the number of atoms.
        max_neighbors: k.
        cutoff: R in Å.
        width: δ in Å.
        parent: p_j, the weight in the edge set that the pairs are selected from; None for 1.
    """
    if parent is None:
        parent = torch.ones_like(distance)
    if max_neighbors == 0:
        return torch.zeros_like(distance)

    def per_atom(values: Tensor) -> Tensor:
        return values.new_zeros(atom_count).index_add(0, target, values)

    counted = parent * smooth_step((cutoff - distance) / width)
    total = per_atom(counted)
    excess = smooth_step_integral(total - max_neighbors)
    goal = total - excess
    capped = total > max_neighbors

    def sums(radius: Tensor) -> tuple[Tensor, Tensor]:
        """The weights counted, and their derivative with respect to the radius, of each atom."""
        t = (radius.index_select(0, target) - distance) / width
        return per_atom(counted * smooth_step(t)), per_atom(counted * smooth_step_slope(t)) / width

    with torch.no_grad():
        low, high = torch.zeros_like(total), torch.full_like(total, cutoff + width)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            enough = sums(middle)[0] > goal
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    radius = low
    if torch.is_grad_enabled() or in_forward_mode():
        # The root by bisection has no derivatives. Newton steps from there change no value but give it those of the
        # equation: the first step the first derivatives, the second step the second ones.
        for _ in range(2):
            found, slope = sums(radius)
            steep = slope > torch.finfo(slope.dtype).tiny ** 0.5
            step = (found - goal) / torch.where(steep, slope, torch.ones_like(slope))
            radius = radius - torch.where(steep, step - step.detach(), torch.zeros_like(step))
    weight = smooth_step((radius.index_select(0, target) - distance) / width)
    return parent * torch.where(capped.index_select(0, target), weight, torch.ones_like(weight))


def either(weight: Float[Tensor, " edges"], other: Float[Tensor, " edges"]) -> Float[Tensor, " edges"]:
    """w + w' - w w': the weight of an edge that either of its atoms counts among its neighbors."""
    return weight + other - weight * other
