"""Sums that are computed one group of atoms after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.aggregation.angular_sum import AngularSum, LinearMap
from gemnet_blocks.util.precision import as_under_autocast
from gemnet_blocks.util.recompute import is_lean, remade, tidied

Functions = tuple[Tensor, ...]
"""Functions of the angles in one group."""

Weights = tuple[Tensor, ...]
"""What the values of one group are multiplied with."""


PARTS_UNTIL_TIDY = 64
"""Parts after which memory goes back to the system, where it is short."""


class Part(ABC):
    """One group of atoms, in two steps: what is slow to make and small, then what is fast to make and large."""

    @abstractmethod
    def functions(self) -> Functions:
        """Functions of angles."""

    @abstractmethod
    def weights(self, *functions: Tensor) -> Weights:
        """Products of these with functions of distances."""

    @abstractmethod
    def sum(self, weights: Weights, *gathered: Tensor) -> Float[Tensor, "rows size_features"]:
        """The sums of values, gathered for this part."""


class SumInParts(AngularSum):
    """An angular sum of parts, each of which holds the rows of one group of atoms.

    All blocks share the weights; where memory is short, they share the functions, and make weights anew for every sum.

    Args:
        parts: the parts.
        place: the row of every output among the rows of all parts; one behind the last for outputs without any.
    """

    def __init__(self, parts: Sequence[Part], place: Int[Tensor, " outputs"]) -> None:
        self._parts = list(parts)
        self._lean = is_lean()
        self._shared = [self._kept(part) for part in parts]
        self._place = place

    def _kept(self, part: Part) -> Functions | Weights:
        functions = remade(part.functions)
        return functions if self._lean else part.weights(*functions)

    def __call__(
        self, values: Float[Tensor, "inputs features"], linear: LinearMap
    ) -> Float[Tensor, "outputs out_features"]:
        """`linear` of the sums of `values`."""
        if not self._lean:
            # once, instead of by autocast for every block
            self._shared = [tuple(map(as_under_autocast, weights)) for weights in self._shared]
        parts = [self._part(number, gathered, linear) for number, gathered in enumerate(self.gather(values))]
        of_nothing = linear(values.new_zeros(1, self.row_size(values)))
        return torch.cat([*parts, of_nothing]).index_select(0, self._place)

    def _part(self, number: int, gathered: tuple[Tensor, ...], linear: LinearMap) -> Tensor:
        part, shared = self._parts[number], self._shared[number]
        if not self._lean:
            return linear(part.sum(shared, *gathered))
        found = remade(lambda *gathered: linear(part.sum(part.weights(*shared), *gathered)), *gathered)
        return found if (number + 1) % PARTS_UNTIL_TIDY else tidied(found)

    @abstractmethod
    def row_size(self, values: Float[Tensor, "inputs features"]) -> int:
        """How long a row of the sums is."""

    @abstractmethod
    def gather(self, values: Float[Tensor, "inputs features"]) -> list[tuple[Tensor, ...]]:
        """What each part needs of the values; of all parts at once, so that the backward pass is one addition."""
