"""Ragged arrays: lists of different lengths, their joins, and their padding in groups of similar length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor


def row_pointers(ascending: Int[Tensor, " items"], count: int) -> Int[Tensor, " count_plus_1"]:
    """Find the first index of each value 0, 1, …, count in an ascending list; value i ends where i + 1 starts."""
    return torch.searchsorted(ascending, torch.arange(count + 1, device=ascending.device))


@dataclass(frozen=True, slots=True, eq=False)
class Join:
    """Combinations of each row with all items of its list, in the order of the rows."""

    row: Int[Tensor, " combinations"]
    item: Int[Tensor, " combinations"]


def join(start: Int[Tensor, " rows"], length: Int[Tensor, " rows"]) -> Join:
    """Combine each row r with the items `start[r]`, …, `start[r] + length[r] - 1`."""
    row = torch.repeat_interleave(torch.arange(len(start), device=start.device), length)
    offset = start - (length.cumsum(0) - length)
    return Join(row, offset.index_select(0, row).add_(torch.arange(len(row), device=start.device)))


GROUPS = 6
"""The number of groups that rows of different lengths are divided into. It is fixed, so that the number of tensors in a
topology does not depend on the structures. Some groups may be empty."""

_WORTH_A_GROUP = 0.02
"""The fraction of all products that an additional group must save."""

_CLASSES = 48
"""The number of size classes between which groups may be divided. The padding is then at most 5 % above its minimum."""


def grouped_by_size(*sizes: Int[Tensor, " rows"]) -> list[Int[Tensor, " members"]]:
    """Divide rows into `GROUPS` groups of similar sizes, in which each row is padded to the largest size.

    The division nearly minimizes Σ_groups (number of rows) · Π (largest sizes). It synchronizes with the device.

    Args:
        sizes: the lengths of each row, one tensor for each padded dimension.

    Returns:
        The rows of each group, ascending.
    """
    code = sizes[0]
    for size in sizes[1:]:
        code = (code << 20) + size
    codes, inverse, counts = torch.unique(code, return_inverse=True, return_counts=True)
    widths = np.stack([(codes >> 20 * place & 0xFFFFF).cpu().numpy() for place in range(len(sizes))], axis=1)
    order = np.argsort(widths.prod(axis=1), kind="stable")
    group_of_code = np.empty(len(order), dtype=np.int64)
    group_of_code[order] = _least_padding(widths[order], counts.cpu().numpy()[order])
    group = torch.from_numpy(group_of_code).to(code.device)[inverse]
    members = torch.bincount(group, minlength=GROUPS).tolist()
    return list(group.argsort(stable=True).split(members))


def _least_padding(widths: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
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
    cost += _WORTH_A_GROUP * (rows * widest.prod(axis=1)).sum()
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


def segments(segment: Int[Tensor, " items"], count: int) -> Segments:
    """Divide items into consecutive segments and group these by length.

    Args:
        segment: the segment of each item, ascending.
        count: the number of segments.
    """
    first = row_pointers(segment, count)
    length, item_count = first.diff(), segment.shape[0]
    filled = (length > 0).nonzero()[:, 0]
    place = torch.full_like(length, len(filled))
    row_of_item = torch.zeros_like(segment)
    buckets: list[Bucket] = []
    placed = rows = 0
    for group in grouped_by_size(length[filled]):
        members = filled[group]
        items, there = padded(first, length, members, item_count)
        row_of_item[items[there]] = there.flatten().nonzero()[:, 0] + rows
        rows += items.numel()
        place[members] = torch.arange(placed, placed + len(members), device=first.device)
        placed += len(members)
        buckets.append(Bucket(members, items))
    return Segments(segment, first, tuple(buckets), place, row_of_item)


def padded(
    first: Int[Tensor, " all_rows_plus_1"],
    length: Int[Tensor, " all_rows"],
    rows: Int[Tensor, " rows"],
    filler: int | None = None,
) -> tuple[Int[Tensor, "rows width"], Bool[Tensor, "rows width"]]:
    """Pad the item indices of some rows to the length of the longest one, and return them with the mask of items.

    Args:
        first: the first item of every row.
        length: the number of items of every row.
        rows: the rows to pad.
        filler: the index that shorter rows are padded with; None for their own first item.
    """
    start, length = first[rows, None], length[rows]
    column = torch.arange(int(length.max()) if len(rows) else 0, device=first.device)
    there = column < length[:, None]
    return torch.where(there, start + column, start if filler is None else filler), there


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
        chosen = padded.index_select(0, bucket.items.flatten()).unflatten(0, bucket.items.shape)
        products.append((chosen @ matrices.index_select(0, bucket.segments).transpose(1, 2)).flatten(0, 1))
    return torch.cat(products).index_select(0, of.row_of_item)
