"""Sums over edges and weighted sums over segments, with torch or torch-scatter."""

from __future__ import annotations

from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.graph.ragged import Segments
from gemnet_blocks.util.precision import PLAIN, Products
from gemnet_blocks.util.recompute import STORED, Evaluation

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

    def weighted(
        self,
        weights: Float[Tensor, "items weights"],
        index: Int[Tensor, " items"],
        segments: Segments,
        evaluation: Evaluation = STORED,
    ) -> WeightedSum:
        """Prepare weighted sums over segments.

        Args:
            weights: the weights of every item.
            index: the row of the values that belongs to each item.
            segments: the division of the items.
            evaluation: how the sums are evaluated.
        """
        return WeightedSum(weights, index, segments, self.products, evaluation)


@final
class WeightedSum:
    """Sums of values with fixed weights, one sum per segment s.

    S[s, l, f] = Σ_{i in s} weights[i, l] values[index[i], f],

    as one product of matrices per segment, padded to the longest segment of its bucket. Prepared once per forward pass
    and applied to different values.

    Args:
        weights: the weights of every item.
        index: the row of the values that belongs to each item.
        segments: the division of the items.
        products: how matrices are multiplied.
        evaluation: how the sums are evaluated.
    """

    def __init__(
        self,
        weights: Float[Tensor, "items weights"],
        index: Int[Tensor, " items"],
        segments: Segments,
        products: Products = PLAIN,
        evaluation: Evaluation = STORED,
    ) -> None:
        self._product, self._evaluate = products.product, evaluation
        # An item that pads a bucket has weight zero and takes the first row of the values.
        padded = torch.cat([weights, weights.new_zeros(1, weights.shape[1])])
        padded_index = torch.cat([index, index.new_zeros(1)])
        buckets = [bucket.items for bucket in segments.buckets if len(bucket.items)]
        # a slice has room for 32 features of each item
        limits = [evaluation.rows_at_once(32 * items.shape[1]) or len(items) for items in buckets]
        items = [part for rows, limit in zip(buckets, limits, strict=True) for part in rows.split(limit)]
        self._weights = [_gather(padded, part).transpose(1, 2) for part in items]
        self._rows = [padded_index[part] for part in items]
        self._place = segments.place
        self._empty = weights.new_zeros(1, weights.shape[1])

    def __call__(self, values: Float[Tensor, "sources features"]) -> Float[Tensor, "segments weights features"]:
        """Sum the values."""

        def summed(values: Tensor, weights: Tensor, rows: Tensor) -> Tensor:
            return self._product(weights, _gather(values, rows))

        sums = [
            self._evaluate(summed, values, weights, rows)
            for weights, rows in zip(self._weights, self._rows, strict=True)
        ]
        # empty segments take the row of zeros behind all others
        sums.append(self._empty[:, :, None] * values.new_ones(values.shape[1]))
        return torch.cat(sums).index_select(0, self._place)


def _gather(values: Tensor, rows: Tensor) -> Tensor:
    """Take `values[rows]` by index_select, whose backward pass is deterministic and faster."""
    return values.index_select(0, rows.flatten()).unflatten(0, rows.shape)


def _check_torch_scatter() -> None:
    try:
        import torch_scatter
    except ImportError as error:
        raise ImportError(
            "sums='torch_scatter' needs the package torch-scatter: pip install --no-build-isolation "
            "'gemnet_blocks[pyg]', or choose sums='torch', which needs no other package"
        ) from error
    del torch_scatter
