"""One suite for all ways of computing sums, with loops as the oracle."""

from __future__ import annotations

import builtins
import importlib.util
from typing import Any

import pytest
import torch
from helpers import assert_same_function
from torch import Tensor

from gemnet_blocks.aggregation.scatter import Sums

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


@pytest.mark.parametrize("features", [(), (3,), (2, 3), (0,)])
def test_sums_by_index(backend: Sums, features: tuple[int, ...]) -> None:
    values, index = random(20, *features), torch.randint(0, 6, (20,))
    assert_same_function(backend.by_index(values, index, 8), sum_by_index(values, index, 8), [values])


def test_sums_by_index_of_nothing(backend: Sums) -> None:
    nothing = torch.zeros(0, dtype=torch.long)
    assert backend.by_index(random(0, 3), nothing, 4).tolist() == [[0.0] * 3] * 4
    assert backend.by_index(random(0, 3), nothing, 0).shape == (0, 3)


def test_second_derivatives(backend: Sums) -> None:
    index = torch.tensor([1, 0, 1, 2, 2])

    def by_index(values: Tensor) -> Tensor:
        return backend.by_index(values.sin(), index, 4)

    assert torch.autograd.gradgradcheck(by_index, (random(5, 2),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_of_the_values_is_kept(backend: Sums, dtype: torch.dtype) -> None:
    index, values = torch.tensor([0, 1, 1]), torch.ones(3, 2, dtype=dtype)
    assert backend.by_index(values, index, 2).dtype == dtype


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
