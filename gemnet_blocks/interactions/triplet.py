"""Triplet interaction: edges to edges that share their target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.aggregation.angular_sum import EXPLICIT, AngularPlan, AngularSum, ExplicitAngularSum, SumOverEdges
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.aggregation.triplets import Over, TripletFunctions, TripletSumPerAtom
from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.geometry.angles import triplet_cosines
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.graph.index_sets import AtomGroupRequest, IndexRequest, TripletRequest
from gemnet_blocks.graph.padded import AtomGroups
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.graph.triplets import Triplets
from gemnet_blocks.interactions.interaction import (
    BuildContext,
    Embeddings,
    Interaction,
    InteractionGeometry,
    InteractionOptions,
)
from gemnet_blocks.interactions.message import Contraction, Message, SymmetricUp
from gemnet_blocks.layers.dense import Activation, Dense, linear
from gemnet_blocks.layers.projection import RadialAngularProjection, RadialValues, ScaledBasis
from gemnet_blocks.options import Size


@final
class TripletSum(nn.Module):
    """Make the sum X[c→a, k, f] = Σ_l B[c→a, k, l] Σ_b cir_l(φ_cab) x[b→a, f] with B from rad(d_ca).

    Args:
        request: which edges c→a and b→a.
        circular: the circular basis.
        projection: from radial × circular functions to embeddings k.
        sums: how sums are computed.
        over: edges: one sum per edge c→a; atoms: their sums Σ_c X[c→a] at each atom a.
        plan: how the sum over triplets is computed.

    Attributes:
        requests: the index sets that it reads.
        method: explicit, or factorised, and why explicit where that was not asked for.
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
        self.request = request
        self.circular = circular
        self.projection = projection
        self.sums = sums
        self.over: Over = over
        self.plan = plan
        self.method = plan.choose(SCALED if isinstance(circular, ScaledBasis) else None)
        self.requests: tuple[IndexRequest, ...] = (request,)
        if self.method.factorised:
            self.requests = (AtomGroupRequest(request.outer, request.inner, plan.atoms_at_most),)

    @classmethod
    def from_context(cls, outer: str, inner: str, context: BuildContext, over: Over = "edges") -> TripletSum:
        """Make it with the bases and sizes of a spec."""
        projection = RadialAngularProjection(
            context.angular_radial_count, context.circular_count, context.sizes.circular
        )
        request = TripletRequest(outer, inner)
        return cls(request, context.circular_basis(), projection, context.sums, over, context.angular)

    def forward(self, graphs: Graphs, radial: RadialValues) -> AngularSum:
        """The sum on these graphs."""
        outer, inner = graphs.edge_sets[self.request.outer], graphs.edge_sets[self.request.inner]
        functions = radial.angular[self.request.outer]
        indices = graphs.indices[self.requests[0]]
        if isinstance(indices, AtomGroups):
            weights = TripletFunctions(
                outer.direction, inner.direction, functions, self.circular, self.projection.weight
            )
            return TripletSumPerAtom(indices, weights, self.over, self.sums.products)
        assert isinstance(indices, Triplets)
        values = self.circular(triplet_cosines(outer.direction, inner.direction, indices)).to(functions.dtype)
        assert indices.by_outer is not None
        projection, listed = self.projection(functions), self.sums.weighted(values, indices.inner, indices.by_outer)
        if self.over == "atoms":
            return SumOverEdges(listed, projection, outer.target, outer.atom_count, self.sums)
        return ExplicitAngularSum(listed, projection, self.sums.products)


SCALED = "the scale factor of its basis is fitted on listed triplets"


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
    """Projected distances and angles of the triplets c→a←b, shared by all blocks.

    Attributes:
        radial: projected radial functions of the edges b→a.
        source: the atom b of each of them.
        angular_sum: from messages of the edges b→a to the edges c→a, or to the atoms a.
        reverse: the opposite of each main edge.
    """

    radial: Float[Tensor, "inner_edges radial_size"]
    source: Int[Tensor, " inner_edges"]
    angular_sum: AngularSum
    reverse: Int[Tensor, " edges"]


