"""One suite for all ways of computing sums, with loops as the oracle."""

from __future__ import annotations

import builtins
import importlib.util
from typing import Any

import pytest
import torch
from helpers import assert_close, assert_same_function
from torch import Tensor

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.graph.ragged import segments

needs_torch_scatter = pytest.mark.skipif(
    importlib.util.find_spec("torch_scatter") is None, reason="torch-scatter is not installed (extra pyg)"
)


@pytest.fixture(params=["torch", pytest.param("torch_scatter", marks=needs_torch_scatter)])
def backend(request: pytest.FixtureRequest) -> Sums:
    return Sums(request.param)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def sum_by_index(values: Tensor, index: Tensor, count: int) -> Tensor:
    rows = list(values.new_zeros(count, *values.shape[1:]))
    for i, j in enumerate(index.tolist()):
        rows[j] = rows[j] + values[i]
    return torch.stack(rows)


def weighted_sum(weights: Tensor, values: Tensor, index: Tensor, segment: Tensor, count: int) -> Tensor:
    rows = list(values.new_zeros(count, weights.shape[1], values.shape[1]))
    for i, s in enumerate(segment.tolist()):
        rows[s] = rows[s] + torch.outer(weights[i], values[index[i]])
    return torch.stack(rows)


@pytest.mark.parametrize("features", [(), (3,), (2, 3), (0,)])
def test_sums_by_index(backend: Sums, features: tuple[int, ...]) -> None:
    values, index = random(20, *features), torch.randint(0, 6, (20,))
    assert_same_function(backend.by_index(values, index, 8), sum_by_index(values, index, 8), [values])


def test_sums_by_index_of_nothing(backend: Sums) -> None:
    nothing = torch.zeros(0, dtype=torch.long)
    assert backend.by_index(random(0, 3), nothing, 4).tolist() == [[0.0] * 3] * 4
    assert backend.by_index(random(0, 3), nothing, 0).shape == (0, 3)


LENGTHS = {
    "short": [3, 1, 2, 4],
    "empty ones": [0, 3, 0, 0, 5, 0],
    "one long": [2, 60, 1, 0],
    "all lengths": list(range(15)),
    "all empty": [0, 0],
    "single": [1],
}


@pytest.mark.parametrize("kind", list(LENGTHS))
def test_weighted_sums(backend: Sums, kind: str) -> None:
    lengths = LENGTHS[kind]
    segment = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    weights, values, index = random(len(segment), 3), random(7, 2), torch.randint(0, 7, (len(segment),))
    fast = backend.weighted(weights, index, segments(segment, len(lengths)))(values)
    slow = weighted_sum(weights, values, index, segment, len(lengths))
    assert_same_function(fast, slow, [weights, values])


@pytest.mark.parametrize(("count", "weight_count", "feature_count"), [(0, 3, 2), (4, 3, 0), (4, 0, 2)])
def test_weighted_sums_without_segments_features_or_weights(
    backend: Sums, count: int, weight_count: int, feature_count: int
) -> None:
    segment = torch.arange(count)
    prepared = backend.weighted(random(count, weight_count), segment, segments(segment, count))
    assert prepared(random(5, feature_count)).shape == (count, weight_count, feature_count)


def test_weighted_sums_of_no_items_read_no_values(backend: Sums) -> None:
    nothing = torch.zeros(0, dtype=torch.long)
    prepared = backend.weighted(random(0, 3), nothing, segments(nothing, 2))
    assert prepared(random(0, 2)).tolist() == torch.zeros(2, 3, 2).tolist()


def test_a_prepared_sum_serves_different_values(backend: Sums) -> None:
    segment, index = torch.tensor([0, 0, 1, 3]), torch.tensor([2, 0, 1, 2])
    weights = random(4, 2)
    prepared = backend.weighted(weights, index, segments(segment, 4))
    for _ in range(2):
        values = random(3, 5)
        assert_close(prepared(values), weighted_sum(weights, values, index, segment, 4))


def test_padding_does_not_let_values_that_are_not_finite_through(backend: Sums) -> None:
    # the first row of the values stands in for padding; where no item reads it, it must not count
    segment, index = torch.tensor([0, 0, 0, 1]), torch.tensor([1, 2, 1, 2])
    values = torch.tensor([[1e300], [1.0], [2.0]], dtype=torch.float64)
    prepared = backend.weighted(torch.ones(4, 1, dtype=torch.float64), index, segments(segment, 2))
    assert prepared(values).flatten().tolist() == [4, 2]


def test_second_derivatives(backend: Sums) -> None:
    segment, index = torch.tensor([0, 0, 2, 2, 2]), torch.tensor([1, 0, 1, 2, 2])
    division = segments(segment, 4)

    def weighted(weights: Tensor, values: Tensor) -> Tensor:
        return backend.weighted(weights, index, division)(values)

    def by_index(values: Tensor) -> Tensor:
        return backend.by_index(values.sin(), index, 4)

    assert torch.autograd.gradcheck(weighted, (random(5, 2), random(3, 2)))
    assert torch.autograd.gradgradcheck(weighted, (random(5, 2), random(3, 2)))
    assert torch.autograd.gradgradcheck(by_index, (random(5, 2),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_of_the_values_is_kept(backend: Sums, dtype: torch.dtype) -> None:
    index = torch.tensor([0, 1, 1])
    values = torch.ones(3, 2, dtype=dtype)
    assert backend.by_index(values, index, 2).dtype == dtype
    assert backend.weighted(values, index, segments(index, 2))(values).dtype == dtype


def test_unknown_packages_are_refused() -> None:
    with pytest.raises(ValueError, match="expected sums='torch' or 'torch_scatter', got 'scatter'"):
        Sums("scatter")  # type: ignore[arg-type]


def test_a_missing_package_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_torch_scatter(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "torch_scatter":
            raise ImportError(name)
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_torch_scatter)
    with pytest.raises(ImportError, match=r"gemnet_blocks\[pyg\].*sums='torch'"):
        Sums("torch_scatter")
