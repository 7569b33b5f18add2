"""Padded tables of the edges into each atom.

All pairs of an outer edge c→a and an inner edge b→a are entries of one matrix per atom. Sums over triplets are then
matrix products, without a list of triplets. Atoms are divided into a fixed number of groups with similar numbers of
edges, and the table of each group is padded to a rectangle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad

from gemnet_blocks.graph.edge_index import EdgeIndex
from gemnet_blocks.graph.pairs import pack_shift
from gemnet_blocks.graph.quadruplets import triplets_around_source
from gemnet_blocks.graph.ragged import PaddedRows, PaddedTable, grouped_rows, worth_a_group
from gemnet_blocks.graph.triplets import Triplets
from gemnet_blocks.util.derivatives import is_traced


@final
@dataclass(frozen=True, slots=True, eq=False)
class AtomGroup:
    """Group of atoms a with at least one outer and one inner edge into each of them, and all pairs of these edges.

    Attributes:
        outer: the outer edges c→a of each atom; shorter rows are padded with arbitrary edges.
        inner: the inner edges b→a of each atom, padded in the same way.
        pair: the mask of the pairs of existing edges with different source images, b ≠ c.
    """

    outer: Int[Tensor, "atoms outer_width"]
    inner: Int[Tensor, "atoms inner_width"]
    pair: Bool[Tensor, "atoms outer_width inner_width"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class AtomGroups:
    """All atoms with outer and inner edges, divided into groups of similar size.

    Rows are numbered consecutively over all groups. Edges and atoms outside of all groups have the number after the
    last row.

    Attributes:
        groups: the groups of `grouped_by_size`; some may be empty.
        row_of_edge: the index of every outer edge in `outer`.
        row_of_atom: the index of every atom among the atoms of all groups.
    """

    groups: tuple[AtomGroup, ...]
    row_of_edge: Int[Tensor, " outer_edges"]
    row_of_atom: Int[Tensor, " atoms"]

    @property
    def count(self) -> int:
        """The number of triplets c→a←b."""
        return sum(int(group.pair.sum()) for group in self.groups)

    @property
    def outer(self) -> Int[Tensor, " padded_outer"]:
        """The outer edges of all groups, including padding."""
        return torch.cat([self.row_of_edge[:0], *(group.outer.flatten() for group in self.groups)])

    @property
    def inner(self) -> Int[Tensor, " padded_inner"]:
        """The inner edges of all groups, including padding."""
        return torch.cat([self.row_of_edge[:0], *(group.inner.flatten() for group in self.groups)])

    def in_slices(self, atoms_at_most: int | None) -> AtomGroups:
        """Split the groups into views of at most `atoms_at_most` atoms, without empty groups; rows keep numbers."""
        tables = (
            [group.outer for group in self.groups],
            [group.inner for group in self.groups],
            [group.pair for group in self.groups],
        )
        slices = zip(*(_sliced(table, atoms_at_most) for table in tables), strict=True)
        return replace(self, groups=tuple(AtomGroup(*parts) for parts in slices))


def _sliced(tables: Iterable[Tensor], rows_at_most: int | None) -> list[Tensor]:
    """Split tables into views of at most `rows_at_most` rows, without empty tables."""
    tables = [table for table in tables if table.shape[0]]
    return tables if rows_at_most is None else [part for table in tables for part in table.split(rows_at_most)]


def atom_groups(outer: EdgeIndex, inner: EdgeIndex) -> AtomGroups:
    """Group all atoms with outer edges c→a and inner edges b→a by their numbers of edges."""
    device, degrees = outer.first.device, torch.stack([outer.degree, inner.degree])
    outer_degree, inner_degree = degrees
    read = [getattr(one, "degree_on_host", None) for one in (outer, inner)]  # measured edges have none
    known = [degree for degree in read if degree is not None]
    on_host = np.stack(known) if len(known) == len(read) else None
    outer_rows, inner_rows = grouped_rows(degrees, worth_a_group(device), on_host)
    atom_count = outer_rows.order.shape[0]
    outer_table = outer_rows.padded(outer.first, outer_degree)
    inner_table = inner_rows.padded(inner.first, inner_degree)
    pairs = _pairs(outer_rows, inner_rows, _image(outer, outer_table), _image(inner, inner_table))
    groups = map(AtomGroup, outer_rows.split(outer_table.items), inner_rows.split(inner_table.items), pairs)
    row_of_atom = torch.full_like(outer_degree, atom_count)
    row_of_atom[outer_rows.order] = torch.arange(atom_count, device=device)
    rows = sum(outer_rows.sizes)
    # edges into atoms outside of all groups get numbers that are too large
    first_row = torch.full_like(outer_degree, rows + outer.count)
    first_row[outer_rows.order] = outer_rows.start
    offset = (first_row - outer.first[:-1]).index_select(0, outer.target)
    row_of_edge = offset.add_(torch.arange(outer.count, device=device)).clamp_(max=rows)
    return AtomGroups(tuple(groups), row_of_edge, row_of_atom)


def _image(edges: EdgeIndex, table: PaddedTable) -> Int[Tensor, "3 entries"]:
    """Return the source atom, its packed image shift and the presence of each entry of a padded table."""
    sources = torch.stack([edges.source, pack_shift(edges.shift)]).index_select(1, table.items)
    return torch.cat([sources, table.there[None]])


def _pairs(
    outer: PaddedRows, inner: PaddedRows, of_outer: Int[Tensor, "3 outer_entries"], of_inner: Tensor
) -> list[Bool[Tensor, "atoms outer_width inner_width"]]:
    """Select the pairs of existing edges with different source images in each group."""
    pairs: list[Tensor] = []
    shapes = zip(outer.counts, outer.widths, inner.widths, strict=True)
    parts = zip(of_outer.split(outer.sizes, dim=1), of_inner.split(inner.sizes, dim=1), shapes, strict=True)
    for one, other, (atoms, outer_width, inner_width) in parts:
        if not atoms:
            pairs.append(one.new_empty(0, 0, 0, dtype=torch.bool))
            continue
        one, other = one.view(3, atoms, outer_width, 1), other.view(3, atoms, 1, inner_width)
        same_atom, same_image, _ = one == other
        pairs.append((one[2] & other[2]).bool() > (same_atom & same_image))
    return pairs


@final
@dataclass(frozen=True, slots=True, eq=False)
class Chains:
    """Quadruplets c→a←b←d as combinations of two kinds of triplets, d→b→a and c→a←b with d ≠ a and b ≠ c.

    All combinations of such triplets with the same middle edge b→a are quadruplets, except closed ones with d = c.
    Atoms are compared together with their periodic images.

    Attributes:
        around_source: the triplets d→b→a: `outer` is the middle edge b→a, ascending, and `inner` the edge d→b.
        around_target: the triplets c→a←b: the outer edges are c→a, and the inner edges are the middle edges b→a.
        closing: by group, the triplet d→b→a with d = c of each triplet c→a←b; -1 if it does not exist.
        sources: the number of triplets d→b→a of each middle edge.
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

    def in_slices(self, atoms_at_most: int | None) -> Chains:
        """Split the groups into views of at most `atoms_at_most` atoms, without empty groups."""
        closing = tuple(_sliced(self.closing, atoms_at_most))
        return replace(self, around_target=self.around_target.in_slices(atoms_at_most), closing=closing)


