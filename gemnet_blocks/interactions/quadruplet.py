"""Quadruplet interaction: edges to edges that are two bonds away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, final

from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.aggregation.angular_sum import EXPLICIT, AngularPlan, AngularSum, ExplicitAngularSum
from gemnet_blocks.aggregation.quadruplets import QuadrupletFunctions, QuadrupletSumPerAtom
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.spherical import SphericalBasis
from gemnet_blocks.geometry.angles import CollinearRule, dot, quadruplet_angles
from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.graph.index_sets import ChainRequest, IndexRequest, QuadrupletRequest
from gemnet_blocks.graph.padded import Chains
from gemnet_blocks.graph.ragged import by_segment
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.graph.triplets import Quadruplets
from gemnet_blocks.interactions.interaction import (
    BuildContext,
    Embeddings,
    Interaction,
    InteractionGeometry,
    InteractionOptions,
)
from gemnet_blocks.interactions.message import Contraction, Message, SymmetricUp
from gemnet_blocks.layers.dense import Activation, linear
from gemnet_blocks.layers.projection import RadialAngularProjection, RadialValues, ScaledBasis
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.options import Size
from gemnet_blocks.util.recompute import by_rows


class QuadrupletOptions(InteractionOptions):
    """Edges to edges: c→a hears of the edges d→b of its neighbors b, of two angles and the dihedral angle."""

    type: Literal["quadruplet"] = "quadruplet"
    """The kind of interaction."""
    graph: str = "quad"
    """The edge set of the middle edges b→a."""
    down: Size
    """Features that are summed over quadruplets."""
    up: Size
    """Features after the contraction with the basis."""

    def edge_sets(self) -> dict[str, str]:
        """The edge sets that the options name, by field."""
        return {"graph": self.graph}


@dataclass(frozen=True, slots=True, eq=False)
class QuadrupletGeometry:
    """What quadruplet interactions read.

    Attributes:
        radial: projected radial functions of the main edges.
        circular: Σ_l B_cir[b→a, k, l] cir_l(φ_abd) of each triplet d→b→a.
        inner_edge: the main edge d→b of each of these triplets.
        angular_sum: from messages of triplets d→b→a to main edges c→a.
        reverse: the opposite of each main edge.
    """

    radial: Float[Tensor, "edges radial_size"]
    circular: Float[Tensor, "source_triplets circular_size"]
    inner_edge: Int[Tensor, " source_triplets"]
    angular_sum: AngularSum
    reverse: Int[Tensor, " edges"]


@final
class SharedQuadrupletGeometry(InteractionGeometry[QuadrupletGeometry]):
    """Project the distances and angles of quadruplets.

    Args:
        graph: the edge set of the middle edges b→a.
        radial: from radial functions to their projections.
        circular: the basis of the angle φ_abd.
        circular_projection: from radial × circular functions of the middle edges to embeddings.
        spherical: the basis of the angles φ_cab and θ_cabd.
        spherical_projection: from radial × spherical functions of the main edges to embeddings.
        collinear: what θ_cabd is where atoms come to lie on a line.
        sums: how sums are computed.
        plan: how the sum over quadruplets is computed.
    """

    def __init__(
        self,
        graph: str,
        radial: nn.Linear,
        circular: CircularBasis | ScaledBasis,
        circular_projection: RadialAngularProjection,
        spherical: SphericalBasis | ScaledBasis,
        spherical_projection: RadialAngularProjection,
        collinear: CollinearRule,
        sums: Sums,
        plan: AngularPlan = EXPLICIT,
    ) -> None:
        super().__init__()
        self.radial = radial
        self.circular = circular
        self.circular_projection = circular_projection
        self.spherical = spherical
        self.spherical_projection = spherical_projection
        self.collinear = collinear
        self.sums = sums
        self.graph = graph
        self.plan = plan
        self.method = plan.choose(_obstacle(circular, spherical))
        # In a plane, the published clamp of θ acts on both ends of a nearly straight chain together: no factor of
        # each. That changes energies by up to 10⁻⁷, which double precision is expected to show.
        listed_in_double = self.method.factorised and collinear.gated and plan.method == "auto"
        if listed_in_double:
            self.method = replace(self.method, reason="explicit in double precision, where the clamp of θ shows")
        self.edge_sets = (graph,)
        self.requests: tuple[IndexRequest, ...] = (QuadrupletRequest(MAIN, graph),)
        if self.method.factorised:
            self.requests = (ChainRequest(MAIN, graph, plan.atoms_at_most, listed_in_double),)
        self.radial_on = (MAIN,)
        self.angular_radial_on = (MAIN, graph)

    def forward(self, graphs: Graphs, radial: RadialValues) -> QuadrupletGeometry:
        """What the blocks read."""
        main, middle = graphs.main.edges, graphs.edge_sets[self.graph]
        indices = graphs.indices[self.requests[0]]
        assert isinstance(indices, Chains | Quadruplets)
        triplets = indices.around_source
        assert triplets.by_outer is not None
        if isinstance(indices, Chains):
            angular_sum = self._factorised(indices, graphs, radial)
        else:
            angular_sum = self._explicit(indices, main, middle, radial)
        by_middle = self.circular_projection(radial.angular[self.graph])
        cosines = dot(main.direction.index_select(0, triplets.inner), middle.direction.index_select(0, triplets.outer))
        of_angles = self.circular(cosines).to(by_middle.dtype)
        circular = by_segment(by_middle, of_angles, triplets.by_outer)
        return QuadrupletGeometry(
            self.radial(radial.radial[MAIN]), circular, triplets.inner, angular_sum, graphs.main.reverse
        )

    def gathered(self, topology: Topology) -> Int[Tensor, " terms"]:
        """The triplet d→b→a of every quadruplet c→a←b←d."""
        return QuadrupletRequest(MAIN, self.graph).build(topology.edges).source_triplet

    def _explicit(self, quadruplets: Quadruplets, main: EdgeSet, middle: EdgeSet, radial: RadialValues) -> AngularSum:
        angles = quadruplet_angles(main.direction, middle.direction, quadruplets, self.collinear)
        weights = self.spherical(angles.cos_at_target.index_select(0, quadruplets.target_triplet), angles.dihedral)
        assert quadruplets.by_outer is not None
        weights = weights.to(radial.angular[MAIN].dtype)
        return ExplicitAngularSum(
            self.sums.weighted(weights, quadruplets.source_triplet, quadruplets.by_outer),
            self.spherical_projection(radial.angular[MAIN]),
            self.sums.products,
        )

    def _factorised(self, chains: Chains, graphs: Graphs, radial: RadialValues) -> AngularSum:
        main, middle = graphs.main.edges, graphs.edge_sets[self.graph]
        assert isinstance(self.spherical, SphericalBasis)
        series = self.spherical.azimuthal_series()
        assert series is not None
        functions = QuadrupletFunctions(
            main.direction,
            middle.direction,
            radial.angular[MAIN],
            self.spherical_projection.weight,
            series,
            self.collinear,
        )
        return QuadrupletSumPerAtom(chains, functions, self.sums)


def _obstacle(circular: CircularBasis | ScaledBasis, spherical: SphericalBasis | ScaledBasis) -> str | None:
    """Why sums over quadruplets do not factorise, if they do not."""
    if isinstance(circular, ScaledBasis) or isinstance(spherical, ScaledBasis):
        return "the scale factors of its bases are fitted on listed quadruplets"
    if spherical.azimuthal_series() is None:
        return f"{type(spherical).__name__} is no series of cos jθ"
    return None


@final
class QuadrupletInteraction(Interaction[QuadrupletGeometry]):
    """m_ca ← Σ_b Σ_d of messages of the edges d→b, weighted by rad(d_ba) cir(φ_abd) and rad(d_ca) sph(φ_cab, θ_cabd).

    x = Dense_down(scale·(Dense(m) ⊙ lin(rad))), y_dba = scale·(x_db ⊙ lin(Σ_l B_cir[b→a, :, l] cir_l(φ_abd))),
    z = scale·lin(flatten Σ_i B_sph[c→a, k, i] Σ_{b,d} sph_i(φ_cab, θ_cabd) y_dba),
    result = (Dense₁(z) + Dense₂(z)[reverse])/√2. GemNet-OC (arXiv 2204.02782), quadruplet interaction.

    Args:
        edge_size: features of edge embeddings.
        down_size: features that are summed.
        up_size: features after the contraction.
        radial_size: features of projected radial functions.
        circular_size: features of projected radial × circular functions.
        spherical_size: features of projected radial × spherical functions.
        activation: of the dense layers.
    """

    Options = QuadrupletOptions
    writes = "edges"
    reads = "edges, quadruplets"
    in_steps = True

    def __init__(
        self,
        edge_size: int,
        down_size: int,
        up_size: int,
        radial_size: int,
        circular_size: int,
        spherical_size: int,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.message = Message(edge_size, radial_size, down_size, activation)
        self.circular = linear(circular_size, down_size)
        self.circular_scale = ScaleFactor()
        self.contraction = Contraction(spherical_size, down_size, up_size)
        self.up = SymmetricUp(up_size, edge_size, activation)

    @classmethod
    def shared_geometry(cls, options: QuadrupletOptions, context: BuildContext) -> SharedQuadrupletGeometry:
        """Make the part that all blocks share."""
        sizes, radial_count = context.sizes, context.angular_radial_count
        return SharedQuadrupletGeometry(
            graph=options.graph,
            radial=linear(context.radial_count, sizes.radial),
            circular=context.circular_basis(),
            circular_projection=RadialAngularProjection(radial_count, context.circular_count, sizes.circular),
            spherical=context.spherical_basis(),
            spherical_projection=RadialAngularProjection(radial_count, context.spherical_count, sizes.spherical),
            collinear=context.collinear,
            sums=context.sums,
            plan=context.angular,
        )

    @classmethod
    def from_options(cls, options: QuadrupletOptions, context: BuildContext) -> QuadrupletInteraction:
        """Make the interaction of one block."""
        sizes = context.sizes
        return cls(
            sizes.edge,
            options.down,
            options.up,
            sizes.radial,
            sizes.circular,
            sizes.spherical,
            context.activation,
        )

    def forward(self, embeddings: Embeddings, geometry: QuadrupletGeometry) -> Float[Tensor, "edges edge_size"]:
        """The message to each main edge."""
        x = self.message(embeddings.edges, geometry.radial)

        def with_angle(edge: Tensor, circular: Tensor) -> Tensor:
            return self.circular_scale.of_product(x.index_select(0, edge), self.circular, circular)

        y = by_rows(with_angle, geometry.inner_edge, geometry.circular)
        return self.up(self.contraction(geometry.angular_sum, y), geometry.reverse)
