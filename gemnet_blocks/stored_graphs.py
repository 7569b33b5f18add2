"""The graphs that batches of published data sets bring."""

from __future__ import annotations

from typing import Any

import torch

from gemnet_blocks.geometry.edges import measure
from gemnet_blocks.graph.max_neighbors import CapRule, within_cap
from gemnet_blocks.graph.neighbor_list import Pairs
from gemnet_blocks.structures import Structures

STORED_CUTOFF, STORED_MAX_NEIGHBORS = 6.0, 50
"""The graphs that Open Catalyst's data sets store: published models read no greater ones from a batch."""


def stored_pairs(
    data: Any, structures: Structures, cutoff: float, cap: int, ties: CapRule, periodic: bool
) -> Pairs | None:
    """The edges that a batch brings, within a cutoff and cap; None where it brings none or the graph is greater.

    Args:
        data: a batch; read are `edge_index` and `cell_offsets`.
        structures: its structures.
        cutoff: in Å.
        cap: the greatest number of neighbors; 0: as many as there are.
        ties: what becomes of neighbors at the same distance.
        periodic: whether `cell_offsets` count.
    """
    found = (
        None if cutoff > STORED_CUTOFF or cap > STORED_MAX_NEIGHBORS else every_stored_pair(data, structures, periodic)
    )
    if found is None:
        return None
    pairs = found.select(found.distance <= cutoff)
    if cap <= 0:
        return pairs
    assert ties != "smooth"  # published models exclude neighbors
    return pairs.select(within_cap(pairs, structures.atom_count, cap, ties))


def every_stored_pair(data: Any, structures: Structures, periodic: bool) -> Pairs | None:
    """All edges that a batch brings; None where it brings none. The arguments are those of `stored_pairs`."""
    edge_index = getattr(data, "edge_index", None)
    if edge_index is None:
        return None
    offsets = getattr(data, "cell_offsets", None) if periodic else None
    shift = edge_index.new_zeros(edge_index.shape[1], 3) if offsets is None else offsets.long()
    target, order = edge_index[1].long().sort(stable=True)
    pairs = Pairs(edge_index[0].long()[order], target, shift[order], torch.zeros_like(target, dtype=torch.float64))
    with torch.no_grad():
        distance = measure(pairs, structures.to(dtype=torch.float64), torch.float64).distance
    pairs = Pairs(pairs.source, pairs.target, pairs.shift, distance)
    return pairs.select(pairs.canonical_order())
