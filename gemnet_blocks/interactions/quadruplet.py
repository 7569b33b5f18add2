"""Quadruplet interaction: messages over chains c→a←b←d, weighted by two angles and the dihedral angle."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from gemnet_blocks.aggregation.angular_sum import AngularSum, ExplicitSum, WeightedSum
from gemnet_blocks.aggregation.method import EXPLICIT, AngularPlan
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
from gemnet_blocks.graph.quadruplets import Quadruplets
from gemnet_blocks.graph.ragged import by_segment
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.interactions.interaction import (
    BuildContext,
    EdgeMessageOptions,
    Embeddings,
    Interaction,
    InteractionGeometry,
)
from gemnet_blocks.interactions.message import Contraction, Message, SymmetricUp
from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.dense import Dense, linear
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.layers.radial_bases import RadialValues
from gemnet_blocks.layers.scaled_basis import ScaledBasis
from gemnet_blocks.layers.scaling import scale_factor
from gemnet_blocks.util.recompute import STORED, Evaluation


class QuadrupletOptions(EdgeMessageOptions):
    """Options of the quadruplet interaction, in which edges d→b send to edges c→a through middle edges b→a."""

    type: Literal["quadruplet"] = "quadruplet"
    """The kind of interaction."""
    graph: str = "quad"
    """The edge set of the middle edges b→a."""


@dataclass(frozen=True, slots=True, eq=False)
class QuadrupletGeometry:
    """Projected distances and angles of quadruplets c→a←b←d, shared by all blocks.

    Attributes:
        radial: projected radial functions of the main edges.
        circular: Σ_l B_cir[b→a, k, l] cir_l(φ_abd) of each triplet d→b→a.
        inner_edge: the main edge d→b of each triplet d→b→a.
        angular_sum: the sum over b and d, from messages of triplets d→b→a to main edges c→a.
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
        collinear: the dihedral angle of collinear atoms.
        sums: how sums are computed.
        plan: explicit or factorized.
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
        self.plan: AngularPlan = plan
        self.evaluation: Evaluation = STORED
        self.method = plan.choose(_obstacle(circular, spherical))
        # In a plane, the published clamp of θ acts on both ends of a nearly straight chain together and does not
        # factorize. The difference in energy is up to 10⁻⁷, which double precision should show.
        listed_in_double = self.method.factorized and collinear.gated and plan.method == "auto"
        if listed_in_double:
            self.method = replace(self.method, reason="explicit in double precision, where the clamp of θ shows")
        self.edge_sets = (graph,)
        self.requests: tuple[IndexRequest, ...] = (QuadrupletRequest(MAIN, graph),)
        if self.method.factorized:
            self.requests = (ChainRequest(MAIN, graph, listed_in_double),)
        self.radial_on = (MAIN,)
        self.angular_radial_on = (MAIN, graph)

    @override
    def forward(self, graphs: Graphs, radial: RadialValues) -> QuadrupletGeometry:
        main, middle = graphs.main.edges, graphs.edge_sets[self.graph]
        indices = graphs.indices[self.requests[0]]
        assert isinstance(indices, Chains | Quadruplets)
        triplets = indices.around_source
        cosines = dot(main.direction.index_select(0, triplets.inner), middle.direction.index_select(0, triplets.outer))
        if isinstance(indices, Chains):
            angular_sum = self._factorized(indices, main, middle, radial.angular[MAIN])
        else:
            angular_sum = self._explicit(indices, main, middle, radial.angular[MAIN])
        by_middle = self.circular_projection(radial.angular[self.graph])
        return QuadrupletGeometry(
            radial=self.radial(radial.radial[MAIN]),
            circular=by_segment(by_middle, self.circular(cosines).to(by_middle.dtype), triplets.by_outer),
            inner_edge=triplets.inner,
            angular_sum=angular_sum,
            reverse=graphs.main.reverse,
        )

    @override
    def gathered(self, topology: Topology) -> Int[Tensor, " terms"]:
        # the triplet d→b→a of every quadruplet c→a←b←d
        return QuadrupletRequest(MAIN, self.graph).build(topology.edges).source_triplet

    def _explicit(self, quadruplets: Quadruplets, main: EdgeSet, middle: EdgeSet, radial: Tensor) -> AngularSum:
        angles = quadruplet_angles(main.direction, middle.direction, quadruplets, self.collinear)
        weights = self.spherical(angles.cos_at_target.index_select(0, quadruplets.target_triplet), angles.dihedral)
        listed = WeightedSum(
            weights.to(radial.dtype),
            quadruplets.source_triplet,
            quadruplets.by_outer,
            self.sums.products,
            self.evaluation,
        )
        return ExplicitSum(listed, self.spherical_projection(radial), self.sums.products, self.evaluation)

    def _factorized(self, chains: Chains, main: EdgeSet, middle: EdgeSet, radial: Tensor) -> AngularSum:
        assert isinstance(self.spherical, SphericalBasis)
        series = self.spherical.azimuthal_series()
        assert series is not None
        projection = self.spherical_projection.matrix
        functions = QuadrupletFunctions(
            main.direction, middle.direction, radial.flatten(1), projection, series, self.collinear
        )
        slices = chains.in_slices(self.evaluation.atoms_at_once(self.plan.atoms_at_most))
        return QuadrupletSumPerAtom(slices, functions, self.sums, self.evaluation)


