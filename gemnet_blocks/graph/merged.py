"""Topologies for compiled models: few padded tables, none of which is empty or has one row or column.

Compilers take sizes of 0 and 1 for constants, and every table of a topology adds operations to the compiled code. The
groups of `grouped_by_size` are therefore merged into `TABLES` tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, combinations, pairwise
from math import prod
from typing import Any, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import pad

from gemnet_blocks.graph.padded import AtomGroup, AtomGroups, Chains
from gemnet_blocks.graph.pairs import Translations
from gemnet_blocks.graph.ragged import Bucket, Segments
from gemnet_blocks.util.nested import mapped

TABLES = 2
"""The number of tables that groups are merged into. With more, less is padded, but the compiled code is larger."""

LEAST = 2
"""The least number of rows and columns of a table."""

Value = TypeVar("Value")


def merged_tables(value: Value) -> Value:
    """Merge the tables of a topology, or of a part of it, into `TABLES` tables with at least two rows and columns."""
    found: Any = value
    if isinstance(value, AtomGroups):
        found = _atom_groups(value)
    elif isinstance(value, Chains):
        merged = _Merged([group.pair.shape for group in value.around_target.groups])
        found = replace(
            value,
            around_source=merged_tables(value.around_source),
            around_target=_atom_groups(value.around_target),
            closing=merged.tables(value.closing, -1),
        )
    elif isinstance(value, Segments):
        found = _segments(value)
    elif isinstance(value, Translations):
        found = _translations(value)
    elif not isinstance(value, tuple):
        found = mapped(value, merged_tables)
    return found


def _translations(given: Translations) -> Translations:
    """Give each pair the number of a translation, as in topologies of all structures, and append unused ones."""
    count = given.shift.shape[1]
    of_pair = torch.arange(count, device=given.shift.device) if given.of_pair is None else given.of_pair
    missing = (0, max(LEAST - count, 0))
    return Translations(pad(given.shift, missing), pad(given.structure, missing), of_pair)


def _atom_groups(given: AtomGroups) -> AtomGroups:
    groups = given.groups
    merged = _Merged([group.pair.shape for group in groups])
    outer = merged.tables([group.outer for group in groups])
    inner = merged.tables([group.inner for group in groups], axes=(0, 2))
    pair = merged.tables([group.pair for group in groups])
    return AtomGroups(
        tuple(AtomGroup(*parts) for parts in zip(outer, inner, pair, strict=True)),
        merged.entries(given.row_of_edge),
        merged.rows(given.row_of_atom),
    )


def _segments(given: Segments) -> Segments:
    merged = _Merged([bucket.items.shape for bucket in given.buckets])
    members = merged.tables([bucket.segments for bucket in given.buckets])
    items = merged.tables([bucket.items for bucket in given.buckets], given.item_count)
    return replace(
        given,
        buckets=tuple(map(Bucket, members, items)),
        place=merged.rows(given.place),
        row_of_item=merged.entries(given.row_of_item),
    )


class _Merged:
    """Merges consecutive tables, and renumbers their rows and entries.

    Args:
        shapes: the shapes of the tables.
    """

    def __init__(self, shapes: Sequence[Sequence[int]]) -> None:
        self._shapes = shapes
        divisions = [(0, *ends, len(shapes)) for ends in combinations(range(len(shapes) + 1), TABLES - 1)]
        self._parts = min(
            ([slice(*ends) for ends in pairwise(division)] for division in divisions),
            key=lambda parts: sum(prod(self._shape(part)) for part in parts),
        )

    def _shape(self, part: slice) -> tuple[int, ...]:
        """The shape of the table that some tables are merged into."""
        rows, *widths = zip(*self._shapes[part], strict=True) if self._shapes[part] else [()] * len(self._shapes[0])
        return max(sum(rows), LEAST), *(max(*width, LEAST, LEAST) for width in widths)

    def tables(self, tables: Sequence[Tensor], filler: int = 0, axes: Sequence[int] = (0, 1, 2)) -> tuple[Tensor, ...]:
        """Merge tables whose axes are these ones of the shapes, and pad them with `filler`."""
        found = []
        for part in self._parts:
            shape = [self._shape(part)[axis] for axis in axes[: tables[0].ndim]]
            wide = [self._padded(table, (len(table), *shape[1:]), filler) for table in tables[part]]
            found.append(self._padded(torch.cat(wide) if wide else tables[0][:0], shape, filler))
        return tuple(found)

    @staticmethod
    def _padded(table: Tensor, shape: Sequence[int], filler: int) -> Tensor:
        missing = [(0, new - old) for old, new in zip(table.shape, shape, strict=True)]
        return pad(table, list(chain(*reversed(missing))), value=filler)

    def rows(self, old: Int[Tensor, " numbers"]) -> Int[Tensor, " numbers"]:
        """Renumber rows; the number after the last row stays the number after the last row."""
        return self._renumbered(old, entries=False)

    def entries(self, old: Int[Tensor, " numbers"]) -> Int[Tensor, " numbers"]:
        """Renumber the entries of the first two axes, and the number after the last entry."""
        return self._renumbered(old, entries=True)

    def _renumbered(self, old: Tensor, entries: bool) -> Tensor:
        device = old.device
        found, start = [], 0
        for part in self._parts:
            rows, width = self._shape(part)[0], self._shape(part)[1] if entries else 1
            for count, columns, *_ in self._shapes[part]:
                row = torch.arange(count, device=device)[:, None] * width + start
                found.append((row + torch.arange(columns if entries else 1, device=device)).flatten())
                start += count * width
            start += (rows - sum(shape[0] for shape in self._shapes[part])) * width
        return torch.cat([*found, old.new_full((1,), start)]).index_select(0, old)
