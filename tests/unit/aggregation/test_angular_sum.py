from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import assert_close, assert_same_function
from torch import Tensor

from gemnet_blocks.aggregation.angular_sum import ExplicitSum, WeightedSum
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.graph.ragged import segments


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_explicit_angular_sums_project_weighted_sums() -> None:
    segment, index = torch.tensor([0, 0, 2, 2, 2]), torch.tensor([3, 1, 0, 1, 2])
    weights, projection, values, linear = random(5, 2), random(4, 3, 2), random(4, 6), random(2, 18)
    inner = WeightedSum(weights, index, segments(segment, 4))
    projected = ExplicitSum(inner, projection)(values, lambda rows: rows @ linear.T)
    rows = []
    for s in range(4):
        total = torch.zeros(3, 6, dtype=torch.float64)
        for i in range(5):
            if segment[i] == s:
                total = total + torch.outer(projection[s] @ weights[i], values[index[i]])
        rows.append(total)
    expected = torch.stack(rows).flatten(1) @ linear.T
    assert_same_function(projected, expected, [weights, projection, values, linear])


def test_sums_over_edges_end_at_atoms() -> None:
    segment, index = torch.tensor([0, 0, 2, 2, 2]), torch.tensor([3, 1, 0, 1, 2])
    weights, projection, values, linear = random(5, 2), random(4, 3, 2), random(4, 6), random(2, 18)
    inner = WeightedSum(weights, index, segments(segment, 4))
    target = torch.tensor([0, 0, 2, 2])
    at_edges = projection @ inner(values)
    at_atoms = torch.stack([at_edges[0] + at_edges[1], torch.zeros(3, 6), at_edges[2] + at_edges[3]])
    to_atoms = partial(Sums().by_index, index=target, count=3)
    fast = ExplicitSum(inner, projection, to_atoms=to_atoms)(values, lambda rows: rows @ linear.T)
    assert_same_function(fast, at_atoms.flatten(1) @ linear.T, [weights, projection, values, linear])


def test_radial_sums_need_no_projection() -> None:
    weights, values, linear = random(3, 2), random(4, 6), random(2, 12)
    inner = WeightedSum(weights, torch.tensor([3, 1, 0]), segments(torch.tensor([0, 0, 1]), 2))
    rows = torch.stack(
        [torch.outer(weights[0], values[3]) + torch.outer(weights[1], values[1]), torch.outer(weights[2], values[0])]
    )
    fast = ExplicitSum(inner, None)(values, lambda rows: rows @ linear.T)
    assert_same_function(fast, rows.flatten(1) @ linear.T, [weights, values, linear])


def weighted_sum(weights: Tensor, values: Tensor, index: Tensor, segment: Tensor, count: int) -> Tensor:
    rows = list(values.new_zeros(count, weights.shape[1], values.shape[1]))
    for i, s in enumerate(segment.tolist()):
        rows[s] = rows[s] + torch.outer(weights[i], values[index[i]])
    return torch.stack(rows)


LENGTHS = {
    "short": [3, 1, 2, 4],
    "empty ones": [0, 3, 0, 0, 5, 0],
    "one long": [2, 60, 1, 0],
    "all lengths": list(range(15)),
    "all empty": [0, 0],
    "single": [1],
}


@pytest.mark.parametrize("kind", list(LENGTHS))
def test_weighted_sums(kind: str) -> None:
    lengths = LENGTHS[kind]
    segment = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    weights, values, index = random(len(segment), 3), random(7, 2), torch.randint(0, 7, (len(segment),))
    fast = WeightedSum(weights, index, segments(segment, len(lengths)))(values)
    slow = weighted_sum(weights, values, index, segment, len(lengths))
    assert_same_function(fast, slow, [weights, values])


@pytest.mark.parametrize(("count", "weight_count", "feature_count"), [(0, 3, 2), (4, 3, 0), (4, 0, 2)])
def test_weighted_sums_without_segments_features_or_weights(count: int, weight_count: int, feature_count: int) -> None:
    segment = torch.arange(count)
    prepared = WeightedSum(random(count, weight_count), segment, segments(segment, count))
    assert prepared(random(5, feature_count)).shape == (count, weight_count, feature_count)


def test_weighted_sums_of_no_items_read_no_values() -> None:
    nothing = torch.zeros(0, dtype=torch.long)
    prepared = WeightedSum(random(0, 3), nothing, segments(nothing, 2))
    assert prepared(random(0, 2)).tolist() == torch.zeros(2, 3, 2).tolist()


def test_a_prepared_sum_serves_different_values() -> None:
    segment, index = torch.tensor([0, 0, 1, 3]), torch.tensor([2, 0, 1, 2])
    weights = random(4, 2)
    prepared = WeightedSum(weights, index, segments(segment, 4))
    for _ in range(2):
        values = random(3, 5)
        assert_close(prepared(values), weighted_sum(weights, values, index, segment, 4))


def test_padding_does_not_let_values_that_are_not_finite_through() -> None:
    # the first row of the values stands in for padding; where no item reads it, it must not count
    segment, index = torch.tensor([0, 0, 0, 1]), torch.tensor([1, 2, 1, 2])
    values = torch.tensor([[1e300], [1.0], [2.0]], dtype=torch.float64)
    prepared = WeightedSum(torch.ones(4, 1, dtype=torch.float64), index, segments(segment, 2))
    assert prepared(values).flatten().tolist() == [4, 2]


def test_second_derivatives_of_weighted_sums() -> None:
    division, index = segments(torch.tensor([0, 0, 2, 2, 2]), 4), torch.tensor([1, 0, 1, 2, 2])

    def weighted(weights: Tensor, values: Tensor) -> Tensor:
        return WeightedSum(weights, index, division)(values)

    assert torch.autograd.gradcheck(weighted, (random(5, 2), random(3, 2)))
    assert torch.autograd.gradgradcheck(weighted, (random(5, 2), random(3, 2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weighted_sums_keep_the_type_of_the_values(dtype: torch.dtype) -> None:
    index, values = torch.tensor([0, 1, 1]), torch.ones(3, 2, dtype=dtype)
    assert WeightedSum(values, index, segments(index, 2))(values).dtype == dtype
