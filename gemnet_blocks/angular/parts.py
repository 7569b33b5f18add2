"""Sums that are computed one group of atoms after another."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.angular.angular_sum import AngularSum, LinearMap
from gemnet_blocks.recomputation import remade

Weights = tuple[Tensor, ...]
"""What the values of one group are multiplied with."""


class SumInParts(AngularSum):
    """An angular sum of parts, each of which holds the rows of one group of atoms.

    Args:
        weights: for each part, a function of nothing that makes its weights.
        place: the row of every output among the rows of all parts; one behind the last for outputs without any.
        keep: whether weights are made once, or anew for every sum and every backward pass, which needs less memory.
    """

    def __init__(
        self, weights: Sequence[Callable[[], Weights]], place: Int[Tensor, " outputs"], keep: bool = True
    ) -> None:
        self._weights = list(weights)
        self._kept = [make() for make in weights] if keep else None
        self._place = place

    def __call__(
        self, values: Float[Tensor, "inputs features"], linear: LinearMap
    ) -> Float[Tensor, "outputs out_features"]:
        """`linear` of the sums of `values`."""
        parts = [self._part(number, gathered, linear) for number, gathered in enumerate(self.gather(values))]
        of_nothing = linear(values.new_zeros(1, self.row_size(values)))
        return torch.cat([*parts, of_nothing]).index_select(0, self._place)

    def _part(self, number: int, gathered: tuple[Tensor, ...], linear: LinearMap) -> Tensor:
        if self._kept is not None:
            return linear(self.sum(self._kept[number], *gathered))
        return remade(True, lambda *gathered: linear(self.sum(self._weights[number](), *gathered)), *gathered)

    @abstractmethod
    def row_size(self, values: Float[Tensor, "inputs features"]) -> int:
        """How long a row of the sums is."""

    @abstractmethod
    def gather(self, values: Float[Tensor, "inputs features"]) -> list[tuple[Tensor, ...]]:
        """What each part needs of the values; of all parts at once, so that the backward pass is one addition."""

    @abstractmethod
    def sum(self, weights: Weights, *gathered: Tensor) -> Float[Tensor, "rows size_features"]:
        """The sums of one part."""
