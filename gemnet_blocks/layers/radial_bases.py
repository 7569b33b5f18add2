"""The radial bases of a model and their values on all edge sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.util.recompute import STORED, Evaluation


@dataclass(frozen=True, slots=True, eq=False)
class RadialValues:
    """Values of the radial bases on the edges of each edge set, before any projection.

    Bases that depend on the degree of angular functions have values of shape (edges, degrees, functions).

    Attributes:
        radial: by edge set, the basis that interactions use by itself.
        angular: by edge set, the basis that is multiplied by circular and spherical functions.
    """

    radial: Mapping[str, Float[Tensor, "edges functions"]]
    angular: Mapping[str, Float[Tensor, "edges *functions"]]

    def to(self, dtype: torch.dtype) -> RadialValues:
        """Convert the values to the floating-point type of the layers that use them."""
        return RadialValues(
            {name: values.to(dtype) for name, values in self.radial.items()},
            {name: values.to(dtype) for name, values in self.angular.items()},
        )


@final
class RadialBases(nn.Module):
    """Radial bases of a model, one per edge set and use.

    Args:
        radial: by edge set, the bases that interactions use by themselves.
        angular: by edge set, the bases that are multiplied by circular and spherical functions.

    Attributes:
        evaluation: stores the values for the backward pass, or recomputes them in it.
    """

    def __init__(self, radial: Mapping[str, nn.Module], angular: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.radial = nn.ModuleDict(dict(radial))
        self.angular = nn.ModuleDict(dict(angular))
        self.evaluation: Evaluation = STORED

    def forward(self, graphs: Graphs) -> RadialValues:
        """Evaluate every basis on the distances of its edge set and multiply by the weights of the edges."""
        return RadialValues(
            {name: self.evaluation(_of_edges, basis, graphs.edge_sets[name]) for name, basis in self.radial.items()},
            {name: self.evaluation(_of_edges, basis, graphs.edge_sets[name]) for name, basis in self.angular.items()},
        )


def _of_edges(basis: nn.Module, edges: EdgeSet) -> Float[Tensor, "edges *functions"]:
    values: Tensor = basis(edges.distance)
    return values if edges.weight is None else values * edges.weight.view(-1, *[1] * (values.ndim - 1))
