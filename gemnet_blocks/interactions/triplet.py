"""Triplet, atom–edge and edge–atom interactions: messages over triplets c→a←b, weighted by the angle φ_cab."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, final

from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import Self, override

from gemnet_blocks.aggregation.angular_sum import AngularSum, ExplicitSum, Over, WeightedSum
from gemnet_blocks.aggregation.method import EXPLICIT, AngularPlan
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.aggregation.triplets import TripletFunctions, TripletSumPerAtom
from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.geometry.angles import triplet_cosines
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.graph.common_edges import CommonEdgeRequest
from gemnet_blocks.graph.index_sets import AtomGroupRequest, IndexRequest, TripletRequest
from gemnet_blocks.graph.padded import AtomGroups
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.graph.triplets import Triplets
from gemnet_blocks.interactions.interaction import (
    BuildContext,
    EdgeMessageOptions,
    Embeddings,
    Interaction,
    InteractionGeometry,
    MessageOptions,
)
from gemnet_blocks.interactions.message import Contraction, Message, SymmetricUp
from gemnet_blocks.interactions.senders import Senders, SendingEdges, common_with_main, senders_of, sending_edges
from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.dense import Dense, linear
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.layers.radial_bases import RadialValues
from gemnet_blocks.layers.scaled_basis import ScaledBasis
from gemnet_blocks.util.recompute import STORED, Evaluation


class TripletOptions(EdgeMessageOptions):
    """Options of the triplet interaction, in which edges b→a send to edges c→a."""

    type: Literal["triplet"] = "triplet"
    """The kind of interaction."""
    graph: str = MAIN
    """The edge set of the edges b→a."""


class AtomEdgeOptions(EdgeMessageOptions):
    """Options of the atom–edge interaction, in which atoms b send to edges c→a."""

    type: Literal["atom_edge"] = "atom_edge"
    """The kind of interaction."""
    graph: str = "atom_edge"
    """The edge set of the edges b→a."""


class EdgeAtomOptions(MessageOptions):
    """Options of the edge–atom interaction, in which edges b→a send to atoms a."""

    type: Literal["edge_atom"] = "edge_atom"
    """The kind of interaction."""
    graph: str = "atom_edge"
    """The edge set of the edges c→a."""
    senders: str = MAIN
    """The edge set of the edges b→a."""

    @override
    def edge_sets(self) -> dict[str, str]:
        return {"graph": self.graph, "senders": self.senders}


@final
class TripletSum(nn.Module):
    r"""The sum over triplets, weighted by radial and circular functions.

    $$X[c→a, k, f] = \sum_l B[c→a, k, l] \sum_b cir_l(φ_{cab})\, x[b→a, f],
    \qquad B[c→a, k, l] = \sum_n rad_n(d_{ca})\, W_{nkl}.$$

    Args:
        request: the edge sets of the edges c→a and b→a.
        circular: the circular basis.
        projection: the weights W, from radial × circular functions to embeddings k.
        sums: how sums are computed.
        over: the receivers: edges c→a; or atoms a, with Σ_c X[c→a].
        plan: explicit or factorized.

    Attributes:
        requests: the index sets that the sum needs.
        method: the method that was chosen, with the reason if it is not the one that was asked for.
    """

    def __init__(
        self,
        request: TripletRequest,
        circular: CircularBasis | ScaledBasis,
        projection: RadialAngularProjection,
        sums: Sums,
        over: Over = "edges",
        plan: AngularPlan = EXPLICIT,
    ) -> None:
        super().__init__()
        self.request, self.circular, self.projection = request, circular, projection
        self.sums, self.over, self.plan = sums, over, plan
        self.evaluation: Evaluation = STORED
        scaled = isinstance(circular, ScaledBasis)
        self.method = plan.choose("the scale factor of its basis is fitted on listed triplets" if scaled else None)
        per_atom = AtomGroupRequest(request.outer, request.inner)
        self.requests: tuple[IndexRequest, ...] = (per_atom if self.method.factorized else request,)

    def forward(self, graphs: Graphs, radial: RadialValues) -> AngularSum:
        """Prepare the sum on these graphs, for all blocks."""
        outer, inner = graphs.edge_sets[self.request.outer], graphs.edge_sets[self.request.inner]
        functions = radial.angular[self.request.outer].flatten(1)
        indices = graphs.indices[self.requests[0]]
        if isinstance(indices, AtomGroups):
            slices = indices.in_slices(self.evaluation.atoms_at_once(self.plan.atoms_at_most))
            terms = TripletFunctions(outer.direction, inner.direction, functions, self.circular, self.projection.matrix)
            return TripletSumPerAtom(slices, terms, self.over, self.sums.products, self.evaluation)
        assert isinstance(indices, Triplets)
        circular = self.circular(triplet_cosines(outer.direction, inner.direction, indices)).to(functions.dtype)
        listed = WeightedSum(circular, indices.inner, indices.by_outer, self.sums.products, self.evaluation)
        at_atoms = partial(self.sums.by_index, index=outer.target, count=outer.atom_count)
        to_atoms = at_atoms if self.over == "atoms" else None
        return ExplicitSum(listed, self.projection(functions), self.sums.products, self.evaluation, to_atoms)


@dataclass(frozen=True, slots=True, eq=False)
class TripletGeometry:
    """Projected distances and angles of the triplets c→a←b, shared by all blocks.

    Attributes:
        radial: projected radial functions of the edges b→a.
        sending: the edges b→a.
        angular_sum: the sum X, from messages of the edges b→a to the edges c→a or the atoms a.
        reverse: the opposite of each main edge.
    """

    radial: Float[Tensor, "inner_edges radial_size"]
    sending: SendingEdges
    angular_sum: AngularSum
    reverse: Int[Tensor, " edges"]


@final
class SharedTripletGeometry(InteractionGeometry[TripletGeometry]):
    """Project the distances and angles of triplets c→a←b.

    Args:
        triplet_sum: the sum over triplets.
        radial_count: the number of radial functions.
        radial_size: features of their projections.
        common: the request for those edges b→a that are main edges, if only these send.
    """

    def __init__(
        self, triplet_sum: TripletSum, radial_count: int, radial_size: int, common: CommonEdgeRequest | None = None
    ) -> None:
        super().__init__()
        self.radial = linear(radial_count, radial_size)
        self.triplet_sum, self.common = triplet_sum, common
        outer, inner = triplet_sum.request.outer, triplet_sum.request.inner
        self.inner = inner
        self.edge_sets = tuple(name for name in (outer, inner) if name != MAIN)
        self.requests = triplet_sum.requests if common is None else (*triplet_sum.requests, common)
        self.plan, self.method = triplet_sum.plan, triplet_sum.method
        self.radial_on, self.angular_radial_on = (inner,), (outer,)

    @override
    def forward(self, graphs: Graphs, radial: RadialValues) -> TripletGeometry:
        sending = sending_edges(graphs, self.inner, radial.radial[self.inner], self.common)
        projected, angular_sum = self.radial(sending.functions), self.triplet_sum(graphs, radial)
        return TripletGeometry(projected, sending, angular_sum, graphs.main.reverse)

    @override
    def gathered(self, topology: Topology) -> Int[Tensor, " terms"]:
        # the edge b→a of every triplet
        return self.triplet_sum.request.build(topology.edges).inner


class TripletMessages(Interaction[TripletGeometry]):
    r"""Messages over triplets c→a←b; the three interactions differ in the senders and receivers alone.

    $$x_{ba} = \mathrm{Dense}_{down}(s_1\, \mathrm{Dense}(\text{sender}) ⊙ \mathrm{lin}(rad(d_{ba}))), \qquad
    X_{kf} = \sum_{b,l} B_{kl}(d_{ca})\, cir_l(φ_{cab})\, x_{ba,f}, \; y = s_2\, \mathrm{lin}(\mathrm{flatten}\, X),$$

    with scale factors s. To edges, the message is (Dense₁(y) + Dense₂(y)[reverse])/√2; to atoms, Dense(y).

    Args:
        sender_size: features of the embeddings that are sent.
        receiver_size: features of the embeddings that receive the message.
        down_size: features that are summed over triplets.
        up_size: features after the contraction.
        radial_size: features of projected radial functions.
        circular_size: features of projected radial × circular functions.
        activation: the activation of the dense layers.
        scaled: False for scale factors of one that are not fitted.
        symmetric: False for messages Dense₁(y) to edges.
        senders: the embeddings of the edges b→a; None for those of the main edges.
    """

    sends: ClassVar[Over]
    writes: Over
    in_steps = True

    def __init__(
        self,
        sender_size: int,
        receiver_size: int,
        down_size: int,
        up_size: int,
        radial_size: int,
        circular_size: int,
        activation: Activation = "silu",
        *,
        scaled: bool = True,
        symmetric: bool = True,
        senders: Senders | None = None,
    ) -> None:
        super().__init__()
        self.message = Message(sender_size, radial_size, down_size, activation, scaled)
        self.contraction = Contraction(circular_size, down_size, up_size, scaled)
        up = partial(SymmetricUp, symmetric=symmetric) if self.writes == "edges" else Dense
        self.up: SymmetricUp | Dense = up(up_size, receiver_size, activation)
        self.senders = senders
        self.reads = self.reads if senders is None else self.reads.replace("edges", senders.reads)

    @classmethod
    @override
    def shared_geometry(cls, options: Any, context: BuildContext) -> SharedTripletGeometry:
        circular, projection = context.circular_basis(), context.circular_projection()
        ends = cls.ends(options)
        triplet_sum = TripletSum(ends, circular, projection, context.sums, cls.writes, context.angular)
        common = common_with_main(ends.inner, context) if cls.sends == "edges" else None
        return SharedTripletGeometry(triplet_sum, context.radial_count, context.sizes.radial, common)

    @classmethod
    @override
    def from_options(cls, options: TripletOptions | AtomEdgeOptions | EdgeAtomOptions, context: BuildContext) -> Self:
        sizes = context.sizes
        of_end = {"edges": sizes.edge, "atoms": sizes.atom}
        ends = of_end[cls.sends], of_end[cls.writes]
        return cls(
            *(*ends, options.down, options.up, sizes.radial, sizes.circular),
            context.activation,
            scaled=options.scale_factor,
            symmetric=isinstance(options, EdgeMessageOptions) and options.symmetric,
            senders=senders_of(cls.ends(options).inner, context) if cls.sends == "edges" else None,
        )

    @staticmethod
    def ends(options: TripletOptions | AtomEdgeOptions | EdgeAtomOptions) -> TripletRequest:
        """Return the edge sets of the edges c→a and b→a."""
        if isinstance(options, EdgeAtomOptions):
            return TripletRequest(options.graph, options.senders)
        return TripletRequest(MAIN, options.graph)

    @override
    def last_weights(self, streams: Collection[str]) -> Sequence[Tensor]:
        return [layer.linear.weight for layer in self.up.modules() if isinstance(layer, Dense)]

    @override
    def forward(self, embeddings: Embeddings, geometry: TripletGeometry) -> Float[Tensor, "rows size"]:
        sent = getattr(embeddings, self.sends) if self.senders is None else self.senders(embeddings, geometry.sending)
        x = self.message(sent, geometry.radial, geometry.sending.source if self.sends == "atoms" else None)
        y = self.contraction(geometry.angular_sum, x)
        return self.up(y, geometry.reverse) if isinstance(self.up, SymmetricUp) else self.up(y)


@final
class TripletInteraction(TripletMessages):
    """Message passing over triplets: edge c→a aggregates messages from the other edges b→a.

    GemNet-OC (arXiv 2204.02782), triplet interaction; `TripletMessages` has the equation.
    """

    Options = TripletOptions
    sends = "edges"
    writes = "edges"
    reads = "edges, triplets"


@final
class AtomEdgeInteraction(TripletMessages):
    """Message passing over triplets: edge c→a aggregates messages from the atoms b near a.

    GemNet-OC (arXiv 2204.02782), atom–edge interaction; `TripletMessages` has the equation.
    """

    Options = AtomEdgeOptions
    sends = "atoms"
    writes = "edges"
    reads = "atoms, mixed triplets"


@final
class EdgeAtomInteraction(TripletMessages):
    """Message passing over triplets: atom a aggregates messages from the edges b→a, over all its neighbors c.

    GemNet-OC (arXiv 2204.02782), edge–atom interaction; `TripletMessages` has the equation.
    """

    Options = EdgeAtomOptions
    sends = "edges"
    writes = "atoms"
    reads = "edges, mixed triplets"
