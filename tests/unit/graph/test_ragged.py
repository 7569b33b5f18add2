from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from gemnet_blocks.graph.ragged import GROUPS, grouped_by_size, join, row_pointers, segments

LENGTHS = {
    "nothing": [],
    "one empty": [0],
    "all empty": [0, 0, 0],
    "one item": [1],
    "empty at both ends": [0, 3, 0, 0, 2, 0],
    "short": [1, 2, 3, 4, 5, 4, 3, 2, 1],
    "one long among short": [1, 300, 0, 2, 2],
    "all lengths": list(range(70)),
    "equal": [7] * 5,
}


@pytest.fixture(params=list(LENGTHS))
def lengths(request: pytest.FixtureRequest) -> list[int]:
    return LENGTHS[request.param]


def segment_of_items(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([s for s, length in enumerate(lengths) for _ in range(length)], dtype=torch.long)


def test_row_pointers_say_where_each_value_starts(lengths: list[int]) -> None:
    pointers = row_pointers(segment_of_items(lengths), len(lengths))
    assert pointers.tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]


def test_join_lists_every_item_of_every_row_in_order() -> None:
    start, length = [5, 0, 5, 9, 2], [2, 0, 3, 1, 0]
    result = join(torch.tensor(start), torch.tensor(length))
    expected = [(r, start[r] + i) for r in range(len(start)) for i in range(length[r])]
    assert list(zip(result.row.tolist(), result.item.tolist(), strict=True)) == expected


def test_join_of_nothing() -> None:
    nothing = torch.zeros(0, dtype=torch.long)
    assert join(nothing, nothing).row.shape == (0,)
    assert join(torch.zeros(3, dtype=torch.long), torch.zeros(3, dtype=torch.long)).item.shape == (0,)


def test_buckets_hold_every_segment_that_is_not_empty_once_with_all_its_items(lengths: list[int]) -> None:
    result = segments(segment_of_items(lengths), len(lengths))
    assert (result.count, result.item_count) == (len(lengths), sum(lengths))
    found: dict[int, list[int]] = {}
    for bucket in result.buckets:
        for segment, items in zip(bucket.segments.tolist(), bucket.items.tolist(), strict=True):
            assert segment not in found
            found[segment] = [item for item in items if item != result.item_count]
            padding = items[len(found[segment]) :]
            assert padding == [result.item_count] * len(padding)
    for s, length in enumerate(lengths):
        assert found.get(s, []) == list(range(sum(lengths[:s]), sum(lengths[: s + 1])))
        assert (s in found) == (length > 0)


def test_place_undoes_the_grouping_and_sends_empty_segments_behind_the_last(lengths: list[int]) -> None:
    result = segments(segment_of_items(lengths), len(lengths))
    order = [segment for bucket in result.buckets for segment in bucket.segments.tolist()]
    for s, place in enumerate(result.place.tolist()):
        assert place == (order.index(s) if lengths[s] else len(order))


@pytest.mark.parametrize("lengths", [range(9, 200), range(1000), [3] * 50 + [40] * 5 + [41, 1000], [1, 500] * 20])
def test_few_buckets_pad_little(lengths: Sequence[int]) -> None:
    buckets = segments(segment_of_items(list(lengths)), len(lengths)).buckets
    assert len(buckets) == GROUPS
    assert sum(bucket.items.numel() for bucket in buckets) < 1.25 * sum(lengths)


@pytest.mark.parametrize("seed", range(3))
def test_groups_have_nearly_the_least_padding(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 30, (40,), generator=generator)

    def padded_to(rows: torch.Tensor) -> int:
        return len(rows) * int(rows.max())

    least = {0: 0}  # of the first sizes, with at most so many groups
    ordered = sizes.sort().values
    for _ in range(GROUPS):
        least = {
            end: min(
                cost + (padded_to(ordered[start:end]) if end > start else 0)
                for start, cost in least.items()
                if start <= end
            )
            for end in range(len(sizes) + 1)
        }
    groups = list(map(torch.from_numpy, grouped_by_size(sizes.numpy())))
    assert torch.cat(groups).sort().values.tolist() == list(range(len(sizes)))
    found = sum(padded_to(sizes[group]) for group in groups if len(group))
    assert found <= least[len(sizes)] + 0.02 * GROUPS * int(sizes.sum())
