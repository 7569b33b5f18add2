"""Ragged arrays: lists of different lengths, their joins, and their padding in groups of similar length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from gemnet_blocks.util.derivatives import is_known_to_be_empty, is_traced


def row_pointers(ascending: Int[Tensor, " items"], count: int) -> Int[Tensor, " count_plus_1"]:
    """Find the first index of each value 0, 1, …, count in an ascending list; value i ends where i + 1 starts."""
    return torch.searchsorted(ascending, torch.arange(count + 1, device=ascending.device))


@dataclass(frozen=True, slots=True, eq=False)
class Join:
    """Combinations of each row with all items of its list, in the order of the rows."""

    row: Int[Tensor, " combinations"]
    item: Int[Tensor, " combinations"]


def join(start: Int[Tensor, " rows"], length: Int[Tensor, " rows"], total: int | None = None) -> Join:
    """Combine each row r with the items `start[r]`, …, `start[r] + length[r] - 1`.

    Args:
        start: the first item of each row.
        length: the number of items of each row.
        total: the sum of these numbers; None to read it from the device.
    """
    row = torch.repeat_interleave(torch.arange(start.shape[0], device=start.device), length, output_size=total)
    offset = start - (length.cumsum(0) - length)
    return Join(row, offset.index_select(0, row).add_(torch.arange(row.shape[0], device=start.device)))


def kept_items(
    kept: Bool[Tensor, " items"], row: Int[Tensor, " items"], count: int
) -> tuple[Int[Tensor, " chosen"], NDArray[np.int64] | None]:
    """Return the indices of the items that a mask keeps, and the number of them in each row, on the host.

    The device is waited for once. While operations are traced, the numbers are unknown, None.

    Args:
        kept: the mask.
        row: the row of each item.
        count: the number of rows.
    """
    if is_traced(kept):
        return kept.nonzero()[:, 0], None
    lengths = row.new_zeros(count).index_add_(0, row, kept.long()).cpu().numpy()
    return torch.nonzero_static(kept, size=int(lengths.sum()))[:, 0], lengths


GROUPS = 6
"""The number of groups that rows of different lengths are divided into. It is fixed, so that the number of tensors in a
topology does not depend on the structures. Some groups may be empty."""

_WORTH_A_GROUP = 0.02
"""The fraction of all products that an additional group must save."""

ENTRIES_WORTH_A_LAUNCH = 2**14
"""The number of padded entries that one more group of matrices must save on GPUs, where each group launches kernels
of its own. On CPUs, the products of these entries take longer than the further operations."""

_CLASSES = 48
"""The number of size classes between which groups may be divided. The padding is then at most 5 % above its minimum."""


def grouped_by_size(*sizes: NDArray[np.int64], least_saving: int = 0) -> list[NDArray[np.int64]]:
    """Divide rows into `GROUPS` groups of similar sizes, in which each row is padded to the largest size.

    The division nearly minimizes Σ_groups (number of rows) · Π (largest sizes).

    Args:
        sizes: the lengths of each row, one array for each padded dimension.
        least_saving: the number of products that an additional group must save, besides a fraction of all products.

    Returns:
        The rows of each group, ascending.
    """
    table = np.stack(sizes, axis=1)
    code = table[:, 0]
    for column in table.T[1:]:
        code = (code << 20) + column
    _, chosen, inverse, counts = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
    widths = table[chosen]
    order = np.argsort(widths.prod(axis=1), kind="stable")
    group_of_code = np.empty(len(order), dtype=np.int64)
    group_of_code[order] = _least_padding(widths[order], counts[order], least_saving)
    group = group_of_code[inverse.reshape(-1)]
    ends = np.bincount(group, minlength=GROUPS).cumsum()
    return np.split(np.argsort(group, kind="stable"), ends[:-1])


def _least_padding(widths: NDArray[np.int64], counts: NDArray[np.int64], least_saving: int) -> NDArray[np.int64]:
    """Assign each size to a group by dynamic programming over the divisions of the sorted sizes."""
    edges = np.unique(np.linspace(0, len(counts), min(len(counts), _CLASSES) + 1).astype(np.int64))
    if len(edges) < 2:
        return np.zeros(len(counts), dtype=np.int64)
    widest = np.maximum.reduceat(widths, edges[:-1])
    rows = np.add.reduceat(counts, edges[:-1]).astype(float)
    number = len(rows)
    # cost[i, j]: the cost of one group of the classes i, …, j
    cost = np.full((number, number), np.inf)
    for i in range(number):
        cost[i, i:] = rows[i:].cumsum() * np.maximum.accumulate(widest[i:]).prod(axis=1)
    cost += max(_WORTH_A_GROUP * (rows * widest.prod(axis=1)).sum(), least_saving)
    best = cost[0].copy()  # the least cost of the classes up to j
    first = [np.zeros(number, dtype=np.int64)]  # the first class of the last group
    for _ in range(GROUPS - 1):
        total = np.concatenate([[0.0], best[:-1]])[:, None] + cost
        first.append(total.argmin(axis=0))
        best = total.min(axis=0)
    group_of_class = np.zeros(number, dtype=np.int64)
    end = number
    for group in reversed(range(GROUPS)):
        start = first[group][end - 1] if end else 0
        group_of_class[start:end] = group
        end = start
    return np.repeat(group_of_class, edges[1:] - edges[:-1])


@dataclass(frozen=True, slots=True, eq=False)
class Bucket:
    """Group of segments of similar length, padded to the longest one.

    Attributes:
        segments: the indices of the segments.
        items: the items of each segment; shorter segments are padded with the total number of items.
    """

    segments: Int[Tensor, " segments"]
    items: Int[Tensor, "segments width"]


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Division of items into consecutive segments, which are grouped by length.

    Sums over segments of different lengths are then a few dense matrix products instead of one scattered addition per
    item.

    Attributes:
        segment: the segment of each item, ascending.
        first: the first item of each segment, followed by the number of items.
        buckets: the nonempty segments in `GROUPS` groups of similar length.
        place: the index of each segment in the concatenation of the buckets; empty segments have the index after the
            last one.
        row_of_item: the index of each item in the concatenated, padded items of the buckets.
    """

    segment: Int[Tensor, " items"]
    first: Int[Tensor, " segments_plus_1"]
    buckets: tuple[Bucket, ...]
    place: Int[Tensor, " all_segments"]
    row_of_item: Int[Tensor, " items"]

    @property
    def count(self) -> int:
        """The number of segments."""
        return self.first.shape[0] - 1

    @property
    def item_count(self) -> int:
        """The number of items."""
        return self.segment.shape[0]


