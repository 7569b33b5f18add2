"""The sum over triplets that three interactions share."""

from __future__ import annotations

from typing import final

from torch import nn

from gemnet_blocks.aggregation.angular_sum import AngularSum, ExplicitAngularSum, SumOverEdges
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.aggregation.triplets import Over, TripletFunctions, TripletSumPerAtom
from gemnet_blocks.angular.plan import EXPLICIT, AngularPlan
from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.geometry.angles import triplet_cosines
from gemnet_blocks.graph.builder import Graphs
from gemnet_blocks.graph.index_sets import AtomGroupRequest, IndexRequest, TripletRequest
from gemnet_blocks.graph.padded import AtomGroups
from gemnet_blocks.graph.ragged import segments
from gemnet_blocks.graph.triplets import Triplets
from gemnet_blocks.interactions.interaction import BuildContext
from gemnet_blocks.layers.projection import RadialAngularProjection, RadialValues, ScaledBasis


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
        by_outer = segments(indices.outer, outer.count)
        projection, listed = self.projection(functions), self.sums.weighted(values, indices.inner, by_outer)
        if self.over == "atoms":
            return SumOverEdges(listed, projection, outer.target, outer.atom_count, self.sums)
        return ExplicitAngularSum(listed, projection, self.sums.products)


SCALED = "the scale factor of its basis is fitted on listed triplets"
