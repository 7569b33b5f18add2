"""Raw basis functions on graphs, and the linear maps that project them to small embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.geometry.angles import Azimuth
from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.layers.initialization import he_orthogonal_
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.util.precision import PLAIN, Products
from gemnet_blocks.util.recompute import STORED, Evaluation


@final
class ScaledBasis(nn.Module):
    """A basis whose functions are multiplied by one fitted scale factor, to variance 1.

    Args:
        basis: any radial, circular or spherical basis.
    """

    def __init__(self, basis: nn.Module) -> None:
        super().__init__()
        self.basis = basis
        self.scale = ScaleFactor()

    def forward(self, *arguments: Tensor | Azimuth) -> Float[Tensor, "*shape functions"]:
        """The basis functions times the factor."""
        return self.scale(self.basis(*arguments))


@dataclass(frozen=True, slots=True, eq=False)
class RadialValues:
    """Raw radial functions of the distances of each edge set that needs them.

    Attributes:
        radial: the basis that is read on its own, (edges, functions) by edge set.
        angular: the basis that is multiplied with circular and spherical functions, likewise.
    """

    radial: Mapping[str, Float[Tensor, "edges functions"]]
    angular: Mapping[str, Float[Tensor, "edges functions"]]

    def to(self, dtype: torch.dtype) -> RadialValues:
        """The same values in the type of the layers that read them."""
        return RadialValues(
            {name: values.to(dtype) for name, values in self.radial.items()},
            {name: values.to(dtype) for name, values in self.angular.items()},
        )


@final
class RadialBases(nn.Module):
    """The radial bases of a model, one per edge set and use.

    Args:
        radial: bases read on their own, by edge set.
        angular: bases multiplied with circular and spherical functions, by edge set.
    """

    def __init__(self, radial: Mapping[str, nn.Module], angular: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.radial = nn.ModuleDict(dict(radial))
        self.angular = nn.ModuleDict(dict(angular))
        self.evaluation: Evaluation = STORED

    def forward(self, graphs: Graphs) -> RadialValues:
        """Evaluate every basis on the distances of its edge set, times the weights of the edges."""
        return RadialValues(
            {name: self.evaluation(_of_edges, basis, graphs.edge_sets[name]) for name, basis in self.radial.items()},
            {name: self.evaluation(_of_edges, basis, graphs.edge_sets[name]) for name, basis in self.angular.items()},
        )


def _of_edges(basis: nn.Module, edges: EdgeSet) -> Float[Tensor, "edges functions"]:
    values: Tensor = basis(edges.distance)
    return values if edges.weight is None else values * edges.weight[:, None]


@final
class RadialAngularProjection(nn.Module):
    """The radial half of a projection of radial × angular functions: B[e, k, l] = Σ_n rad[e, n] W[n, k, l].

    Contracted with angular functions, Σ_l B[e, k, l] ang[l], this is a linear map of their products.
    GemNet-OC (arXiv 2204.02782), "efficient bilinear layer".

    Args:
        radial_count: radial functions n.
        angular_count: angular functions l.
        size: embeddings k.

    Attributes:
        products: how matrices are multiplied, which `build` chooses for a whole model.
    """

    def __init__(self, radial_count: int, angular_count: int, size: int) -> None:
        super().__init__()
        # Published models fill an array (n, l, k) and read it as (n, k, l) without transposing; so does this, for
        # the same distribution of initial weights.
        filled = he_orthogonal_(torch.empty(radial_count, angular_count, size))
        self.weight = nn.Parameter(filled.reshape(radial_count, size, angular_count))
        self.products: Products = PLAIN

    @property
    def size(self) -> int:
        """Embeddings k."""
        return self.weight.shape[1]

    def forward(self, radial: Float[Tensor, "edges radial"]) -> Float[Tensor, "edges size angular"]:
        """B[e, k, l] = Σ_n rad[e, n] W[n, k, l]."""
        return self.products.product(radial, self.weight.flatten(1)).unflatten(-1, self.weight.shape[1:])