def worth_a_group(device: torch.device) -> int:
    """Return the number of padded entries that an additional group of matrices must save on a device."""
    return 0 if device.type == "cpu" else ENTRIES_WORTH_A_LAUNCH


def segments(
    segment: Int[Tensor, " items"], count: int, least_saving: int = 0, lengths: NDArray[np.int64] | None = None
) -> Segments:
    """Divide items into consecutive segments and group these by length.

    Args:
        segment: the segment of each item, ascending.
        count: the number of segments.
        least_saving: the number of padded items that an additional bucket must save.
        lengths: the number of items of each segment; None to read them from the device.
    """
    first = row_pointers(segment, count)
    length, item_count = first.diff(), segment.shape[0]
    (rows,) = grouped_rows(length[None], least_saving, None if lengths is None else lengths[None])
    table = rows.padded(first, length, item_count)
    place = torch.full_like(length, rows.order.shape[0])
    place[rows.order] = torch.arange(rows.order.shape[0], device=first.device)
    row_of_segment = torch.zeros_like(length)
    row_of_segment[rows.order] = rows.start
    offset = row_of_segment - first[:-1]
    row_of_item = offset.index_select(0, segment).add_(torch.arange(item_count, device=first.device))
    members = rows.order.split(rows.counts)
    buckets = tuple(map(Bucket, members, rows.split(table.items)))
    return Segments(segment, first, buckets, place, row_of_item)


@dataclass(frozen=True, slots=True, eq=False)
class PaddedTable:
    """The entries of the padded rows of all groups.

    Attributes:
        items: the items of each row; shorter rows are padded.
        there: False for entries that pad a row.
    """

    items: Int[Tensor, " entries"]
    there: Bool[Tensor, " entries"]


