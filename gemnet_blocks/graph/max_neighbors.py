"""Caps on the number of neighbors: which of an atom's neighbors count among its nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.graph.ragged import row_pointers
from gemnet_blocks.graph.smooth_step import smooth_step, smooth_step_integral, smooth_step_slope
from gemnet_blocks.util.derivatives import in_forward_mode

Ties = Literal["strict", "inclusive", "inclusive_next"]
"""What becomes of neighbors at (nearly) the same distance as the last one that a cap admits.

strict: exactly as many as the cap says, the first in the order of source index and image.
inclusive: all within a tolerance of the last one admitted, so that the choice does not depend on the atoms' order.
inclusive_next: all within a tolerance of the first one *excluded*, as published GemNet-OC models count
    (`enforce_max_neighbors_strictly=False`): one neighbor more than the cap, or several.
"""

CapRule = Literal[Ties, "smooth"]
"""How a cap acts: it excludes neighbors, with one of the rules for ties, or fades them out, see `soft_caps`.

A cap that excludes neighbors makes the energy jump wherever two of them change places at the cap.
"""


def within_cap(
    pairs: Pairs,
    atom_count: int,
    max_neighbors: int,
    ties: Ties = "strict",
    tolerance: float = 0.01,
    squared: bool = False,
) -> Bool[Tensor, " pairs"]:
    """Whether each pair's source is among the nearest `max_neighbors` of its target.

    Args:
        pairs: sorted by target, then distance.
        atom_count: the number of atoms.
        max_neighbors: the cap k.
        ties: what becomes of neighbors at the same distance.
        tolerance: distances that differ by this much, in Å, are the same.
        squared: apply the tolerance to squared distances (Å²) instead.
    """
    nearest = nearest_runs(pairs, atom_count, max_neighbors, ties, tolerance, squared)
    end = (nearest.start + nearest.length).index_select(0, pairs.target)
    return torch.arange(len(pairs), device=end.device) < end


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Of each atom, the first of the pairs with it as the target.

    Attributes:
        start: the first pair.
        length: how many pairs.
        complete: whether these are all pairs.
    """

    start: Int[Tensor, " atoms"]
    length: Int[Tensor, " atoms"]
    complete: bool


def nearest_runs(
    pairs: Pairs,
    atom_count: int,
    max_neighbors: int,
    ties: Ties = "strict",
    tolerance: float = 0.01,
    squared: bool = False,
) -> Runs:
    """The pairs that are `within_cap`, at a cost by the atom instead of by the pair; arguments as there."""
    first = row_pointers(pairs.target, atom_count)
    start, degree = first[:-1], first.diff()
    longest = int(degree.max()) if atom_count else 0
    # the rank of the neighbor whose distance is the limit, and of those that are within in any case
    last_rank = max_neighbors - 1 if ties == "inclusive" else max_neighbors
    if longest <= last_rank or longest <= max_neighbors:
        return Runs(start, degree, complete=True)
    if ties == "strict" or last_rank < 0:
        return Runs(start, degree.clamp(max=max_neighbors), complete=False)

    def measure(pair: Tensor) -> Tensor:
        distance = pairs.distance.index_select(0, pair.clamp(max=len(pairs) - 1))
        return distance**2 if squared else distance

    capped = degree > last_rank
    limit = measure(start + last_rank) + tolerance
    # bisection: distances ascend along a run
    low, high = torch.where(capped, start, first[1:]), first[1:]
    for _ in range(longest.bit_length()):
        middle = (low + high) // 2
        inside = (low < high) & (measure(middle) <= limit)
        low, high = torch.where(inside, middle + 1, low), torch.where(inside, high, middle)
    return Runs(start, low - start, complete=False)


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
