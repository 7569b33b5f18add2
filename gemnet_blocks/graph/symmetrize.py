"""Make every edge have its opposite: a cap on neighbors makes a search one-sided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gemnet_blocks.graph.pairs import Pairs, packed_keys

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
    upwards = _towards_higher_index(pairs)
    kept = torch.arange(len(pairs), device=pairs.source.device)
    if rule == "lower_index":
        kept = upwards.nonzero()[:, 0]
    # of a pair and its opposite, both are the same link; whichever stands for it makes no difference
    links, link_of = _links(pairs.select(kept), upwards.index_select(0, kept))
    origin = kept.index_select(0, links)
    both = pairs.select(origin).with_opposites()
    order = both.canonical_order()
    positions = torch.arange(len(order), device=order.device)
    rank = torch.empty_like(order).scatter_(0, order, positions)
    opposite = positions.roll(len(links))
    flipped = upwards.index_select(0, kept) != upwards.index_select(0, origin).index_select(0, link_of)
    place = rank.index_select(0, link_of + flipped * len(links))
    return SymmetricPairs(
        pairs=both.select(order),
        reverse=rank[opposite[order]],
        origin=origin[order % max(len(links), 1)],
        flipped=order >= len(links),
        place=torch.full_like(pairs.source, -1).index_copy_(0, kept, place),
    )


def _towards_higher_index(pairs: Pairs) -> Bool[Tensor, " pairs"]:
    x, y, z = pairs.shift.unbind(dim=-1)
    positive = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    return (pairs.source < pairs.target) | ((pairs.source == pairs.target) & positive)


def _links(pairs: Pairs, upwards: Tensor) -> tuple[Int[Tensor, " links"], Int[Tensor, " pairs"]]:
    """A pair for each set of pairs that are equal but for the direction, and which set each pair belongs to."""
    lower, upper = torch.minimum(pairs.source, pairs.target), torch.maximum(pairs.source, pairs.target)
    shift = torch.where(upwards[:, None], pairs.shift, -pairs.shift)
    keys = packed_keys([lower, upper, *shift.unbind(-1)])
    if len(keys) == 1:
        unique, link_of = torch.unique(keys[0], return_inverse=True)
    elif keys:
        unique, link_of = torch.unique(torch.stack(keys, dim=-1), return_inverse=True, dim=0)
    else:
        unique = link_of = lower
    members = torch.arange(len(pairs), device=link_of.device)
    return link_of.new_zeros(len(unique)).scatter_(0, link_of, members), link_of