@dataclass(frozen=True, slots=True, eq=False)
class PaddedRows:
    """Rows of different lengths in the order of their groups, in which all rows are padded to the same width.

    Attributes:
        order: the rows.
        start: the first entry of each of these rows in the padded table of all groups.
        width: the width of each of these rows.
        counts: the number of rows of each group.
        widths: the width of each group; 0 for an empty group.
    """

    order: Int[Tensor, " rows"]
    start: Int[Tensor, " rows"]
    width: Int[Tensor, " rows"]
    counts: list[int]
    widths: list[int]

    @property
    def sizes(self) -> list[int]:
        """The number of entries of each group."""
        return [count * width for count, width in zip(self.counts, self.widths, strict=True)]

    def padded(
        self, first: Int[Tensor, " all_rows_plus_1"], length: Int[Tensor, " all_rows"], filler: int | None = None
    ) -> PaddedTable:
        """List the items of the rows.

        Args:
            first: the first item of every row, in any order of the rows.
            length: the number of items of every row.
            filler: the index that shorter rows are padded with; None for their own first item.
        """
        entries = sum(self.sizes)
        row = torch.repeat_interleave(self.width, output_size=entries)
        # lists of hidden length may be empty, and then the first item may be beyond all items
        start = torch.minimum(first.index_select(0, self.order), first[-1] - 1)
        end = start + length.index_select(0, self.order)
        start, end, before = torch.stack([start, end, start - self.start]).index_select(1, row).unbind()
        item = before + torch.arange(entries, device=first.device)
        there = item < end
        return PaddedTable(torch.where(there, item, start if filler is None else filler), there)

    def split(self, entries: Tensor) -> list[Tensor]:
        """Divide a value for each entry into the tables of the groups."""
        parts = entries.split(self.sizes)
        shapes = zip(self.counts, self.widths, strict=True)
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def grouped_rows(
    lengths: Int[Tensor, "lists rows"], least_saving: int, on_host: NDArray[np.int64] | None = None
) -> list[PaddedRows]:
    """Arrange the rows that have items in all lists in groups of similar sizes, see `grouped_by_size`.

    Args:
        lengths: the number of items of every row in each list.
        least_saving: the number of products that an additional group must save.
        on_host: the same lengths, if they are known without reading them from the device.

    Returns:
        The rows in the same order for each list. While operations are traced, all rows are one group.
    """
    if is_traced(lengths):
        return _one_group(lengths)
    on_host = lengths.cpu().numpy() if on_host is None else on_host
    rows = np.flatnonzero((on_host > 0).all(axis=0))
    groups = [rows[group] for group in grouped_by_size(*on_host[:, rows], least_saving=least_saving)]
    return padded_rows(groups, list(on_host), lengths.device)


def _one_group(lengths: Int[Tensor, "lists rows"]) -> list[PaddedRows]:
    count, order = lengths.shape[1], torch.arange(lengths.shape[1], device=lengths.device)
    found = []
    for widest in pad(lengths, (0, 1), value=2).amax(dim=1).unbind():
        width: Any = widest.item()
        torch._check(width >= 2)  # sizes of 0 and 1 are special to tracers
        found.append(PaddedRows(order, order * width, torch.full_like(order, width), [count], [width]))
    return found


def padded_rows(
    groups: Sequence[NDArray[np.int64]], lengths: Sequence[NDArray[np.int64]], device: torch.device
) -> list[PaddedRows]:
    """Arrange the rows of groups, once for each list of lengths, and bring them to a device in one transfer.

    Args:
        groups: the rows of each group.
        lengths: lists of the lengths of all rows.
        device: the device of the result.
    """
    counts = [len(group) for group in groups]
    all_widths = [[int(length[group].max(initial=0)) for group in groups] for length in lengths]
    columns = [np.concatenate(groups)]
    for widths in all_widths:
        width = np.repeat(widths, counts)
        columns += [width.cumsum() - width, width]
    order, *rest = torch.from_numpy(np.stack(columns)).to(device).unbind()
    starts_and_widths = zip(rest[::2], rest[1::2], all_widths, strict=True)
    return [PaddedRows(order, start, width, counts, widths) for start, width, widths in starts_and_widths]


def by_segment(
    matrices: Float[Tensor, "segments out in"], values: Float[Tensor, "items in"], of: Segments
) -> Float[Tensor, "items out"]:
    """Multiply the values of each item by the matrix of its segment, in one batched matrix product per bucket.

    Args:
        matrices: one matrix for each segment.
        values: one row for each item.
        of: the division of items into segments.
    """
    padded = torch.cat([values, values.new_zeros(1, values.shape[1])])
    products = [matrices.new_zeros(0, matrices.shape[1])]
    for bucket in of.buckets:
        if is_known_to_be_empty(bucket.items):
            continue
        chosen = padded.index_select(0, bucket.items.flatten()).unflatten(0, bucket.items.shape)
        products.append((chosen @ matrices.index_select(0, bucket.segments).transpose(1, 2)).flatten(0, 1))
    return torch.cat(products).index_select(0, of.row_of_item)
