"""Selection of the nearest neighbors of each atom, exactly or with weights that fade out smoothly."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.graph.ragged import row_pointers
from gemnet_blocks.graph.smooth_step import smooth_step, smooth_step_integral, smooth_step_slope
from gemnet_blocks.util.derivatives import in_forward_mode

Ties = Literal["strict", "inclusive", "inclusive_next"]
"""Treatment of neighbors at (nearly) the same distance as the last one within `max_neighbors`.

strict: keep exactly `max_neighbors` neighbors; ties are broken by source index and periodic image.
inclusive: keep all neighbors within a tolerance of the last one, so that the selection does not depend on the order of
    the atoms.
inclusive_next: keep all neighbors within a tolerance of the first one *beyond* `max_neighbors`, and therefore at least
    one more, like published GemNet-OC models with `enforce_max_neighbors_strictly=False`.
"""

CapRule = Literal[Ties, "smooth"]
"""Effect of `max_neighbors`: exclude neighbors, with one of the rules for ties, or let them fade out (`smooth`).

If neighbors are excluded, the energy jumps where two of them exchange their ranks at `max_neighbors`. With `smooth`, it
is continuous, see `soft_weights`.
"""


def within_cap(
    pairs: Pairs,
    atom_count: int,
    max_neighbors: int,
    ties: Ties = "strict",
    tolerance: float = 0.01,
    squared: bool = False,
) -> Bool[Tensor, " pairs"]:
    """Select the pairs whose source atom is among the nearest `max_neighbors` of the target atom.

    Args:
        pairs: the pairs, sorted by target atom and distance.
        atom_count: the number of atoms.
        max_neighbors: the number k of neighbors to keep.
        ties: the treatment of neighbors at the same distance as the last one.
        tolerance: the largest difference of distances that count as equal, in Å.
        squared: True to apply the tolerance, in Å², to squared distances instead.
    """
    first = row_pointers(pairs.target, atom_count)
    start, degree = first[:-1], first.diff()
    if ties == "strict":
        end = start + max_neighbors
        return torch.arange(pairs.target.shape[0], device=end.device) < end.index_select(0, pairs.target)
    # the rank of the neighbor that determines the largest distance
    last_rank = max_neighbors - 1 if ties == "inclusive" else max_neighbors
    distance = pairs.distance**2 if squared else pairs.distance
    if last_rank < 0:
        return torch.zeros_like(distance, dtype=torch.bool)
    # padded, as the last atoms may have fewer neighbors
    limit = pad(distance, (0, 1)).index_select(0, (start + last_rank).clamp(max=distance.shape[0])) + tolerance
    limit = torch.where(degree > last_rank, limit, torch.inf)
    return distance <= limit.index_select(0, pairs.target)


HALVINGS = 60
"""The number of bisection steps, after which the radius is accurate to the last bit of double precision."""


def soft_weights(
    distance: Float[Tensor, " pairs"],
    target: Int[Tensor, " pairs"],
    atom_count: int,
    max_neighbors: int,
    cutoff: float,
    width: float,
    parent: Float[Tensor, " pairs"] | None = None,
) -> Float[Tensor, " pairs"]:
    r"""Compute weights from 0 to 1 of the neighbors of each atom, with a sum of little more than `max_neighbors`.

    $$w_j = p_j\, s\Big(\frac{r - d_j}{\delta}\Big), \qquad
    \text{with } r \text{ such that } \sum_j p_j u_j\, s\Big(\frac{r - d_j}{\delta}\Big) = M - e(M - k), \quad
    M = \sum_j p_j u_j, \quad u_j = s\Big(\frac{R - d_j}{\delta}\Big)$$

    for each target atom. Here s is the smooth step t³(10 - 15t + 6t²) from 0 at t = 0 to 1 at t = 1, and e is its
    integral from 0. Atoms with at most k neighbors have the weights p. With more neighbors, the sum of the weights
    approaches k + 1/2. The factor u reduces the count of neighbors near the cutoff R, where the envelope makes them
    vanish. Neighbors at the same distance have the same weight. As functions of the distances, the weights have two
    continuous derivatives, even if neighbors appear, disappear or exchange their ranks.

    The idea of a cutoff that adapts smoothly to the surroundings of each atom is that of Pozdnyakov and Ceriotti,
    NeurIPS 2023, arXiv 2305.19302.

    Args:
        distance: d_j ≤ R in Å, in double precision.
        target: the target atom of each pair.
        atom_count: the number of atoms.
        max_neighbors: k, typically 8 to 50.
        cutoff: R in Å.
        width: δ in Å, typically 0.5. Smaller values approach a sharp selection but make forces vary faster.
        parent: p_j, the weights in the edge set that the pairs are selected from; None for 1.
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
        """Compute the sum of the counted weights of each atom and its derivative with respect to the radius."""
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
        # The root found by bisection has no derivatives. Newton steps from the root leave its value unchanged but
        # provide the derivatives of the equation: the first derivatives with one step, the second ones with two.
        for _ in range(2):
            found, slope = sums(radius)
            steep = slope > torch.finfo(slope.dtype).tiny ** 0.5
            step = (found - goal) / torch.where(steep, slope, torch.ones_like(slope))
            radius = radius - torch.where(steep, step - step.detach(), torch.zeros_like(step))
    weight = smooth_step((radius.index_select(0, target) - distance) / width)
    return parent * torch.where(capped.index_select(0, target), weight, torch.ones_like(weight))


def either(weight: Float[Tensor, " edges"], other: Float[Tensor, " edges"]) -> Float[Tensor, " edges"]:
    """Combine the weights w and w' that both atoms give to an edge: w + w' - w w'."""
    return weight + other - weight * other
