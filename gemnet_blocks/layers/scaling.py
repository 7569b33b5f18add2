"""Scale factors: numbers fitted once to an untrained model, which keep the variance of its activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.layers.dense import Linear


@final
class ScaleFactor(nn.Module):
    """Multiply by a fitted number; by one as long as it is not fitted.

    The number is stored with the weights, as a parameter without gradient; zero means that it was not fitted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.zeros(()), requires_grad=False)
        self._observe: Callable[[Tensor, Tensor | None], None] | None = None

    @property
    def fitted(self) -> bool:
        """Whether the number was fitted."""
        return bool(self.factor != 0)

    def forward(
        self, x: Float[Tensor, "*shape"], reference: Float[Tensor, "*other_shape"] | None = None
    ) -> Float[Tensor, "*shape"]:
        """`x` times the factor.

        Args:
            x: anything; its first axis counts samples.
            reference: what x should vary as much as; None: variance 1. Read when the factor is being fitted.
        """
        if self._observe is not None:
            self._observe(x, reference)
        return x * self._multiplier

    def of_linear(
        self,
        layer: nn.Linear,
        x: Float[Tensor, "*rows in"],
        reference: Float[Tensor, "*other_shape"] | None = None,
    ) -> Float[Tensor, "*rows out"]:
        """`layer(x)` times the factor, in one step unless somebody looks on.

        Args:
            layer: without bias.
            x: what the layer maps.
            reference: what `layer(x)` should vary as much as; None: variance 1.
        """
        if self._watched:
            result: Tensor = self(layer(x), reference)
            return result
        mapped = layer.products.linear if isinstance(layer, Linear) else nn.functional.linear
        return mapped(x, layer.weight * self._multiplier)

    def of_product(
        self, x: Float[Tensor, "rows features"], layer: nn.Linear, weights: Float[Tensor, "rows in"]
    ) -> Float[Tensor, "rows features"]:
        """`x * layer(weights)` times the factor, which is fitted to keep the variance of `x`.

        Args:
            x: features.
            layer: without bias.
            weights: what the layer maps.
        """
        if self._watched:
            result: Tensor = self(x * layer(weights), x)
            return result
        return x * self.of_linear(layer, weights)

    @property
    def _multiplier(self) -> Float[Tensor, ""]:
        """The factor, or one as long as it is zero; found without waiting for the device."""
        return self.factor + (self.factor == 0)

    @property
    def _watched(self) -> bool:
        """Whether somebody needs to see what is multiplied."""
        return self._observe is not None or bool(self._forward_hooks or self._forward_pre_hooks)