def _obstacle(circular: CircularBasis | ScaledBasis, spherical: SphericalBasis | ScaledBasis) -> str | None:
    """Say why sums over quadruplets with these bases do not factorize; None if they do."""
    if isinstance(circular, ScaledBasis) or isinstance(spherical, ScaledBasis):
        return "the scale factors of its bases are fitted on listed quadruplets"
    if spherical.azimuthal_series() is None:
        return f"{type(spherical).__name__} is not a series of cos jθ"
    return None


@final
class QuadrupletInteraction(Interaction[QuadrupletGeometry]):
    r"""Message passing over quadruplets: edge c→a aggregates messages from the edges d→b of its neighbors b.

    $$x_{db} = \mathrm{Dense}_{down}(s_1\, \mathrm{Dense}(m_{db}) ⊙ \mathrm{lin}(rad(d_{db}))), \qquad
    y_{dba} = s_2\, x_{db} ⊙ \mathrm{lin}\Big(\sum_l B^{cir}[b→a, :, l]\, cir_l(φ_{abd})\Big),$$

    $$X[c→a, k, f] = \sum_i B^{sph}[c→a, k, i] \sum_{b,d} sph_i(φ_{cab}, θ_{cabd})\, y_{dba}[f], \qquad
    z = s_3\, \mathrm{lin}(\mathrm{flatten}\, X),$$

    with scale factors s; the message is (Dense₁(z) + Dense₂(z)[reverse])/√2.
    GemNet-OC (arXiv 2204.02782), quadruplet interaction.

    Args:
        edge_size: features of edge embeddings.
        down_size: features that are summed over quadruplets.
        up_size: features after the contraction.
        radial_size: features of projected radial functions.
        circular_size: features of projected radial × circular functions.
        spherical_size: features of projected radial × spherical functions.
        activation: the activation of the dense layers.
        scaled: False for scale factors of one that are not fitted.
        symmetric: False for the message Dense₁(z).
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
        *,
        scaled: bool = True,
        symmetric: bool = True,
    ) -> None:
        super().__init__()
        self.message = Message(edge_size, radial_size, down_size, activation, scaled)
        self.circular = linear(circular_size, down_size)
        self.circular_scale = scale_factor(scaled)
        self.contraction = Contraction(spherical_size, down_size, up_size, scaled)
        self.up = SymmetricUp(up_size, edge_size, activation, symmetric)
        self.evaluation: Evaluation = STORED

    @classmethod
    @override
    def shared_geometry(cls, options: QuadrupletOptions, context: BuildContext) -> SharedQuadrupletGeometry:
        return SharedQuadrupletGeometry(
            graph=options.graph,
            radial=linear(context.radial_count, context.sizes.radial),
            circular=context.circular_basis(),
            circular_projection=context.circular_projection(),
            spherical=context.spherical_basis(),
            spherical_projection=context.spherical_projection(),
            collinear=context.collinear,
            sums=context.sums,
            plan=context.angular,
        )

    @classmethod
    @override
    def from_options(cls, options: QuadrupletOptions, context: BuildContext) -> QuadrupletInteraction:
        sizes = context.sizes
        return cls(
            sizes.edge,
            options.down,
            options.up,
            sizes.radial,
            sizes.circular,
            sizes.spherical,
            context.activation,
            scaled=options.scale_factor,
            symmetric=options.symmetric,
        )

    @override
    def last_weights(self, streams: Collection[str]) -> Sequence[Tensor]:
        return [layer.linear.weight for layer in self.up.modules() if isinstance(layer, Dense)]

    @override
    def forward(self, embeddings: Embeddings, geometry: QuadrupletGeometry) -> Float[Tensor, "edges edge_size"]:
        x = self.message(embeddings.edges, geometry.radial)

        def with_angle(edge: Tensor, circular: Tensor) -> Tensor:
            return self.circular_scale.of_product(x.index_select(0, edge), self.circular, circular)

        y = self.evaluation.by_rows(with_angle, geometry.inner_edge, geometry.circular)
        z = self.contraction(geometry.angular_sum, y)
        return self.up(z, geometry.reverse)
