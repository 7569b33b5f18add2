"""The radial bases of a model and their values on all edge sets."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.basis.radial import RadialBasis
from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.util.recompute import STORED, Evaluation, Stored


@dataclass(frozen=True, slots=True)
class RadialNames:
    """The radial bases that one interaction uses, by edge set.

    Attributes:
        radial: the name of the basis of distances alone.
        angular: the name of the basis that is multiplied by circular and spherical functions.
    """

    radial: Mapping[str, str]
    angular: Mapping[str, str]


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

    def named(self, names: RadialNames) -> RadialValues:
        """Return the values of the bases with these names, by edge set."""
        return RadialValues(
            {edge_set: self.radial[name] for edge_set, name in names.radial.items()},
            {edge_set: self.angular[name] for edge_set, name in names.angular.items()},
        )

    def to(self, dtype: torch.dtype) -> RadialValues:
        """Convert the values to the floating-point type of the layers that use them."""
        return RadialValues(
            {name: values.to(dtype) for name, values in self.radial.items()},
            {name: values.to(dtype) for name, values in self.angular.items()},
        )


@final
class RadialBases(nn.Module):
    """Radial bases of a model, one per edge set and use, and further ones of single interactions.

    Shared bases are named after their edge sets; the name of a further one ends with `-` and the name of its edge set.

    Args:
        radial: by name, the bases that interactions use by themselves.
        angular: by name, the bases that are multiplied by circular and spherical functions.

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
        shared = self._shared(graphs) if isinstance(self.evaluation, Stored) else {}

        def of(bases: nn.ModuleDict) -> dict[str, Tensor]:
            values: dict[str, Tensor] = {}
            for name, basis in bases.items():
                edges = graphs.edge_sets[edge_set_of(name)]
                found = shared.get(_key(name, basis))
                values[name] = self.evaluation(_of_edges, basis, edges) if found is None else _weighted(found, edges)
            return values

        return RadialValues(of(self.radial), of(self.angular))

    def _shared(self, graphs: Graphs) -> dict[_Key | None, Float[Tensor, "edges functions"]]:
        """Evaluate bases that are equal functions of d/cutoff in the same operations, without weights."""
        bases: dict[_Key, RadialBasis] = {}
        for name, basis in (*self.radial.items(), *self.angular.items()):
            key = _key(name, basis)
            if key is not None and isinstance(basis, RadialBasis):
                bases.setdefault(key, basis)
        values: dict[_Key | None, Tensor] = {}
        for functions in dict.fromkeys(key.functions for key in bases):
            members = [key for key in bases if key.functions == functions]
            scaled = [graphs.edge_sets[key.edge_set].distance / key.cutoff for key in members]
            joint = bases[members[0]].of_scaled(torch.cat(scaled))
            values |= dict(zip(members, joint.split([one.shape[0] for one in scaled]), strict=True))
        return values


class _Key(NamedTuple):
    """The values of a basis, which other bases with the same key have too."""

    edge_set: str
    cutoff: float
    functions: Hashable


def _key(name: str, basis: nn.Module) -> _Key | None:
    """Return the key of a basis; None if its values are its own."""
    if not isinstance(basis, RadialBasis) or basis.function_key is None:
        return None
    return _Key(edge_set_of(name), basis.cutoff, basis.function_key)


def own_name(interaction: str, edge_set: str) -> str:
    """Name the radial basis of one interaction on an edge set."""
    return f"{interaction}-{edge_set}"


def edge_set_of(name: str) -> str:
    """Return the edge set of a radial basis."""
    return name.rpartition("-")[2]


def owner_of(name: str) -> str:
    """Return the interaction whose own radial basis this is; empty for a shared one."""
    return name.rpartition("-")[0]


def _of_edges(basis: nn.Module, edges: EdgeSet) -> Float[Tensor, "edges *functions"]:
    values: Tensor = basis(edges.distance)
    return _weighted(values, edges)


def _weighted(values: Float[Tensor, "edges *functions"], edges: EdgeSet) -> Float[Tensor, "edges *functions"]:
    return values if edges.weight is None else values * edges.weight.view(-1, *[1] * (values.ndim - 1))
