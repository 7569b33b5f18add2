"""Sums over edges and their combinations, behind one small interface with two implementations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.graph.ragged import Bucket, Segments
from gemnet_blocks.util.precision import PLAIN, Products
from gemnet_blocks.util.recompute import is_lean, remade, rows_at_once


class WeightedSum(ABC):
    """Sums of values with fixed weights, one sum per segment s.

    S[s, l, f] = Σ_{i in s} weights[i, l] values[index[i], f].

    Made once per forward pass, then applied to different values.
    """

    @abstractmethod
    def __call__(self, values: Float[Tensor, "sources features"]) -> Float[Tensor, "segments weights features"]:
        """The sums."""


class Sums(ABC):
    """How sums are computed; the choice changes no result.

    Args:
        products: how sums that are products of matrices multiply them.
    """

    def __init__(self, products: Products = PLAIN) -> None:
        self.products = products

    @abstractmethod
    def by_index(
        self, values: Float[Tensor, " items *features"], index: Int[Tensor, " items"], count: int
    ) -> Float[Tensor, " count *features"]:
        """Σ_{i: index[i] = j} values[i] for j = 0, …, count - 1."""

    @abstractmethod
    def weighted(
        self, weights: Float[Tensor, "items weights"], index: Int[Tensor, " items"], segments: Segments
    ) -> WeightedSum:
        """Prepare weighted sums over segments.

        Args:
            weights: of every item.
            index: the row of the values that each item takes.
            segments: the division of the items.
        """


SumsName = Literal["torch", "torch_scatter"]


def sums(name: SumsName = "torch", products: Products = PLAIN) -> Sums:
    """The implementation of that name, with these products of matrices.

    Raises:
        ValueError: there is none of this name.
        ImportError: torch-scatter is chosen and not installed.
    """
    if name not in ("torch", "torch_scatter"):
        raise ValueError(f"there are no sums {name!r}: choose torch or torch_scatter")
    return ScatterSums(products) if name == "torch_scatter" else TorchSums(products)


@final
class TorchSums(Sums):
    """Sums with torch alone: index_add for plain ones, dense products over segments of similar length for weighted."""

    def by_index(
        self, values: Float[Tensor, " items *features"], index: Int[Tensor, " items"], count: int
    ) -> Float[Tensor, " count *features"]:
        """Σ_{i: index[i] = j} values[i] for j = 0, …, count - 1."""
        return values.new_zeros(count, *values.shape[1:]).index_add(0, index, values)

    def weighted(
        self, weights: Float[Tensor, "items weights"], index: Int[Tensor, " items"], segments: Segments
    ) -> WeightedSum:
        """Prepare weighted sums over segments."""
        return _BucketedSum(weights, index, segments, self.products)


@final
class _BucketedSum(WeightedSum):
    def __init__(self, weights: Tensor, index: Tensor, segments: Segments, products: Products) -> None:
        self._product = products.product
        # An item that pads a bucket has weight zero and takes the first row of the values.
        padded = torch.cat([weights, weights.new_zeros(1, weights.shape[1])])
        padded_index = torch.cat([index, index.new_zeros(1)])
        items = [part for bucket in segments.buckets for part in bucket.items.split(_segments_at_once(bucket))]
        self._weights = [_gather(padded, part).transpose(1, 2) for part in items]
        self._rows = [padded_index[part] for part in items]
        self._place = segments.place
        self._empty = weights.new_zeros(1, weights.shape[1])

    def __call__(self, values: Float[Tensor, "sources features"]) -> Float[Tensor, "segments weights features"]:
        """The sums."""
        parts = [
            remade(lambda values, weights, rows: self._product(weights, _gather(values, rows)), values, weights, rows)
            for weights, rows in zip(self._weights, self._rows, strict=True)
        ]
        # Segments without items stand behind the last one in the order of places: a row of zeros.
        parts.append(self._empty[:, :, None] * values.new_ones(values.shape[1]))
        return torch.cat(parts).index_select(0, self._place)


def _segments_at_once(bucket: Bucket) -> int:
    """All, or where memory is short as many as are in the cache together with 32 features of each item."""
    segment_count, width = bucket.items.shape
    return rows_at_once(32 * width) if is_lean() else segment_count


def _gather(values: Tensor, rows: Tensor) -> Tensor:
    """`values[rows]`, by index_select, whose backward pass is deterministic and faster."""
    return values.index_select(0, rows.flatten()).unflatten(0, rows.shape)


@final
class ScatterSums(Sums):
    """Sums with torch-scatter, one scattered addition per item."""

    def __init__(self, products: Products = PLAIN) -> None:
        super().__init__(products)
        try:
            import torch_scatter
        except ImportError as error:
            raise ImportError(
                "sums with torch_scatter need the package torch-scatter: "
                "pip install --no-build-isolation 'gemnet_blocks[pyg]', or choose sums='torch', which needs nothing"
            ) from error
        del torch_scatter

    def by_index(
        self, values: Float[Tensor, " items *features"], index: Int[Tensor, " items"], count: int
    ) -> Float[Tensor, " count *features"]:
        """Σ_{i: index[i] = j} values[i] for j = 0, …, count - 1."""
        from torch_scatter import scatter

        return scatter(values, index, dim=0, dim_size=count, reduce="sum")

    def weighted(
        self, weights: Float[Tensor, "items weights"], index: Int[Tensor, " items"], segments: Segments
    ) -> WeightedSum:
        """Prepare weighted sums over segments."""
        return _ScatteredSum(self, weights, index, segments)


@final
class _ScatteredSum(WeightedSum):
    def __init__(self, sums: ScatterSums, weights: Tensor, index: Tensor, segments: Segments) -> None:
        self._sums, self._weights, self._index, self._segments = sums, weights, index, segments

    def __call__(self, values: Float[Tensor, "sources features"]) -> Float[Tensor, "segments weights features"]:
        """The sums; one weight at a time, as all at once would need `weights` times the memory."""
        items = values[self._index]
        segment, count = self._segments.segment, self._segments.count
        if not self._weights.shape[1]:
            return values.new_zeros(count, 0, values.shape[1])
        return torch.stack(
            [self._sums.by_index(weight[:, None] * items, segment, count) for weight in self._weights.unbind(dim=1)],
            dim=1,
        )
