"""Quadruplets: two edges at the two ends of a middle edge."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor

from gemnet_blocks.graph.edge_index import EdgeIndex
from gemnet_blocks.graph.pairs import pack_shift
from gemnet_blocks.graph.ragged import Join, Segments, join, row_pointers, segments, worth_a_group
from gemnet_blocks.graph.triplets import Triplets, listed_triplets, triplets


@dataclass(frozen=True, slots=True, eq=False)
class Quadruplets:
    """Quadruplets c→a←b←d with a middle edge b→a, d ≠ a, b ≠ c and d ≠ c.

    Atoms are compared together with their periodic images.

    Attributes:
        around_source: the triplets d→b→a: `outer` is the middle edge b→a, and `inner` is the edge d→b.
        around_target: the triplets c→a←b: `outer` is the edge c→a, and `inner` is the middle edge b→a.
        source_triplet: the index of the triplet d→b→a of each quadruplet.
        target_triplet: the index of the triplet c→a←b of each quadruplet, ascending.
        by_outer: the quadruplets grouped by edge c→a, for sums over them.
    """

    around_source: Triplets
    around_target: Triplets
    source_triplet: Int[Tensor, " quadruplets"]
    target_triplet: Int[Tensor, " quadruplets"]
    by_outer: Segments

    @property
    def count(self) -> int:
        """The number of quadruplets."""
        return self.source_triplet.shape[0]

    @property
    def outer(self) -> Int[Tensor, " quadruplets"]:
        """The index of the edge c→a of each quadruplet, ascending."""
        return self.around_target.outer[self.target_triplet]


def triplets_around_source(edges: EdgeIndex, middle: EdgeIndex) -> Triplets:
    """List all edges d→b with d ≠ a for each middle edge b→a."""
    pairs = join(edges.first[middle.source], edges.degree[middle.source])
    same_atom = edges.source[pairs.item] == middle.target[pairs.row]
    # the image of a relative to b is opposite to the image of b relative to a
    same_image = pack_shift(edges.shift)[pairs.item] == -pack_shift(middle.shift)[pairs.row]
    return listed_triplets(pairs, ~(same_atom & same_image), middle.count, worth_a_group(pairs.row.device))


def quadruplets(edges: EdgeIndex, middle: EdgeIndex) -> Quadruplets:
    """List all quadruplets with outer edges c→a and d→b of `edges` and middle edges b→a of `middle`."""
    around_target = triplets(edges, middle)
    around_source = triplets_around_source(edges, middle)
    first = row_pointers(around_source.outer, middle.count)
    pairs = join(first[around_target.inner], first.diff()[around_target.inner])
    kept = of_different_atoms(pairs, edges, middle, around_source, around_target).nonzero()[:, 0]
    row, item = pairs.row, pairs.item
    del pairs  # lists of quadruplets are the largest index sets: free them early
    target_triplet = row.index_select(0, kept)
    del row
    by_outer = segments(around_target.outer.index_select(0, target_triplet), edges.count)
    return Quadruplets(around_source, around_target, item.index_select(0, kept), target_triplet, by_outer)


def of_different_atoms(
    pairs: Join, edges: EdgeIndex, middle: EdgeIndex, around_source: Triplets, around_target: Triplets
) -> Bool[Tensor, " pairs"]:
    """Select the pairs of triplets c→a←b (row) and d→b→a (item) with c ≠ d."""
    # the image of d relative to a is the sum of the image shifts of d→b and b→a
    edge_shift, middle_shift = pack_shift(edges.shift), pack_shift(middle.shift)
    image_of_d = edge_shift[around_source.inner] + middle_shift[around_source.outer]
    same_atom = edges.source[around_source.inner][pairs.item] == edges.source[around_target.outer][pairs.row]
    same_image = image_of_d[pairs.item] == edge_shift[around_target.outer][pairs.row]
    return ~(same_atom & same_image)
