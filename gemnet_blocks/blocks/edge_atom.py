"""Edge–atom interaction: edges to the atoms that they end at."""

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
from gemnet_blocks.interactions.message import Contraction, Message
from gemnet_blocks.layers.dense import Activation, Dense, linear
from gemnet_blocks.layers.projection import RadialValues
from gemnet_blocks.options import Size


class EdgeAtomOptions(InteractionOptions):
    """Edges to atoms: a hears of every main edge b→a and of its angles with the edges c→a to neighbors."""

    type: Literal["edge_atom"] = "edge_atom"
    """The kind of interaction."""
    graph: str = "atom_edge"
    """The edge set of the edges c→a."""
    down: Size
    """Features that are summed over triplets."""
    up: Size
    """Features after the contraction with the basis."""

    def edge_sets(self) -> dict[str, str]:
        """The edge sets that the options name, by field."""
        return {"graph": self.graph}


@dataclass(frozen=True, slots=True, eq=False)
class EdgeAtomGeometry:
    """What edge–atom interactions read.

    Attributes:
        radial: projected radial functions of the main edges b→a.
        angular_sum: from messages of main edges to atoms.
    """

    radial: Float[Tensor, "edges radial_size"]
    angular_sum: AngularSum


@final
class SharedEdgeAtomGeometry(InteractionGeometry[EdgeAtomGeometry]):
    """Project the distances and angles of triplets of an edge to a neighbor and a main edge.

    Args:
        triplet_sum: makes the sum over triplets.
        radial_count: radial functions.
        radial_size: their projections.
    """

    def __init__(self, triplet_sum: TripletSum, radial_count: int, radial_size: int) -> None:
        super().__init__()
        self.radial = linear(radial_count, radial_size)
        self.triplet_sum = triplet_sum
        self.graph = triplet_sum.request.outer
        self.edge_sets = (self.graph,)
        self.requests = triplet_sum.requests
        self.method = triplet_sum.method
        self.radial_on = (MAIN,)
        self.angular_radial_on = (self.graph,)

    def forward(self, graphs: Graphs, radial: RadialValues) -> EdgeAtomGeometry:
        """What the blocks read."""
        return EdgeAtomGeometry(self.radial(radial.radial[MAIN]), self.triplet_sum(graphs, radial))

    def gathered(self, graphs: Graphs) -> Int[Tensor, " terms"]:
        """The edge b→a of every triplet c→a←b."""
        return self.triplet_sum.request.build(graphs.edge_sets).inner


@final
class EdgeAtomInteraction(Interaction[EdgeAtomGeometry]):
    """h_a ← Σ_c Σ_b of messages of the main edges b→a, weighted by rad(d_ca) cir(φ_cab).

    As the triplet interaction up to the contraction, x_a = scale·lin(flatten Σ_{c→a} Σ_l B[c→a, k, l]
    Σ_b cir_l(φ_cab) x_ba); result = Dense(x_a). GemNet-OC (arXiv 2204.02782), edge–atom interaction.

    Args:
        atom_size: features of atom embeddings.
        edge_size: features of edge embeddings.
        down_size: features that are summed.
        up_size: features after the contraction.
        radial_size: features of projected radial functions.
        circular_size: features of projected radial × circular functions.
        activation: of the dense layers.
    """

    Options = EdgeAtomOptions
    writes = "atoms"
    reads = "edges, mixed triplets"
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
        self.message = Message(edge_size, radial_size, down_size, activation)
        self.contraction = Contraction(circular_size, down_size, up_size)
        self.up = Dense(up_size, atom_size, activation)

    @classmethod
    def shared_geometry(cls, options: EdgeAtomOptions, context: BuildContext) -> SharedEdgeAtomGeometry:
        """Make the part that all blocks share."""
        return SharedEdgeAtomGeometry(
            TripletSum.from_context(options.graph, MAIN, context, over="atoms"),
            context.radial_count,
            context.sizes.radial,
        )

    @classmethod
    def from_options(cls, options: EdgeAtomOptions, context: BuildContext) -> EdgeAtomInteraction:
        """Make the interaction of one block."""
        sizes = context.sizes
        return cls(sizes.atom, sizes.edge, options.down, options.up, sizes.radial, sizes.circular, context.activation)

    def forward(self, embeddings: Embeddings, geometry: EdgeAtomGeometry) -> Float[Tensor, "atoms atom_size"]:
        """The message to each atom."""
        x = self.message(embeddings.edges, geometry.radial)
        return self.up(self.contraction(geometry.angular_sum, x))
