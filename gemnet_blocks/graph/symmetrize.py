"""Symmetrization of edges, because `max_neighbors` may keep an edge without its reverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gemnet_blocks.graph.pairs import Pairs, packed_keys
from gemnet_blocks.util.derivatives import is_known_to_be_empty

Symmetrization = Literal["lower_index", "union"]
"""Rule for the edges that are kept.

lower_index: keep edges from a lower to a higher atom index and edges between an atom and its own image with a
    lexicographically positive shift, and add their reverse edges. Published models use this rule (with shifts of the
    opposite sign). If `max_neighbors` excludes neighbors, the result depends on the order of the atoms.
union: keep an edge if it or its reverse was selected. The result does not depend on the order of the atoms.
"""


@dataclass(frozen=True, slots=True, eq=False)
class SymmetricPairs:
    """Pairs that occur in both directions.

    Attributes:
        pairs: the symmetrized pairs, sorted by target, distance, source and shift.
        reverse: the index of the reverse of each pair.
        origin: the index of the original pair that each pair, or its reverse, comes from.
        flipped: True if a pair is the reverse of its original pair.
        place: the index in `pairs` of each original pair; -1 for pairs that the rule drops.
    """

    pairs: Pairs
    reverse: Int[Tensor, " pairs"]
    origin: Int[Tensor, " pairs"]
    flipped: Bool[Tensor, " pairs"]
    place: Int[Tensor, " symmetrized"]


def symmetrize(pairs: Pairs, rule: Symmetrization) -> SymmetricPairs:
    """Keep the pairs selected by a rule, and add the reverse of each."""
    upwards = _towards_higher_index(pairs)
    # a pair and its reverse are one link, which either of them can represent
    if rule == "lower_index":
        kept = upwards.nonzero()[:, 0]
        links = link_of = torch.arange(kept.shape[0], device=kept.device)
    else:
        kept = torch.arange(pairs.source.shape[0], device=pairs.source.device)
        links, link_of = _links(pairs, upwards)
    origin = kept.index_select(0, links)
    both = pairs.select(origin).with_opposites()
    order = both.canonical_order()
    count = links.shape[0]  # symbolic while operations are traced
    positions = torch.arange(order.shape[0], device=order.device)
    rank = torch.empty_like(order).scatter_(0, order, positions)
    opposite = torch.cat([positions[count:], positions[:count]])
    flipped = upwards.index_select(0, kept) != upwards.index_select(0, origin).index_select(0, link_of)
    place = rank.index_select(0, link_of + flipped * count)
    return SymmetricPairs(
        pairs=both.select(order),
        reverse=rank[opposite[order]],
        origin=origin[order % torch.sym_max(count, 1)],
        flipped=order >= count,
        place=torch.full_like(pairs.source, -1).index_copy_(0, kept, place),
    )


def _towards_higher_index(pairs: Pairs) -> Bool[Tensor, " pairs"]:
    x, y, z = pairs.shift.unbind(dim=-1)
    positive = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    return (pairs.source < pairs.target) | ((pairs.source == pairs.target) & positive)


def _links(pairs: Pairs, upwards: Tensor) -> tuple[Int[Tensor, " links"], Int[Tensor, " pairs"]]:
    """Find one representative pair of each undirected link, and the link of each pair."""
    lower, upper = torch.minimum(pairs.source, pairs.target), torch.maximum(pairs.source, pairs.target)
    shift = torch.where(upwards[:, None], pairs.shift, -pairs.shift)
    if is_known_to_be_empty(lower):
        return lower, lower
    of_atom, *of_shift = pairs.bounded().of_atoms_and_shifts
    keys = packed_keys([lower, upper, *shift.unbind(-1)], [of_atom, of_atom, *of_shift])
    if len(keys) == 1:
        unique, link_of = torch.unique(keys[0], return_inverse=True)
    else:
        unique, link_of = torch.unique(torch.stack(keys, dim=-1), return_inverse=True, dim=0)
    members = torch.arange(link_of.shape[0], device=link_of.device)
    return link_of.new_zeros(unique.shape[0]).scatter_(0, link_of, members), link_of
