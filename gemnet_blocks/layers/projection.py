"""Linear maps that project products of radial and angular basis functions to small embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gemnet_blocks.layers.initialization import he_orthogonal_
from gemnet_blocks.layers.scaled_basis import ScaledBasis as ScaledBasis  # earlier versions had it here
from gemnet_blocks.util.precision import PLAIN, Products

Degrees = Sequence[int] | None
"""The degree of each angular function; None if the radial functions do not depend on it."""


@final
class RadialAngularProjection(nn.Module):
    """Radial part of the projection of radial × angular functions: B[e, k, l] = Σ_n rad[e, n] W[n, k, l].

    Radial functions that depend on the degree enter with that of each angular function: rad[e, degree(l), n].
    The contraction with angular functions, Σ_l B[e, k, l] ang[l], is a linear map of the products of radial and angular
    functions, without computing these products for each triplet or quadruplet.

    This is the efficient bilinear layer of Gasteiger et al., NeurIPS 2021, arXiv 2106.08903 (GemNet) and TMLR 2022,
    arXiv 2204.02782 (GemNet-OC).

    Args:
        radial_count: the number of radial functions n.
        angular_count: the number of angular functions l.
        size: the number k of projected functions; typical values are 16 to 64.
        degrees: the degree of each angular function, if the radial functions depend on it; None if they do not.
        degree_count: the number of degrees of the radial functions.

    Attributes:
        products: the precision of matrix products, which `build` chooses for a whole model.
    """

    reads: Bool[Tensor, "degrees angular"] | None

    def __init__(
        self, radial_count: int, angular_count: int, size: int, degrees: Degrees = None, degree_count: int = 1
    ) -> None:
        super().__init__()
        # Published models fill an array of shape (n, l, k) and reinterpret it as (n, k, l) without transposing. This
        # code does the same, so that initial weights have the same distribution.
        filled = he_orthogonal_(torch.empty(radial_count, angular_count, size))
        self.weight = nn.Parameter(filled.reshape(radial_count, size, angular_count))
        reads = None if degrees is None else torch.arange(degree_count)[:, None] == torch.tensor(degrees)
        self.register_buffer("reads", reads, persistent=False)
        self.products: Products = PLAIN

    @property
    def matrix(self) -> Float[Tensor, "radial_functions size angular"]:
        """The weights of the radial functions of all degrees, in order; zero for angular functions of other degrees."""
        return self.weight if self.reads is None else (self.reads[:, None, None] * self.weight).flatten(0, 1)

    def forward(self, radial: Float[Tensor, "edges *radial"]) -> Float[Tensor, "edges size angular"]:
        matrix = self.matrix
        return self.products.product(radial.flatten(1), matrix.flatten(1)).unflatten(-1, matrix.shape[1:])
