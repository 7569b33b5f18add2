"""Make every edge have its opposite: a cap on neighbors makes a search one-sided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gemnet_blocks.graph.edges import pack_shift
from gemnet_blocks.graph.neighbors import Pairs

Symmetrization = Literal["lower_index", "union"]
"""Which edges stay.

lower_index: edges from a lower to a higher atom index, of those between an atom and its own image the ones with
    lexicographically positive shift, and the opposite of each. Published models use it (they count shifts with the
    opposite sign and keep the negative ones). Where a cap binds, it depends on the order of the atoms.
union: an edge stays if it or its opposite was selected. Does not depend on the order of the atoms.
"""


@dataclass(frozen=True, slots=True, eq=False)
class SymmetricPairs:
    """Pairs among which every one has its opposite.

    Attributes:
        pairs: sorted by target, distance, source and shift.
        reverse: the index of each pair's opposite.
        origin: which of the pairs that were symmetrized each one is, or is the opposite of.
        flipped: whether it is the opposite.
        place: the index, among `pairs`, of each pair that was symmetrized; -1 of those that the rule dropped.
    """

    pairs: Pairs
    reverse: Int[Tensor, " pairs"]
    origin: Int[Tensor, " pairs"]
    flipped: Bool[Tensor, " pairs"]
    place: Int[Tensor, " symmetrized"]


def symmetrize(pairs: Pairs, rule: Symmetrization) -> SymmetricPairs:
    """The pairs that `rule` keeps, each with its opposite."""
    place = torch.full_like(pairs.source, -1)
    kept = torch.arange(len(pairs), device=pairs.source.device)
    if rule == "lower_index":
        kept = kept[_towards_higher_index(pairs)]
        pairs = pairs.select(kept)
    both = Pairs(
        source=torch.cat([pairs.source, pairs.target]),
        target=torch.cat([pairs.target, pairs.source]),
        shift=torch.cat([pairs.shift, -pairs.shift]),
        distance=torch.cat([pairs.distance, pairs.distance]),
    )
    keys, opposite_keys = _keys(both)
    unique_keys, key_of = torch.unique(keys, return_inverse=True)
    # one representative of each key; which one does not matter, as equal keys are equal pairs
    representative = torch.zeros_like(unique_keys).scatter_(0, key_of, torch.arange(len(keys), device=keys.device))
    by_key = both.select(representative)
    opposite = torch.searchsorted(unique_keys, opposite_keys[representative])
    order = by_key.canonical_order()
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    chosen = representative[order]
    return SymmetricPairs(
        pairs=by_key.select(order),
        reverse=rank[opposite[order]],
        origin=kept[chosen % max(len(kept), 1)],
        flipped=chosen >= len(kept),
        place=place.index_copy_(0, kept, rank[key_of[: len(kept)]]),
    )


def _towards_higher_index(pairs: Pairs) -> Bool[Tensor, " pairs"]:
    x, y, z = pairs.shift.unbind(dim=-1)
    positive = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    return (pairs.source < pairs.target) | ((pairs.source == pairs.target) & positive)


def _keys(pairs: Pairs) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """An integer per pair and that of its opposite; equal for equal (source, target, shift) only."""
    packed = pack_shift(pairs.shift)
    shifts, shift_index = torch.unique(torch.cat([packed, -packed]), return_inverse=True)
    index, opposite_index = shift_index.chunk(2)
    atoms = 1 + int(torch.cat([pairs.source, pairs.target]).max()) if len(packed) else 1
    key = (pairs.target * atoms + pairs.source) * len(shifts) + index
    opposite_key = (pairs.source * atoms + pairs.target) * len(shifts) + opposite_index
    return key, opposite_key
