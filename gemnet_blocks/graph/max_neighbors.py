"""Caps on the number of neighbors: which of an atom's neighbors count among its nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.graph.ragged import row_pointers

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
