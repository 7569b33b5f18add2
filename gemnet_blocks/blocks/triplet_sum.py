"""The sum over triplets that three interactions share, from the listing of triplets."""

from __future__ import annotations

from typing import final

from torch import nn

from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.geometry import RadialAngularProjection, RadialValues, ScaledBasis
from gemnet_blocks.blocks.interaction import BuildContext
from gemnet_blocks.blocks.message import AngularSum, ExplicitAngularSum
from gemnet_blocks.graph.angles import triplet_cosines
from gemnet_blocks.graph.edge_sets import Graphs
from gemnet_blocks.graph.index_sets import TripletRequest
from gemnet_blocks.graph.ragged import segments
from gemnet_blocks.graph.triplets import Triplets
from gemnet_blocks.sums import Sums


@final
class TripletSum(nn.Module):
    """Make the sum X[c→a, k, f] = Σ_l B[c→a, k, l] Σ_b cir_l(φ_cab) x[b→a, f] with B from rad(d_ca).

    Args:
        request: which edges c→a and b→a.
        circular: the circular basis.
        projection: from radial × circular functions to embeddings k.
        sums: how sums are computed.
    """

    def __init__(
        self,
        request: TripletRequest,
        circular: CircularBasis | ScaledBasis,
        projection: RadialAngularProjection,
        sums: Sums,
    ) -> None:
        super().__init__()
        self.request = request
        self.circular = circular
        self.projection = projection
        self.sums = sums

    @classmethod
    def from_context(cls, outer: str, inner: str, context: BuildContext) -> TripletSum:
        """Make it with the bases and sizes of a spec."""
        projection = RadialAngularProjection(
            context.angular_radial_count, context.circular_count, context.sizes.circular
        )
        return cls(TripletRequest(outer, inner), context.circular_basis(), projection, context.sums)

    def forward(self, graphs: Graphs, radial: RadialValues) -> AngularSum:
        """The sum on these graphs."""
        triplets = graphs.indices[self.request]
        assert isinstance(triplets, Triplets)
        outer, inner = graphs.edge_sets[self.request.outer], graphs.edge_sets[self.request.inner]
        weights = self.circular(triplet_cosines(outer.direction, inner.direction, triplets))
        by_outer = segments(triplets.outer, outer.count)
        return ExplicitAngularSum(
            self.sums.weighted(weights, triplets.inner, by_outer), self.projection(radial.angular[self.request.outer])
        )
