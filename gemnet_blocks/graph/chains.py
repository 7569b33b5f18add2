"""Chains c→a←b←d without a list of them: the triplets around b and, side by side, those around a."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from gemnet_blocks.geometry.edges import EdgeSet, pack_shift
from gemnet_blocks.graph.padded import AtomGroups, atom_groups
from gemnet_blocks.graph.quadruplets import triplets_around_source
from gemnet_blocks.graph.triplets import Triplets


@final
@dataclass(frozen=True, slots=True, eq=False)
class Chains:
    """What quadruplets c→a←b←d are made of; d ≠ a, b ≠ c, comparing atom and image.

    Of all combinations of a triplet d→b→a and a triplet c→a←b those with d = c are no quadruplets; they are closed.

    Attributes:
        around_source: the triplets d→b→a: `outer` is the middle edge b→a, ascending, `inner` the edge d→b.
        around_target: the triplets c→a←b: the outer edges are c→a, the inner ones the middle edges b→a.
        closing: for each of the latter, by group, the triplet d→b→a with d = c; -1 where there is none.
        sources: how many triplets d→b→a each middle edge has.
    """

    around_source: Triplets
    around_target: AtomGroups
    closing: tuple[Int[Tensor, "atoms outer_width inner_width"], ...]
    sources: Int[Tensor, " middle_edges"]

    @property
    def count(self) -> int:
        """The number of quadruplets."""
        combinations = sum(
            int((self.sources[group.inner][:, None, :] * group.pair).sum()) for group in self.around_target.groups
        )
        return combinations - sum(int((closing >= 0).sum()) for closing in self.closing)


def chains(edges: EdgeSet, middle: EdgeSet, atoms_at_most: int | None = None) -> Chains:
    """All chains with outer edges c→a and d→b from `edges` and the middle edge b→a from `middle`.

    Args:
        edges: the outer edges.
        middle: the middle edges.
        atoms_at_most: how many atoms a group may have.
    """
    around_source = triplets_around_source(edges, middle)
    around_target = atom_groups(edges, middle, atoms_at_most)
    sources = torch.bincount(around_source.outer, minlength=middle.count)
    find = _Finder(edges, middle, around_source)
    closing = tuple(
        torch.where(group.pair, find(group.outer[:, :, None], group.inner[:, None, :]), -1)
        for group in around_target.groups
    )
    return Chains(around_source, around_target, closing, sources)


class _Finder:
    """Finds the triplet d→b→a of an edge c→a and a middle edge b→a for which d = c."""

    def __init__(self, edges: EdgeSet, middle: EdgeSet, around_source: Triplets) -> None:
        self._source, self._middle_shift = edges.source, pack_shift(middle.shift)
        self._shift = pack_shift(edges.shift)
        # d as seen from a: the image shift of d→b on top of that of b→a. Shifts are numbered, so that middle edge,
        # atom and shift fit into one integer.
        image_of_d = self._shift[around_source.inner] + self._middle_shift[around_source.outer]
        self._shifts, number = torch.unique(image_of_d, return_inverse=True)
        self._atom_count = edges.atom_count
        keys = self._key(around_source.outer, edges.source[around_source.inner], number)
        self._keys, self._triplet = keys.sort()

    def __call__(self, outer: Tensor, middle: Tensor) -> Tensor:
        if not len(self._keys):
            return outer.new_full(torch.broadcast_shapes(outer.shape, middle.shape), -1)
        shift = self._shift[outer]
        number = torch.searchsorted(self._shifts, shift).clamp(max=len(self._shifts) - 1)
        key = self._key(middle, self._source[outer], number)
        place = torch.searchsorted(self._keys, key).clamp(max=len(self._keys) - 1)
        found = (self._keys[place] == key) & (self._shifts[number] == shift)
        return torch.where(found, self._triplet[place], -1)

    def _key(self, middle: Tensor, source: Tensor, number: Tensor) -> Tensor:
        return (middle * self._atom_count + source) * max(len(self._shifts), 1) + number
