"""Padded tables of the edges into each atom.

All pairs of an outer edge c→a and an inner edge b→a are entries of one matrix per atom. Sums over triplets are then
matrix products, without a list of triplets. Atoms are divided into a fixed number of groups with similar numbers of
edges, and the table of each group is padded to a rectangle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gemnet_blocks.graph.edge_index import EdgeIndex
from gemnet_blocks.graph.pairs import pack_shift
from gemnet_blocks.graph.quadruplets import triplets_around_source
from gemnet_blocks.graph.ragged import grouped_by_size, padded
from gemnet_blocks.graph.triplets import Triplets


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
    outer_degree, inner_degree = outer.degree, inner.degree
    atoms = ((outer_degree > 0) & (inner_degree > 0)).nonzero()[:, 0]
    outer_shift, inner_shift = pack_shift(outer.shift), pack_shift(inner.shift)
    first_row = torch.full_like(outer_degree, -1)  # of the outer edges into each atom; -1 outside of all groups
    row_of_atom = torch.full_like(outer_degree, len(atoms))
    groups: list[AtomGroup] = []
    rows = atoms_before = 0
    for group in grouped_by_size(outer_degree[atoms], inner_degree[atoms]):
        members = atoms[group]
        outer_edges, has_outer = padded(outer.first, outer_degree, members)
        inner_edges, has_inner = padded(inner.first, inner_degree, members)
        row_of_atom[members] = torch.arange(atoms_before, atoms_before + len(members), device=atoms.device)
        first_row[members] = torch.arange(len(members), device=atoms.device) * outer_edges.shape[1] + rows
        atoms_before += len(members)
        rows += outer_edges.numel()
        same = outer.source[outer_edges][:, :, None] == inner.source[inner_edges][:, None, :]
        same &= outer_shift[outer_edges][:, :, None] == inner_shift[inner_edges][:, None, :]
        groups.append(AtomGroup(outer_edges, inner_edges, has_outer[:, :, None] & has_inner[:, None, :] & ~same))
    row = first_row.index_select(0, outer.target)
    row_of_edge = torch.arange(outer.count, device=row.device) - outer.first.index_select(0, outer.target) + row
    return AtomGroups(tuple(groups), torch.where(row >= 0, row_of_edge, rows), row_of_atom)


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
    sources = torch.bincount(around_source.outer, minlength=middle.count)
    find = _Finder(edges, middle, around_source)
    closing = tuple(
        torch.where(group.pair, find(group.outer[:, :, None], group.inner[:, None, :]), -1)
        for group in around_target.groups
    )
    return Chains(around_source, around_target, closing, sources)


class _Finder:
    """Lookup of the triplet d→b→a with d = c for an edge c→a and a middle edge b→a."""

    def __init__(self, edges: EdgeIndex, middle: EdgeIndex, around_source: Triplets) -> None:
        self._source, self._middle_shift = edges.source, pack_shift(middle.shift)
        self._shift = pack_shift(edges.shift)
        # The image of d relative to a is the sum of the image shifts of d→b and b→a. Shifts are numbered, so that
        # middle edge, atom and shift fit into one integer.
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