@final
class SharedTripletGeometry(InteractionGeometry[TripletGeometry]):
    """Project the distances and angles of triplets c→a←b of two edge sets, which may be the same.

    Args:
        triplet_sum: makes the sum over triplets.
        radial_count: radial functions.
        radial_size: their projections.
    """

    def __init__(self, triplet_sum: TripletSum, radial_count: int, radial_size: int) -> None:
        super().__init__()
        self.radial = linear(radial_count, radial_size)
        self.triplet_sum = triplet_sum
        outer, inner = triplet_sum.request.outer, triplet_sum.request.inner
        self.inner = inner
        self.edge_sets = tuple(name for name in (outer, inner) if name != MAIN)
        self.requests = triplet_sum.requests
        self.method = triplet_sum.method
        self.radial_on = (inner,)
        self.angular_radial_on = (outer,)

    @classmethod
    def from_context(cls, outer: str, inner: str, context: BuildContext, over: Over = "edges") -> SharedTripletGeometry:
        """Make it with the bases and sizes of a spec."""
        triplet_sum = TripletSum.from_context(outer, inner, context, over)
        return cls(triplet_sum, context.radial_count, context.sizes.radial)

    def forward(self, graphs: Graphs, radial: RadialValues) -> TripletGeometry:
        """What the blocks read."""
        return TripletGeometry(
            self.radial(radial.radial[self.inner]),
            graphs.edge_sets[self.inner].source,
            self.triplet_sum(graphs, radial),
            graphs.main.reverse,
        )

    def gathered(self, topology: Topology) -> Int[Tensor, " terms"]:
        """The edge b→a of every triplet c→a←b."""
        return self.triplet_sum.request.build(topology.edges).inner


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
        return SharedTripletGeometry.from_context(MAIN, MAIN, context)

    @classmethod
    def from_options(cls, options: TripletOptions, context: BuildContext) -> TripletInteraction:
        """Make the interaction of one block."""
        sizes = context.sizes
        return cls(sizes.edge, options.down, options.up, sizes.radial, sizes.circular, context.activation)

    def forward(self, embeddings: Embeddings, geometry: TripletGeometry) -> Float[Tensor, "edges edge_size"]:
        """The message to each main edge."""
        x = self.message(embeddings.edges, geometry.radial)
        return self.up(self.contraction(geometry.angular_sum, x), geometry.reverse)


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


@final
class AtomEdgeInteraction(Interaction[TripletGeometry]):
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
    def shared_geometry(cls, options: AtomEdgeOptions, context: BuildContext) -> SharedTripletGeometry:
        """Make the part that all blocks share."""
        return SharedTripletGeometry.from_context(MAIN, options.graph, context)

    @classmethod
    def from_options(cls, options: AtomEdgeOptions, context: BuildContext) -> AtomEdgeInteraction:
        """Make the interaction of one block."""
        sizes = context.sizes
        return cls(sizes.atom, sizes.edge, options.down, options.up, sizes.radial, sizes.circular, context.activation)

    def forward(self, embeddings: Embeddings, geometry: TripletGeometry) -> Float[Tensor, "edges edge_size"]:
        """The message to each main edge."""
        x = self.message(embeddings.atoms, geometry.radial, geometry.source)
        return self.up(self.contraction(geometry.angular_sum, x), geometry.reverse)


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


@final
class EdgeAtomInteraction(Interaction[TripletGeometry]):
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
    def shared_geometry(cls, options: EdgeAtomOptions, context: BuildContext) -> SharedTripletGeometry:
        """Make the part that all blocks share."""
        return SharedTripletGeometry.from_context(options.graph, MAIN, context, over="atoms")

    @classmethod
    def from_options(cls, options: EdgeAtomOptions, context: BuildContext) -> EdgeAtomInteraction:
        """Make the interaction of one block."""
        sizes = context.sizes
        return cls(sizes.atom, sizes.edge, options.down, options.up, sizes.radial, sizes.circular, context.activation)

    def forward(self, embeddings: Embeddings, geometry: TripletGeometry) -> Float[Tensor, "atoms atom_size"]:
        """The message to each atom."""
        x = self.message(embeddings.edges, geometry.radial)
        return self.up(self.contraction(geometry.angular_sum, x))
