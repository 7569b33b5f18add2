"""Sums of rows with equal indices, with torch or torch-scatter."""

from __future__ import annotations

from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.util.precision import PLAIN, Products

SumsName = Literal["torch", "torch_scatter"]


@final
class Sums:
    """Sums over edges, triplets and neighbors.

    Args:
        name: the package that adds rows with equal indices.
        products: how matrices are multiplied.

    Raises:
        ValueError: the name is unknown.
        ImportError: torch-scatter is chosen and not installed.
    """

    def __init__(self, name: SumsName = "torch", products: Products = PLAIN) -> None:
        if name not in ("torch", "torch_scatter"):
            raise ValueError(f"expected sums='torch' or 'torch_scatter', got {name!r}")
        if name == "torch_scatter":
            _check_torch_scatter()
        self.name = name
        self.products = products

    def by_index(
        self, values: Float[Tensor, " items *features"], index: Int[Tensor, " items"], count: int
    ) -> Float[Tensor, " count *features"]:
        """Add the rows with equal indices: Σ_{i: index[i] = j} values[i] for j = 0, …, count - 1."""
        if self.name == "torch_scatter":
            from torch_scatter import scatter

            return scatter(values, index, dim=0, dim_size=count, reduce="sum")
        return values.new_zeros(count, *values.shape[1:]).index_add(0, index, values)

    def mean_by_index(
        self, values: Float[Tensor, " items *features"], index: Int[Tensor, " items"], count: int
    ) -> Float[Tensor, " count *features"]:
        """Average the rows with equal indices; zero if there are none."""
        counts = self.counts(index, count).view(-1, *(1 for _ in values.shape[1:]))
        return self.by_index(values, index, count) / counts

    @staticmethod
    def counts(index: Int[Tensor, " items"], count: int) -> Int[Tensor, " count"]:
        """Count the rows with each index, at least 1, for division by them."""
        return index.new_zeros(count).index_add(0, index, torch.ones_like(index)).clamp(min=1)


def _check_torch_scatter() -> None:
    try:
        import torch_scatter
    except ImportError as error:
        raise ImportError(
            "sums='torch_scatter' needs the package torch-scatter: pip install --no-build-isolation "
            "'gemnet_blocks[pyg]', or choose sums='torch', which needs no other package"
        ) from error
    del torch_scatter
