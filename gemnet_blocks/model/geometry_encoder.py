"""Evaluate distances, bases and shared projections along a topology, once per forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float
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
    """

    main: SymmetricEdges
    radial: Float[Tensor, "edges radial"]
    update_radial: Float[Tensor, "edges radial_size"]
    output_radial: Float[Tensor, "edges radial_size"]
    interactions: Mapping[str, Any]


@final
class GeometryEncoder(nn.Module):
    """Evaluates the bases and their shared projections.

    Args:
        bases: the radial bases of the edge sets.
        radial_count: the number of radial functions of the main edges.
        radial_size: features of their projections.
        interactions: the shared geometry of each interaction, by name.
        own: the radial bases of interactions that do not use the shared ones alone, by the name of the interaction.
    """

    def __init__(
        self,
        bases: RadialBases,
        radial_count: int,
        radial_size: int,
        interactions: Mapping[str, InteractionGeometry[Any]],
        own: Mapping[str, RadialNames] | None = None,
    ) -> None:
        super().__init__()
        self.bases, self.own = bases, own or {}
        self.update_radial = linear(radial_count, radial_size)
        self.output_radial = linear(radial_count, radial_size)
        self.interactions = nn.ModuleDict(dict(interactions))

    def forward(self, structures: Structures, topology: Topology) -> Geometry:
        """Evaluate all bases and projections.

        Args:
            structures: the batch; results carry gradients to its positions and cells.
            topology: the topology of the batch.
        """
        graphs = measured_graphs(structures, topology, at_least_single(self.update_radial.weight.dtype))
        # bases are evaluated in the type of the distances, which is wider than weights in half precision
        radial = self.bases(graphs).to(self.update_radial.weight.dtype)
        main = radial.radial[MAIN]
        return Geometry(
            main=graphs.main,
            radial=main,
            update_radial=self.update_radial(main),
            output_radial=self.output_radial(main),
            interactions={name: self._shared(name, graphs, radial) for name in self.interactions},
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
