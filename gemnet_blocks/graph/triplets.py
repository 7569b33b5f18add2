"""Triplets: two edges into the same atom."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from gemnet_blocks.geometry.edges import EdgeSet, pack_shift
from gemnet_blocks.graph.ragged import join


@dataclass(frozen=True, slots=True, eq=False)
class Triplets:
    """Pairs of edges c→a and b→a from different atom images into the same atom a.

    Attributes:
        outer: index of c→a among the outer edges, ascending.
        inner: index of b→a among the inner edges.
    """

    outer: Int[Tensor, " triplets"]
    inner: Int[Tensor, " triplets"]

    @property
    def count(self) -> int:
        """The number of triplets."""
        return self.outer.shape[0]


def triplets(outer: EdgeSet, inner: EdgeSet) -> Triplets:
    """For each outer edge c→a all inner edges b→a with b ≠ c, comparing atom and image.

    With the same edges twice, these are the triplets of an edge-to-edge interaction; with two edge sets, the mixed
    triplets of the atom-to-edge and edge-to-atom interactions.
    """
    pairs = join(inner.first[outer.target], inner.degree[outer.target])
    same_atom = outer.source[pairs.row] == inner.source[pairs.item]
    same_image = pack_shift(outer.shift)[pairs.row] == pack_shift(inner.shift)[pairs.item]
    keep = ~(same_atom & same_image)
    return Triplets(pairs.row[keep], pairs.item[keep])
