"""Lists of different lengths, one after another: joining them and summing over them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


def row_pointers(ascending: Int[Tensor, " items"], count: int) -> Int[Tensor, " count_plus_1"]:
    """Where each value 0, 1, …, count starts in an ascending list: the run of value i ends where i + 1 starts."""
    return torch.searchsorted(ascending, torch.arange(count + 1, device=ascending.device))


@dataclass(frozen=True, slots=True, eq=False)
class Join:
    """Every combination of a row with an item of that row's list, in the order of the rows."""

    row: Int[Tensor, " combinations"]
    item: Int[Tensor, " combinations"]


def join(start: Int[Tensor, " rows"], length: Int[Tensor, " rows"]) -> Join:
    """Combine each row r with the items `start[r]`, …, `start[r] + length[r] - 1`."""
    row = torch.repeat_interleave(torch.arange(len(start), device=start.device), length)
    offset = start - (length.cumsum(0) - length)
    return Join(row, offset.index_select(0, row).add_(torch.arange(len(row), device=start.device)))


@dataclass(frozen=True, slots=True, eq=False)
class Bucket:
    """Segments of similar length, padded to the longest of them.

    Attributes:
        segments: which segments.
        items: the items of each; where there are fewer, the number of all items stands in.
    """

    segments: Int[Tensor, " segments"]
    items: Int[Tensor, "segments width"]


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """A division of the items 0, 1, … into consecutive runs, and the runs grouped by length.

    Sums over runs of different lengths are then a few dense matrix products instead of one scattered addition per
    item; padding wastes at most a third of the products for runs longer than 8.

    Attributes:
        segment: the segment of each item, ascending.
        first: where each segment starts; one more entry than there are segments.
        buckets: the segments that are not empty, by length.
        place: where each segment stands in the concatenation of the buckets; empty ones behind the last.
        row_of_item: where each item stands in the concatenation of the buckets' items.
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
    """Group consecutive runs by length.

    Args:
        segment: the segment of each item, ascending.
        count: the number of segments.
    """
    first = row_pointers(segment, count)
    length, item_count = first.diff(), segment.shape[0]
    longest = int(length.max()) if len(length) else 0
    place = torch.full_like(length, 0)
    buckets: list[Bucket] = []
    row_of_item = torch.zeros_like(segment)
    placed, shorter, rows = 0, 0, 0
    while shorter < longest:
        width = min(longest, max(shorter + 4, shorter * 3 // 2))
        members = ((length > shorter) & (length <= width)).nonzero()[:, 0]
        shorter = width
        if not len(members):
            continue
        column = torch.arange(width, device=first.device)
        there = column < length[members, None]
        items = torch.where(there, first[:-1][members, None] + column, item_count)
        row_of_item[items[there]] = there.flatten().nonzero()[:, 0] + rows
        rows += items.numel()
        place[members] = torch.arange(placed, placed + len(members), device=first.device)
        placed += len(members)
        buckets.append(Bucket(members, items))
    return Segments(segment, first, tuple(buckets), torch.where(length > 0, place, placed), row_of_item)


def by_segment(
    matrices: Float[Tensor, "segments out in"], values: Float[Tensor, "items in"], of: Segments
) -> Float[Tensor, "items out"]:
    """Multiply each item by the matrix of its segment, as one product of matrices per segment.

    Args:
        matrices: one for each segment.
        values: one row for each item.
        of: the division of the items.
    """
    padded = torch.cat([values, values.new_zeros(1, values.shape[1])])
    products = [matrices.new_zeros(0, matrices.shape[1])]
    for bucket in of.buckets:
        chosen = padded.index_select(0, bucket.items.flatten()).unflatten(0, bucket.items.shape)
        products.append((chosen @ matrices.index_select(0, bucket.segments).transpose(1, 2)).flatten(0, 1))
    return torch.cat(products).index_select(0, of.row_of_item)