def chains(edges: EdgeIndex, middle: EdgeIndex) -> Chains:
    """Find all quadruplets with outer edges c→a and d→b of `edges` and middle edges b→a of `middle`."""
    around_source = triplets_around_source(edges, middle)
    around_target = atom_groups(edges, middle)
    find = _Finder(edges, middle, around_source)
    closing = tuple(
        torch.where(group.pair, find(group.outer[:, :, None], group.inner[:, None, :]), -1)
        if is_traced(group.pair) or len(group.pair)
        else torch.empty_like(group.pair, dtype=torch.long)
        for group in around_target.groups
    )
    return Chains(around_source, around_target, closing, around_source.by_outer.first.diff())


_LAST = 2**62
"""A number behind all others in sorted lists, so that every search finds a place in them."""


class _Finder:
    """Lookup of the triplet d→b→a with d = c for an edge c→a and a middle edge b→a."""

    def __init__(self, edges: EdgeIndex, middle: EdgeIndex, around_source: Triplets) -> None:
        self._source, self._middle_shift = edges.source, pack_shift(middle.shift)
        self._shift = pack_shift(edges.shift)
        # The image of d relative to a is the sum of the image shifts of d→b and b→a. Shifts are replaced by their
        # ranks, so that middle edge, atom and shift fit into one integer.
        image_of_d = self._shift[around_source.inner] + self._middle_shift[around_source.outer]
        self._shifts = pad(image_of_d.sort().values, (0, 1), value=_LAST)
        self._atom_count = edges.atom_count
        rank = torch.searchsorted(self._shifts, image_of_d)
        keys, triplet = self._key(around_source.outer, edges.source[around_source.inner], rank).sort()
        self._keys, self._triplet = pad(keys, (0, 1), value=_LAST), pad(triplet, (0, 1), value=-1)

    def __call__(self, outer: Tensor, middle: Tensor) -> Tensor:
        shift = self._shift[outer]
        rank = torch.searchsorted(self._shifts, shift)
        key = self._key(middle, self._source[outer], rank)
        place = torch.searchsorted(self._keys, key)
        found = (self._keys[place] == key) & (self._shifts[rank] == shift)
        return torch.where(found, self._triplet[place], -1)

    def _key(self, middle: Tensor, source: Tensor, rank: Tensor) -> Tensor:
        return (middle * self._atom_count + source) * self._shifts.shape[0] + rank
