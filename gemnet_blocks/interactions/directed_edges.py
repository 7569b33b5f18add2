"""Geometry of equivariant interactions: radial functions and functions of the direction of each edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.interactions.interaction import InteractionGeometry
from gemnet_blocks.layers.radial_bases import RadialValues


@dataclass(frozen=True, slots=True, eq=False)
class DirectedEdges:
    """Functions of the edges b→a of one edge set, shared by all blocks.

    Attributes:
        source: the atoms b.
        target: the atoms a.
        atom_count: the number of atoms.
        radial: functions of the distance, which vanish at the cutoff.
        angular: functions of the direction.
    """

    source: Int[Tensor, " edges"]
    target: Int[Tensor, " edges"]
    atom_count: int
    radial: Float[Tensor, "edges radial"]
    angular: Float[Tensor, "edges components"]


@final
class SharedDirectedEdges(InteractionGeometry[DirectedEdges]):
    """Evaluate functions of distances and directions of one edge set.

    Args:
        graph: the edge set of the edges b→a.
        angular: computes functions of the directions, which are unit vectors from b to a.
    """

    def __init__(self, graph: str, angular: nn.Module) -> None:
        super().__init__()
        self.graph = graph
        self.angular = angular
        self.edge_sets = (graph,)
        self.radial_on = (graph,)

    @override
    def forward(self, graphs: Graphs, radial: RadialValues) -> DirectedEdges:
        edges, functions = graphs[self.graph], radial.radial[self.graph]
        angular = self.angular(edges.direction).to(functions.dtype)
        return DirectedEdges(edges.source, edges.target, edges.atom_count, functions, angular)

    @override
    def gathered(self, topology: Topology) -> Int[Tensor, " terms"]:
        return topology.edges[self.graph].source
