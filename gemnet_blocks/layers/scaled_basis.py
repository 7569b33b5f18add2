"""Basis functions with a fitted scale factor."""

from __future__ import annotations

from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.geometry.angles import Azimuth
from gemnet_blocks.layers.scaling import ScaleFactor


@final
class ScaledBasis(nn.Module):
    """Basis that is multiplied by one scale factor, which is fitted so that the functions have variance 1.

    Args:
        basis: any radial, circular or spherical basis.
    """

    def __init__(self, basis: nn.Module) -> None:
        super().__init__()
        self.basis = basis
        self.scale = ScaleFactor()

    def forward(self, *arguments: Tensor | Azimuth) -> Float[Tensor, "*shape functions"]:
        return self.scale(self.basis(*arguments))
