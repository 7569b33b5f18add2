"""Sums over triplets and quadruplets: their interface, and their definition over listed combinations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.graph.ragged import Segments
from gemnet_blocks.util.derivatives import is_known_to_be_empty
from gemnet_blocks.util.precision import PLAIN, Products
from gemnet_blocks.util.recompute import STORED, Evaluation

LinearMap = Callable[[Float[Tensor, "rows size_features"]], Float[Tensor, "rows out"]]
"""A linear map of every row."""

Over = Literal["edges", "atoms"]
"""The receivers of a sum over triplets c→a←b: the edges c→a, or the atoms a, summed further over c."""


class AngularSum(ABC):
    """A sum over neighbors with angular functions, projected: X[o, k, f] = Σ_l B[o, k, l] Σ_i ang_l(o, i) x[i, f]."""

    @abstractmethod
    def __call__(
        self, values: Float[Tensor, "inputs features"], linear: LinearMap
    ) -> Float[Tensor, "outputs out_features"]:
        """Apply `linear` to the sums of `values`, one row X[o] per output with k outside and f inside.

        The sums are much larger than the result, so that an implementation may compute some of them at a time.
        """


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
        buckets = [bucket.items for bucket in segments.buckets if not is_known_to_be_empty(bucket.items)]
        # a slice has room for 32 features of each item
        limits = [evaluation.rows_at_once(32 * items.shape[1]) for items in buckets]
        items = [
            part
            for rows, limit in zip(buckets, limits, strict=True)
            for part in ((rows,) if limit is None else rows.split(limit))
        ]
        self._weights = [_gather(padded, part).transpose(1, 2) for part in items]
        self._rows = [padded_index[part] for part in items]
        self._place = segments.place
        self._width = weights.shape[1]

    def __call__(self, values: Float[Tensor, "sources features"]) -> Float[Tensor, "segments weights features"]:
        """Sum the values."""

        def summed(values: Tensor, weights: Tensor, rows: Tensor) -> Tensor:
            return self._product(weights, _gather(values, rows))

        sums = [
            self._evaluate(summed, values, weights, rows)
            for weights, rows in zip(self._weights, self._rows, strict=True)
        ]
        # empty segments take the row of zeros behind all others
        sums.append((sums[0] if sums else values).new_zeros(1, self._width, values.shape[1]))
        return torch.cat(sums).index_select(0, self._place)


def _gather(values: Tensor, rows: Tensor) -> Tensor:
    """Take `values[rows]` by index_select, whose backward pass is deterministic and faster."""
    return values.index_select(0, rows.flatten()).unflatten(0, rows.shape)


@final
class ExplicitSum(AngularSum):
    """The sum over listed triplets or quadruplets (o, i): the definition.

    Args:
        listed: Σ_i ang_l(o, i) x[i, f]; without projection, Σ_i B[o, i, k] x[i, f].
        projection: B[o, k, l]; None: the weights of the listed sum are projected already.
        products: how matrices are multiplied.
        evaluation: how the sum is evaluated.
        to_atoms: sums X over the edges o into each atom; None: the outputs are the edges.
    """

    def __init__(
        self,
        listed: WeightedSum,
        projection: Float[Tensor, "outputs size angular"] | None,
        products: Products = PLAIN,
        evaluation: Evaluation = STORED,
        to_atoms: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._listed, self._projection, self._product = listed, projection, products.product
        self._evaluate, self._to_atoms = evaluation, to_atoms

    @override
    def __call__(
        self, values: Float[Tensor, "inputs features"], linear: LinearMap
    ) -> Float[Tensor, "outputs out_features"]:
        return self._evaluate(lambda values: linear(self._sums(values).flatten(1)), values)

    def _sums(self, values: Float[Tensor, "inputs features"]) -> Float[Tensor, "outputs size features"]:
        x = self._listed(values)
        if self._projection is not None:
            x = self._product(self._projection, x)
        return x if self._to_atoms is None else self._to_atoms(x)
