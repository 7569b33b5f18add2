"""Atom–atom interaction: messages from the neighbors of an atom, weighted by the distance."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.aggregation.angular_sum import AngularSum, ExplicitSum, WeightedSum
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.graph.index_sets import AtomPairRequest, AtomPairs
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.interactions.interaction import (
    BuildContext,
    Embeddings,
    Interaction,
    InteractionGeometry,
    MessageOptions,
)
from gemnet_blocks.interactions.message import Contraction
from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.dense import Dense, linear
from gemnet_blocks.layers.radial_bases import RadialValues
from gemnet_blocks.util.recompute import STORED, Evaluation


class AtomAtomOptions(MessageOptions):
    """Options of the atom–atom interaction, in which atoms b send to their neighbors a."""

    type: Literal["atom_atom"] = "atom_atom"
    """The kind of interaction."""
    graph: str = "atom"
    """The edge set of the edges b→a."""


@dataclass(frozen=True, slots=True, eq=False)
class AtomAtomGeometry:
    """Projected distances between neighbors, shared by all blocks.

    Attributes:
        radial_sum: the sum X[a, k, f] = Σ_{b→a} R[b→a, k] x[b, f] with projected radial functions R.
    """

    radial_sum: AngularSum


@final
class SharedAtomAtomGeometry(InteractionGeometry[AtomAtomGeometry]):
    """Project the distances between neighbors.

    Args:
        graph: the edge set of the edges b→a.
        radial_count: the number of radial functions.
        radial_size: features of their projections.
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
        self.evaluation: Evaluation = STORED

    @override
    def forward(self, graphs: Graphs, radial: RadialValues) -> AtomAtomGeometry:
        pairs = graphs.indices[self.requests[0]]
        assert isinstance(pairs, AtomPairs)
        # all images of an atom have the same embedding, so that their functions are summed first
        functions = self.radial(self.sums.by_index(radial.radial[self.graph], pairs.of_edge, pairs.count))
        listed = WeightedSum(functions, pairs.source, pairs.by_target, self.sums.products, self.evaluation)
        return AtomAtomGeometry(ExplicitSum(listed, None, self.sums.products, self.evaluation))

    @override
    def gathered(self, topology: Topology) -> Int[Tensor, " terms"]:
        return topology.edges[self.graph].source


@final
class AtomAtomInteraction(Interaction[AtomAtomGeometry]):
    r"""Message passing between atoms: atom a aggregates messages from its neighbors b.

    $$x_b = \mathrm{Dense}_{down}(h_b), \qquad X[a, k, f] = \sum_{b→a} R[b→a, k]\, x[b, f], \qquad
    R = \mathrm{lin}(rad(d_{ba})),$$

    and the message is Dense(s · lin(flatten X)) with a scale factor s.
    GemNet-OC (arXiv 2204.02782), atom–atom interaction.

    Args:
        atom_size: features of atom embeddings.
        down_size: features that are summed over neighbors.
        up_size: features after the contraction.
        radial_size: features of projected radial functions.
        activation: the activation of the dense layers.
        scaled: False for a scale factor of one that is not fitted.
    """

    Options = AtomAtomOptions
    writes = "atoms"
    reads = "atoms, their distances"
    in_steps = True

    def __init__(
        self,
        atom_size: int,
        down_size: int,
        up_size: int,
        radial_size: int,
        activation: Activation = "silu",
        *,
        scaled: bool = True,
    ) -> None:
        super().__init__()
        self.down = Dense(atom_size, down_size, activation)
        self.contraction = Contraction(radial_size, down_size, up_size, scaled)
        self.up = Dense(up_size, atom_size, activation)

    @classmethod
    @override
    def shared_geometry(cls, options: AtomAtomOptions, context: BuildContext) -> SharedAtomAtomGeometry:
        return SharedAtomAtomGeometry(options.graph, context.radial_count, context.sizes.radial, context.sums)

    @classmethod
    @override
    def from_options(cls, options: AtomAtomOptions, context: BuildContext) -> AtomAtomInteraction:
        sizes = context.sizes
        return cls(sizes.atom, options.down, options.up, sizes.radial, context.activation, scaled=options.scale_factor)

    @override
    def last_weights(self, streams: Collection[str]) -> Sequence[Tensor]:
        return [self.up.linear.weight]

    @override
    def forward(self, embeddings: Embeddings, geometry: AtomAtomGeometry) -> Float[Tensor, "atoms atom_size"]:
        x = self.down(embeddings.atoms)
        y = self.contraction(geometry.radial_sum, x)
        return self.up(y)
