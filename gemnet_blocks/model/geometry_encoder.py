"""Evaluate distances, bases and shared projections along a topology, once per forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.geometry.edges import SymmetricEdges
from gemnet_blocks.geometry.graphs import Graphs, measured_graphs
from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.interactions.interaction import InteractionGeometry
from gemnet_blocks.layers.dense import linear
from gemnet_blocks.layers.radial_bases import RadialBases, RadialNames, RadialValues
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.precision import at_least_single


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """The input of blocks besides the embeddings.

    Attributes:
        main: the edges that carry embeddings.
        radial: raw radial functions of the main edges.
        update_radial: projected radial functions for atom updates.
        output_radial: projected radial functions for output blocks.
        interactions: the shared geometry of each interaction, by name.
        structure: the structure of each atom, for feature streams on structures.
        structure_count: the number of structures.
    """

    main: SymmetricEdges
    radial: Float[Tensor, "edges radial"]
    update_radial: Float[Tensor, "edges update_size"]
    output_radial: Float[Tensor, "edges output_size"]
    interactions: Mapping[str, Any]
    structure: Int[Tensor, " atoms"] | None = None
    structure_count: int = 0


@final
class GeometryEncoder(nn.Module):
    """Evaluates the bases and their shared projections.

    Args:
        bases: the radial bases of the edge sets.
        radial_count: the number of radial functions of the main edges.
        radial_size: features of their projections.
        interactions: the shared geometry of each interaction, by name.
        update: project radial functions for atom updates.
        output: project radial functions for output blocks and further heads.
        own: the radial bases of interactions that do not use the shared ones alone, by the name of the interaction.
    """

    no_values: Tensor

    def __init__(
        self,
        bases: RadialBases,
        radial_count: int,
        radial_size: int,
        interactions: Mapping[str, InteractionGeometry[Any]],
        own: Mapping[str, RadialNames] | None = None,
        update: bool = True,
        output: bool = True,
    ) -> None:
        super().__init__()
        self.bases, self.own = bases, own or {}
        self.update_radial = linear(radial_count, radial_size) if update else None
        self.output_radial = linear(radial_count, radial_size) if output else None
        self.interactions = nn.ModuleDict(dict(interactions))
        if not update and not output:  # a module without weights has no type otherwise
            self.register_buffer("no_values", torch.empty(0), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the layers that use the geometry."""
        return self._any_weight.dtype

    @property
    def device(self) -> torch.device:
        """The device of the layers."""
        return self._any_weight.device

    @property
    def _any_weight(self) -> Tensor:
        projection = self.update_radial or self.output_radial
        return self.no_values if projection is None else projection.weight

    def forward(self, structures: Structures, topology: Topology) -> Geometry:
        """Evaluate all bases and projections.

        Args:
            structures: the batch; results carry gradients to its positions and cells.
            topology: the topology of the batch.
        """
        graphs = measured_graphs(structures, topology, at_least_single(self.dtype))
        # bases are evaluated in the type of the distances, which is wider than weights in half precision
        radial = self.bases(graphs).to(self.dtype)
        main = radial.radial[MAIN]
        return Geometry(
            main=graphs.main,
            radial=main,
            update_radial=main[:, :0] if self.update_radial is None else self.update_radial(main),
            output_radial=main[:, :0] if self.output_radial is None else self.output_radial(main),
            interactions={name: self._shared(name, graphs, radial) for name in self.interactions},
            structure=structures.structure,
            structure_count=structures.count,
        )

    def _shared(self, name: str, graphs: Graphs, radial: RadialValues) -> Any:
        if name in self.own:
            radial = radial.named(self.own[name])
        try:
            return self.interactions[name](graphs, radial)
        except KeyError as error:
            raise KeyError(
                f"the geometry of interaction {name!r} reads {error.args[0]!r}, which it does not declare: name it in "
                "edge_sets, requests, radial_on or angular_radial_on"
            ) from error
