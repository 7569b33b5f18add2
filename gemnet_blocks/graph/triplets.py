"""Triplets: two edges into the same atom."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor

from gemnet_blocks.graph.edge_index import EdgeIndex
from gemnet_blocks.graph.pairs import pack_shift
from gemnet_blocks.graph.ragged import Join, Segments, join, kept_items, segments


@dataclass(frozen=True, slots=True, eq=False)
class Triplets:
    """Pairs of edges c→a and b→a into the same atom a from different periodic images, b ≠ c.

    Attributes:
        outer: the index of c→a among the outer edges, ascending.
        inner: the index of b→a among the inner edges.
        by_outer: the triplets grouped by outer edge, for sums over them.
    """

    outer: Int[Tensor, " triplets"]
    inner: Int[Tensor, " triplets"]
    by_outer: Segments

    @property
    def count(self) -> int:
        """The number of triplets."""
        return self.outer.shape[0]


def triplets(outer: EdgeIndex, inner: EdgeIndex) -> Triplets:
    """List all inner edges b→a with b ≠ c for each outer edge c→a, comparing atoms together with their images.

    With the same edge set twice, these are the triplets of the edge–edge interaction. With two edge sets, these are the
    mixed triplets of the atom–edge and edge–atom interactions.
    """
    pairs = join(inner.first[outer.target], inner.degree[outer.target])
    same_atom = outer.source[pairs.row] == inner.source[pairs.item]
    same_image = pack_shift(outer.shift)[pairs.row] == pack_shift(inner.shift)[pairs.item]
    return listed_triplets(pairs, ~(same_atom & same_image), outer.count)


def listed_triplets(pairs: Join, kept: Bool[Tensor, " pairs"], outer_count: int, least_saving: int = 0) -> Triplets:
    """List the pairs of an outer edge (row) and an inner edge (item) that a mask keeps; waits for the device once.

    Args:
        pairs: pairs of edges, in the order of the outer edges.
        kept: the mask.
        outer_count: the number of outer edges.
        least_saving: see `segments`.
    """
    chosen, lengths = kept_items(kept, pairs.row, outer_count)
    row, item = pairs.row.index_select(0, chosen), pairs.item.index_select(0, chosen)
    return Triplets(row, item, segments(row, outer_count, least_saving, lengths))
