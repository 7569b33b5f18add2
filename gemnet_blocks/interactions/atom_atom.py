"""Atom–atom interaction: atoms to their neighbors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.aggregation.angular_sum import AngularSum, RadialSum
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.graph.index_sets import AtomPairRequest, AtomPairs
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.interactions.interaction import (
    BuildContext,
    Embeddings,
    Interaction,
    InteractionGeometry,
    InteractionOptions,
)
from gemnet_blocks.interactions.message import Contraction
from gemnet_blocks.layers.dense import Activation, Dense, linear
from gemnet_blocks.layers.projection import RadialValues
from gemnet_blocks.options import Size


class AtomAtomOptions(InteractionOptions):
    """Atoms to atoms: a hears of every atom b near it and of their distance."""

    type: Literal["atom_atom"] = "atom_atom"
    """The kind of interaction."""
    graph: str = "atom"
    """The edge set of the edges b→a."""
    down: Size
    """Features that are summed over neighbors."""
    up: Size
    """Features after the contraction with the basis."""

    def edge_sets(self) -> dict[str, str]:
        """The edge sets that the options name, by field."""
        return {"graph": self.graph}


@dataclass(frozen=True, slots=True, eq=False)
class AtomAtomGeometry:
    """What atom–atom interactions read.

    Attributes:
        radial_sum: X[a, k, f] = Σ_{b→a} R[b→a, k] x[b, f] with the projected radial functions R.
    """

    radial_sum: AngularSum


@final
class SharedAtomAtomGeometry(InteractionGeometry[AtomAtomGeometry]):
    """Project the distances between neighbors.

    Args:
        graph: the edge set.
        radial_count: radial functions.
        radial_size: their projections.
        sums: how sums are computed.
    """

    def __init__(self, graph: str, radial_count: int, radial_size: int, sums: Sums) -> None:
        super().__init__()
        self.radial = linear(radial_count, radial_size)
        self.sums = sums
        self.graph = graph
        self.edge_sets = (graph,)
        self.requests = (AtomPairRequest(graph),)
        self.radial_on = (graph,)

    def forward(self, graphs: Graphs, radial: RadialValues) -> AtomAtomGeometry:
        """What the blocks read."""
        pairs = graphs.indices[self.requests[0]]
        assert isinstance(pairs, AtomPairs)
        # the images of one atom have one embedding, so that their functions can be added up first
        functions = self.radial(self.sums.by_index(radial.radial[self.graph], pairs.of_edge, pairs.count))
        return AtomAtomGeometry(RadialSum(self.sums.weighted(functions, pairs.source, pairs.by_target)))

    def gathered(self, topology: Topology) -> Int[Tensor, " terms"]:
        """The atom b of every edge b→a."""
        return topology.edges[self.graph].source


@final
class AtomAtomInteraction(Interaction[AtomAtomGeometry]):
    """h_a ← Σ_b of messages of the atoms b, weighted by rad(d_ba).

    x = Dense_down(h), x_a = scale·lin(flatten Σ_{b→a} R[b→a, k] x_b), result = Dense(x_a).
    GemNet-OC (arXiv 2204.02782), atom–atom interaction.

    Args:
        atom_size: features of atom embeddings.
        down_size: features that are summed.
        up_size: features after the contraction.
        radial_size: features of projected radial functions.
        activation: of the dense layers.
    """

    Options = AtomAtomOptions
    writes = "atoms"
    reads = "atoms, their distances"
    in_steps = True

    def __init__(
        self, atom_size: int, down_size: int, up_size: int, radial_size: int, activation: Activation = "silu"
    ) -> None:
        super().__init__()
        self.down = Dense(atom_size, down_size, activation)
        self.contraction = Contraction(radial_size, down_size, up_size)
        self.up = Dense(up_size, atom_size, activation)

    @classmethod
    def shared_geometry(cls, options: AtomAtomOptions, context: BuildContext) -> SharedAtomAtomGeometry:
        """Make the part that all blocks share."""
        return SharedAtomAtomGeometry(options.graph, context.radial_count, context.sizes.radial, context.sums)

    @classmethod
    def from_options(cls, options: AtomAtomOptions, context: BuildContext) -> AtomAtomInteraction:
        """Make the interaction of one block."""
        sizes = context.sizes
        return cls(sizes.atom, options.down, options.up, sizes.radial, context.activation)

    def forward(self, embeddings: Embeddings, geometry: AtomAtomGeometry) -> Float[Tensor, "atoms atom_size"]:
        """The message to each atom."""
        x = self.down(embeddings.atoms)
        return self.up(self.contraction(geometry.radial_sum, x))
