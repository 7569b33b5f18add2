"""Atom–edge interaction: atoms to the edges into their neighbors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.aggregation.angular_sum import AngularSum
from gemnet_blocks.blocks.triplet_sum import TripletSum
from gemnet_blocks.graph.builder import MAIN, Graphs
from gemnet_blocks.interactions.interaction import (
    BuildContext,
    Embeddings,
    Interaction,
    InteractionGeometry,
    InteractionOptions,
)
from gemnet_blocks.interactions.message import Contraction, Message, SymmetricUp
from gemnet_blocks.layers.dense import Activation, linear
from gemnet_blocks.layers.projection import RadialValues
from gemnet_blocks.options import Size


class AtomEdgeOptions(InteractionOptions):
    """Atoms to edges: the main edge c→a hears of every atom b near a and of the angle between them."""

    type: Literal["atom_edge"] = "atom_edge"
    """The kind of interaction."""
    graph: str = "atom_edge"
    """The edge set of the edges b→a."""
    down: Size
    """Features that are summed over triplets."""
    up: Size
    """Features after the contraction with the basis."""

    def edge_sets(self) -> dict[str, str]:
        """The edge sets that the options name, by field."""
        return {"graph": self.graph}


@dataclass(frozen=True, slots=True, eq=False)
class AtomEdgeGeometry:
    """What atom–edge interactions read.

    Attributes:
        radial: projected radial functions of the edges b→a.
        source: the atom b of each of them.
        angular_sum: from messages of the edges b→a to the main edges c→a.
        reverse: the opposite of each main edge.
    """

    radial: Float[Tensor, "neighbor_edges radial_size"]
    source: Int[Tensor, " neighbor_edges"]
    angular_sum: AngularSum
    reverse: Int[Tensor, " edges"]


@final
class SharedAtomEdgeGeometry(InteractionGeometry[AtomEdgeGeometry]):
    """Project the distances and angles of triplets of a main edge and an edge to a neighbor.

    Args:
        triplet_sum: makes the sum over triplets.
        radial_count: radial functions.
        radial_size: their projections.
    """

    def __init__(self, triplet_sum: TripletSum, radial_count: int, radial_size: int) -> None:
        super().__init__()
        self.radial = linear(radial_count, radial_size)
        self.triplet_sum = triplet_sum
        self.graph = triplet_sum.request.inner
        self.edge_sets = (self.graph,)
        self.requests = triplet_sum.requests
        self.method = triplet_sum.method
        self.radial_on = (self.graph,)
        self.angular_radial_on = (MAIN,)

    def forward(self, graphs: Graphs, radial: RadialValues) -> AtomEdgeGeometry:
        """What the blocks read."""
        return AtomEdgeGeometry(
            self.radial(radial.radial[self.graph]),
            graphs.edge_sets[self.graph].source,
            self.triplet_sum(graphs, radial),
            graphs.main.reverse,
        )

    def gathered(self, graphs: Graphs) -> Int[Tensor, " terms"]:
        """The edge b→a of every triplet c→a←b."""
        return self.triplet_sum.request.build(graphs.edge_sets).inner


@final
class AtomEdgeInteraction(Interaction[AtomEdgeGeometry]):
    """m_ca ← Σ_b of messages of the atoms b near a, weighted by rad(d_ca) cir(φ_cab).

    As the triplet interaction, with Dense(h)_b in place of Dense(m)_ba and the edges b→a from an edge set of their own.
    GemNet-OC (arXiv 2204.02782), atom–edge interaction.

    Args:
        atom_size: features of atom embeddings.
        edge_size: features of edge embeddings.
        down_size: features that are summed.
        up_size: features after the contraction.
        radial_size: features of projected radial functions.
        circular_size: features of projected radial × circular functions.
        activation: of the dense layers.
    """

    Options = AtomEdgeOptions
    writes = "edges"
    reads = "atoms, mixed triplets"
    in_steps = True

    def __init__(
        self,
        atom_size: int,
        edge_size: int,
        down_size: int,
        up_size: int,
        radial_size: int,
        circular_size: int,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.message = Message(atom_size, radial_size, down_size, activation)
        self.contraction = Contraction(circular_size, down_size, up_size)
        self.up = SymmetricUp(up_size, edge_size, activation)

    @classmethod
    def shared_geometry(cls, options: AtomEdgeOptions, context: BuildContext) -> SharedAtomEdgeGeometry:
        """Make the part that all blocks share."""
        return SharedAtomEdgeGeometry(
            TripletSum.from_context(MAIN, options.graph, context), context.radial_count, context.sizes.radial
        )

    @classmethod
    def from_options(cls, options: AtomEdgeOptions, context: BuildContext) -> AtomEdgeInteraction:
        """Make the interaction of one block."""
        sizes = context.sizes
        return cls(sizes.atom, sizes.edge, options.down, options.up, sizes.radial, sizes.circular, context.activation)

    def forward(self, embeddings: Embeddings, geometry: AtomEdgeGeometry) -> Float[Tensor, "edges edge_size"]:
        """The message to each main edge."""
        x = self.message(embeddings.atoms, geometry.radial, geometry.source)
        return self.up(self.contraction(geometry.angular_sum, x), geometry.reverse)
