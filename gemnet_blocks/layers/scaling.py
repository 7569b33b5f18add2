"""Scale factors, which are fitted once to an untrained model and keep the variance of its activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.layers.activations import has_hooks
from gemnet_blocks.layers.dense import Linear


@final
class ScaleFactor(nn.Module):
    """Multiplication by a fitted factor, or by one before the factor is fitted.

    Aggregations change the variance of activations by an amount that depends on the data. The factor is chosen so that
    the output has the variance of a reference. `gemnet_blocks.model.scale_fitting` fits it.

    Gasteiger et al., NeurIPS 2021, arXiv 2106.08903.

    Attributes:
        factor: the factor as a scalar parameter without gradient, which is saved with the weights; 0 if not fitted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.zeros(()), requires_grad=False)
        self._observe: Callable[[Tensor, Tensor | None], None] | None = None

    @property
    def fitted(self) -> bool:
        """True once the factor has been fitted."""
        return bool(self.factor != 0)

    def forward(
        self, x: Float[Tensor, "*shape"], reference: Float[Tensor, "*other_shape"] | None = None
    ) -> Float[Tensor, "*shape"]:
        """Multiply `x` by the factor.

        Args:
            x: activations, with samples along the first axis.
            reference: activations whose variance the output should have; None for a variance of 1. It is used only
                while the factor is being fitted.
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
        """Multiply `layer(x)` by the factor.

        The factor is merged into the weight of the layer, unless it is being fitted or the module has hooks.

        Args:
            layer: a linear layer without bias.
            x: the input of the layer.
            reference: activations whose variance the output should have; None for a variance of 1.
        """
        if self._is_observed:
            result: Tensor = self(layer(x), reference)
            return result
        mapped = layer.products.linear if isinstance(layer, Linear) else nn.functional.linear
        return mapped(x, layer.weight * self._multiplier)

    def of_product(
        self, x: Float[Tensor, "rows features"], layer: nn.Linear, weights: Float[Tensor, "rows in"]
    ) -> Float[Tensor, "rows features"]:
        """Multiply `x * layer(weights)` by the factor, which is fitted to keep the variance of `x`.

        Args:
            x: features of edges or atoms.
            layer: a linear layer without bias.
            weights: the input of the layer.
        """
        if self._is_observed:
            result: Tensor = self(x * layer(weights), x)
            return result
        return x * self.of_linear(layer, weights)

    @property
    def _multiplier(self) -> Float[Tensor, ""]:
        """The factor, or one if it is not fitted, computed without synchronizing with the device."""
        return self.factor + (self.factor == 0)

    @property
    def _is_observed(self) -> bool:
        """True if fitting or a hook reads the product, which must then be computed explicitly."""
        return self._observe is not None or has_hooks(self)


@final
class Unscaled(nn.Module):
    """The identity in place of a scale factor, without a parameter; it has the methods of `ScaleFactor`."""

    def forward(
        self, x: Float[Tensor, "*shape"], reference: Float[Tensor, "*other_shape"] | None = None
    ) -> Float[Tensor, "*shape"]:
        return x

    def of_product(
        self, x: Float[Tensor, "rows features"], layer: nn.Linear, weights: Float[Tensor, "rows in"]
    ) -> Float[Tensor, "rows features"]:
        """Compute `x * layer(weights)`."""
        return x * layer(weights)


def scale_factor(fitted: bool) -> ScaleFactor | Unscaled:
    """Make a scale factor that can be fitted, or the identity."""
    return ScaleFactor() if fitted else Unscaled()
