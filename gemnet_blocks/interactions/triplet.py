"""Triplet interaction: edges to edges that share their target."""

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


class TripletOptions(InteractionOptions):
    """Edges to edges: c→a hears of every other edge b→a and of the angle between them."""

    type: Literal["triplet"] = "triplet"
    """The kind of interaction."""
    down: Size
    """Features that are summed over triplets."""
    up: Size
    """Features after the contraction with the basis."""


@dataclass(frozen=True, slots=True, eq=False)
class TripletGeometry:
    """What triplet interactions read.

    Attributes:
        radial: projected radial functions of the main edges.
        angular_sum: from messages of main edges to main edges.
        reverse: the opposite of each main edge.
    """

    radial: Float[Tensor, "edges radial_size"]
    angular_sum: AngularSum
    reverse: Int[Tensor, " edges"]


@final
class SharedTripletGeometry(InteractionGeometry[TripletGeometry]):
    """Project the distances and angles of triplets.

    Args:
        triplet_sum: makes the sum over triplets.
        radial_count: radial functions.
        radial_size: their projections.
    """

    def __init__(self, triplet_sum: TripletSum, radial_count: int, radial_size: int) -> None:
        super().__init__()
        self.radial = linear(radial_count, radial_size)
        self.triplet_sum = triplet_sum
        self.requests = triplet_sum.requests
        self.method = triplet_sum.method
        self.radial_on = (MAIN,)
        self.angular_radial_on = (MAIN,)

    def forward(self, graphs: Graphs, radial: RadialValues) -> TripletGeometry:
        """What the blocks read."""
        return TripletGeometry(self.radial(radial.radial[MAIN]), self.triplet_sum(graphs, radial), graphs.main.reverse)

    def gathered(self, graphs: Graphs) -> Int[Tensor, " terms"]:
        """The edge b→a of every triplet c→a←b."""
        return self.triplet_sum.request.build(graphs.edge_sets).inner


@final
class TripletInteraction(Interaction[TripletGeometry]):
    """m_ca ← Σ_b of messages of the edges b→a, weighted by rad(d_ca) cir(φ_cab).

    x = Dense_down(scale·(Dense(m) ⊙ lin(rad))), y = scale·lin(flatten Σ_l B[c→a, k, l] Σ_b cir_l(φ_cab) x_ba),
    result = (Dense₁(y) + Dense₂(y)[reverse])/√2. GemNet-OC (arXiv 2204.02782), triplet interaction.

    Args:
        edge_size: features of edge embeddings.
        down_size: features that are summed.
        up_size: features after the contraction.
        radial_size: features of projected radial functions.
        circular_size: features of projected radial × circular functions.
        activation: of the dense layers.
    """

    Options = TripletOptions
    writes = "edges"
    reads = "edges, triplets"
    in_steps = True

    def __init__(
        self,
        edge_size: int,
        down_size: int,
        up_size: int,
        radial_size: int,
        circular_size: int,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.message = Message(edge_size, radial_size, down_size, activation)
        self.contraction = Contraction(circular_size, down_size, up_size)
        self.up = SymmetricUp(up_size, edge_size, activation)

    @classmethod
    def shared_geometry(cls, options: TripletOptions, context: BuildContext) -> SharedTripletGeometry:
        """Make the part that all blocks share."""
        return SharedTripletGeometry(
            TripletSum.from_context(MAIN, MAIN, context), context.radial_count, context.sizes.radial
        )

    @classmethod
    def from_options(cls, options: TripletOptions, context: BuildContext) -> TripletInteraction:
        """Make the interaction of one block."""
        sizes = context.sizes
        return cls(sizes.edge, options.down, options.up, sizes.radial, sizes.circular, context.activation)

    def forward(self, embeddings: Embeddings, geometry: TripletGeometry) -> Float[Tensor, "edges edge_size"]:
        """The message to each main edge."""
        x = self.message(embeddings.edges, geometry.radial)
        return self.up(self.contraction(geometry.angular_sum, x), geometry.reverse)
