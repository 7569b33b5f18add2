"""Basis functions evaluated on graphs, and the linear maps that project them to small embeddings."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.geometry.angles import Azimuth
from gemnet_blocks.layers.initialization import he_orthogonal_
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.util.precision import PLAIN, Products


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


@final
class RadialAngularProjection(nn.Module):
    """Radial part of the projection of radial × angular functions: B[e, k, l] = Σ_n rad[e, n] W[n, k, l].

    The contraction with angular functions, Σ_l B[e, k, l] ang[l], is a linear map of the products of radial and angular
    functions, without computing these products for each triplet or quadruplet.

    This is the efficient bilinear layer of Gasteiger et al., NeurIPS 2021, arXiv 2106.08903 (GemNet) and TMLR 2022,
    arXiv 2204.02782 (GemNet-OC).

    Args:
        radial_count: the number of radial functions n.
        angular_count: the number of angular functions l.
        size: the number k of projected functions; typical values are 16 to 64.

    Attributes:
        products: the precision of matrix products, which `build` chooses for a whole model.
    """

    def __init__(self, radial_count: int, angular_count: int, size: int) -> None:
        super().__init__()
        # Published models fill an array of shape (n, l, k) and reinterpret it as (n, k, l) without transposing. This
        # code does the same, so that initial weights have the same distribution.
        filled = he_orthogonal_(torch.empty(radial_count, angular_count, size))
        self.weight = nn.Parameter(filled.reshape(radial_count, size, angular_count))
        self.products: Products = PLAIN

    @property
    def size(self) -> int:
        """The number of projected functions."""
        return self.weight.shape[1]

    def forward(self, radial: Float[Tensor, "edges radial"]) -> Float[Tensor, "edges size angular"]:
        return self.products.product(radial, self.weight.flatten(1)).unflatten(-1, self.weight.shape[1:])
