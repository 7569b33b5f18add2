from __future__ import annotations

import pytest
import torch
from ase import Atoms
from helpers import (
    FACTORIZED,
    KINDS,
    SMOOTH,
    assert_close,
    check_interaction_derivatives,
    executed,
    graphs_of,
    interaction_matches,
    listed,
    radial_values,
    random_embeddings,
)
from torch import nn

from gemnet_blocks.aggregation.angular_sum import EXPLICIT
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.basis.circular import Gaussian, Legendre
from gemnet_blocks.graph.index_sets import TripletRequest
from gemnet_blocks.graph.symmetrize import Symmetrization
from gemnet_blocks.interactions.triplet import SharedTripletGeometry, TripletInteraction, TripletSum
from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.projection import RadialAngularProjection, ScaledBasis
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles

PLAN = EXPLICIT


@pytest.fixture(params=[EXPLICIT, *FACTORIZED], ids=str, autouse=True)
def every_plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PLAN", request.param)


def triplet_block(activation: Activation = "silu") -> TripletInteraction:
    return executed(
        PLAN,
        TripletInteraction(
            sender_size=6,
            receiver_size=6,
            down_size=3,
            up_size=4,
            radial_size=2,
            circular_size=2,
            activation=activation,
        ),
    )


def shared_geometry(circular: nn.Module | None = None) -> SharedTripletGeometry:
    return executed(
        PLAN,
        SharedTripletGeometry(
            TripletSum(
                TripletRequest("main", "main"),
                circular or Legendre(3),
                RadialAngularProjection(radial_count=4, angular_count=3, size=2),
                Sums(),
                plan=PLAN,
            ),
            radial_count=3,
            radial_size=2,
        ),
    )


def test_equals_the_oracle(any_structures: Structures) -> None:
    interaction_matches(triplet_block(), shared_geometry(), oracles.triplet, any_structures)


@pytest.mark.parametrize("symmetrize", ["union", "lower_index"])
@pytest.mark.parametrize("kind", SMOOTH)
def test_equals_the_oracle_among_many_triplets(kind: str, symmetrize: Symmetrization) -> None:
    graphs = interaction_matches(
        triplet_block(), shared_geometry(), oracles.triplet, KINDS[kind](), symmetrize=symmetrize
    )
    assert listed(graphs) >= 40


@pytest.mark.parametrize("activation", ["silu", "siqu", "identity"])
def test_equals_the_oracle_with_every_activation(activation: Activation) -> None:
    interaction_matches(triplet_block(activation), shared_geometry(), oracles.triplet, KINDS["slab"]())


def test_equals_the_oracle_with_another_basis() -> None:
    basis = ScaledBasis(Gaussian(3))
    basis.scale.factor.data.fill_(1.7)
    interaction_matches(triplet_block(), shared_geometry(basis), oracles.triplet, KINDS["slab"]())


def test_derivatives() -> None:
    check_interaction_derivatives(triplet_block(), shared_geometry())


def test_an_edge_hears_of_edges_into_its_target_and_through_its_opposite_of_those_into_its_source() -> None:
    zigzag = Atoms("C4", positions=[[0.0, 0, 0], [1.2, 0.9, 0], [2.4, 0, 0.3], [3.6, 0.9, 0]])
    block, shared = triplet_block().double(), shared_geometry().double()
    graphs = graphs_of(Structures.from_ase(zigzag), shared.requests)
    edges = graphs.main.edges
    embeddings = random_embeddings(graphs, 5, 6)
    result = block(embeddings, shared(graphs, radial_values(graphs)))
    for e in range(edges.count):
        (gradient,) = torch.autograd.grad(result[e].sum(), embeddings.edges, retain_graph=True)
        heard = {i for i in range(edges.count) if gradient[i].abs().max() > 0}
        source, target = int(edges.source[e]), int(edges.target[e])
        opposite = int(graphs.main.reverse[e])
        into_target = set((edges.target == target).nonzero()[:, 0].tolist()) - {e}
        into_source = set((edges.target == source).nonzero()[:, 0].tolist()) - {opposite}
        assert heard == into_target | into_source
        assert 0 < len(heard) < edges.count - 1


def test_without_triplets_there_is_no_message() -> None:
    block, shared = triplet_block().double(), shared_geometry().double()
    graphs = graphs_of(KINDS["no triplets"](), shared.requests)
    result = block(random_embeddings(graphs, 5, 6), shared(graphs, radial_values(graphs)))
    assert_close(result, torch.zeros(2, 6, dtype=torch.float64))


def test_what_is_declared_is_what_is_read() -> None:
    shared = shared_geometry()
    assert [request.listed for request in shared.requests] == [TripletRequest("main", "main")]
    assert set(shared.radial_on) == set(shared.angular_radial_on) == {"main"}
    assert TripletInteraction.writes == "edges"
