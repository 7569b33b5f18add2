"""Caps on the number of neighbors: which of an atom's neighbors count among its nearest."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from gemnet_blocks.graph.neighbors import Pairs
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
    first = row_pointers(pairs.target, atom_count)
    rank = torch.arange(pairs.target.shape[0], device=pairs.target.device) - first[pairs.target]
    if ties == "strict":
        return rank < max_neighbors
    last_rank = max_neighbors - 1 if ties == "inclusive" else max_neighbors
    if last_rank < 0:
        return torch.zeros_like(rank, dtype=torch.bool)
    distance = pairs.distance**2 if squared else pairs.distance
    capped = first.diff() > last_rank
    limit = torch.full((atom_count,), torch.inf, dtype=distance.dtype, device=distance.device)
    limit[capped] = distance[first[:-1][capped] + last_rank] + tolerance
    return distance <= limit[pairs.target]
