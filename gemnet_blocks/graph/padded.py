"""Edges into the same atom, side by side: atoms in groups of similar numbers of edges, padded to rectangles.

All pairs of an outer edge c→a and an inner edge b→a are then the entries of one matrix per atom, and sums over them are
products of matrices; no triplet is ever listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gemnet_blocks.graph.edge_index import EdgeIndex
from gemnet_blocks.graph.pairs import pack_shift
from gemnet_blocks.graph.triplets import Triplets, triplets_around_source


@final
@dataclass(frozen=True, slots=True, eq=False)
class AtomGroup:
    """Atoms a with at least one outer and one inner edge into them, and all pairs of both.

    Attributes:
        outer: index of the outer edges c→a of each atom; where there are fewer than `width`, any edge stands in.
        inner: index of the inner edges b→a, likewise.
        pair: whether both edges are there, and come from different atom images, b ≠ c.
    """

    outer: Int[Tensor, "atoms outer_width"]
    inner: Int[Tensor, "atoms inner_width"]
    pair: Bool[Tensor, "atoms outer_width inner_width"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class AtomGroups:
    """All atoms with outer and inner edges, in groups.

    Rows are counted through all groups: those of edges are `group.outer` of one group after another, those of atoms the
    atoms of one group after another. What belongs to no group has the row behind the last one.

    Attributes:
        groups: the groups.
        row_of_edge: the row of every outer edge.
        row_of_atom: the row of every atom.
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
        """The outer edges of all groups, one after another."""
        return torch.cat([self.row_of_edge[:0], *(group.outer.flatten() for group in self.groups)])

    @property
    def inner(self) -> Int[Tensor, " padded_inner"]:
        """The inner edges of all groups, one after another."""
        return torch.cat([self.row_of_edge[:0], *(group.inner.flatten() for group in self.groups)])


def atom_groups(outer: EdgeIndex, inner: EdgeIndex, atoms_at_most: int | None = None) -> AtomGroups:
    """Group all atoms that outer and inner edges end at.

    Args:
        outer: the edges c→a.
        inner: the edges b→a.
        atoms_at_most: the greatest number of atoms of a group, which bounds the memory of what is computed for one.
    """
    outer_degree, inner_degree = outer.degree, inner.degree
    atoms = ((outer_degree > 0) & (inner_degree > 0)).nonzero()[:, 0]
    kind = _width_class(outer_degree[atoms]) * 1024 + _width_class(inner_degree[atoms])
    order = kind.argsort(stable=True)
    sizes = torch.unique_consecutive(kind[order], return_counts=True)[1].tolist()
    outer_shift, inner_shift = pack_shift(outer.shift), pack_shift(inner.shift)
    first_row = torch.full_like(outer_degree, -1)  # of the outer edges into each atom
    row_of_atom = torch.full_like(outer_degree, len(atoms))
    row_of_atom[atoms[order]] = torch.arange(len(atoms), device=atoms.device)
    groups: list[AtomGroup] = []
    rows = 0
    for members in atoms[order].split(sizes):
        for part in members.split(atoms_at_most or len(members)):
            outer_edges, has_outer = _padded(outer.first, outer_degree, part)
            inner_edges, has_inner = _padded(inner.first, inner_degree, part)
            end = rows + outer_edges.numel()
            first_row[part] = torch.arange(rows, end, outer_edges.shape[1], device=atoms.device)
            rows = end
            same = outer.source[outer_edges][:, :, None] == inner.source[inner_edges][:, None, :]
            same &= outer_shift[outer_edges][:, :, None] == inner_shift[inner_edges][:, None, :]
            pair = has_outer[:, :, None] & has_inner[:, None, :] & ~same
            groups.append(AtomGroup(outer_edges, inner_edges, pair))
    row = first_row.index_select(0, outer.target)
    row_of_edge = torch.arange(outer.count, device=row.device) - outer.first.index_select(0, outer.target) + row
    return AtomGroups(tuple(groups), torch.where(row >= 0, row_of_edge, rows), row_of_atom)


def _width_class(degree: Int[Tensor, " atoms"]) -> Int[Tensor, " atoms"]:
    """A number that similar degrees share, four from each power of two to the next: 17–20, 21–24, …, 33–40, …"""
    before = (degree - 1).clamp(min=1)
    exponent = torch.log2(before.double()).floor().long()
    power = 1 << exponent
    return 4 * exponent + (before - power) // (power // 4).clamp(min=1)


def _padded(
    first: Int[Tensor, " all_atoms_plus_1"], degree: Int[Tensor, " all_atoms"], atoms: Int[Tensor, " atoms"]
) -> tuple[Int[Tensor, "atoms width"], Bool[Tensor, "atoms width"]]:
    """The edges into each atom, as many as the most of any, and which of them are there."""
    degree, first = degree[atoms], first[atoms]
    column = torch.arange(int(degree.max()), device=atoms.device)
    there = column < degree[:, None]
    return torch.where(there, first[:, None] + column, first[:, None]), there


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


def chains(edges: EdgeIndex, middle: EdgeIndex, atoms_at_most: int | None = None) -> Chains:
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

    def __init__(self, edges: EdgeIndex, middle: EdgeIndex, around_source: Triplets) -> None:
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
