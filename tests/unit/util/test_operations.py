"""Counts of operations and of waits for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gemnet_blocks.util.operations import OperationCounter

NUMBERS = torch.tensor([1.0, -1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("compute", "operations"),
    [
        (lambda: NUMBERS + 1, 1),
        (lambda: NUMBERS.view(2, 2).t()[0].expand(3, 2), 0),
        (lambda: NUMBERS.new_empty(3), 0),
        (lambda: torch.zeros(3), 1),
        (lambda: NUMBERS.clone().mul_(2), 2),
        (lambda: NUMBERS.view(2, 2) @ NUMBERS.view(2, 2), 1),
    ],
)
def test_views_and_allocations_are_left_out(compute: Callable[[], Any], operations: int) -> None:
    with OperationCounter() as counter:
        compute()
    assert counter.operations == operations
    assert counter.waits == 0


@pytest.mark.parametrize(
    "compute",
    [
        lambda: NUMBERS.sum().item(),
        lambda: bool((NUMBERS > 0).all()),
        lambda: NUMBERS[NUMBERS > 0],
        NUMBERS.nonzero,
        NUMBERS.unique,
        NUMBERS.tolist,
        lambda: torch.repeat_interleave(torch.tensor([1, 2])),
    ],
)
def test_each_wait_counts_once(compute: Callable[[], Any]) -> None:
    with OperationCounter() as counter:
        compute()
    assert counter.waits == 1


def test_known_sizes_need_no_wait() -> None:
    counts = torch.tensor([1, 2])
    with OperationCounter() as counter:
        torch.repeat_interleave(counts, output_size=3)
        NUMBERS[torch.tensor([0, 1])]
    assert counter.waits == 0
