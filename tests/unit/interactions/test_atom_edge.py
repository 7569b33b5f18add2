from __future__ import annotations

import pytest
import torch
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

from gemnet_blocks.aggregation.method import EXPLICIT
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.basis.circular import Legendre
from gemnet_blocks.graph.index_sets import TripletRequest
from gemnet_blocks.graph.symmetrize import Symmetrization
from gemnet_blocks.interactions.triplet import AtomEdgeInteraction, SharedTripletGeometry, TripletSum
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles

REQUEST = TripletRequest("main", "atom_edge")


PLAN = EXPLICIT


@pytest.fixture(params=[EXPLICIT, *FACTORIZED], ids=str, autouse=True)
def every_plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PLAN", request.param)


def atom_edge_block() -> AtomEdgeInteraction:
    return executed(
        PLAN,
        AtomEdgeInteraction(sender_size=5, receiver_size=6, down_size=3, up_size=4, radial_size=2, circular_size=2),
    )


def shared_geometry() -> SharedTripletGeometry:
    projection = RadialAngularProjection(radial_count=4, angular_count=3, size=2)
    return executed(
        PLAN,
        SharedTripletGeometry(
            TripletSum(REQUEST, Legendre(3), projection, Sums(), plan=PLAN), radial_count=3, radial_size=2
        ),
    )


def test_equals_the_oracle(any_structures: Structures) -> None:
    interaction_matches(atom_edge_block(), shared_geometry(), oracles.atom_edge, any_structures)


@pytest.mark.parametrize("symmetrize", ["union", "lower_index"])
@pytest.mark.parametrize("kind", SMOOTH)
def test_equals_the_oracle_among_many_triplets(kind: str, symmetrize: Symmetrization) -> None:
    graphs = interaction_matches(atom_edge_block(), shared_geometry(), oracles.atom_edge, KINDS[kind](), symmetrize)
    assert listed(graphs) >= 24


def test_derivatives() -> None:
    check_interaction_derivatives(atom_edge_block(), shared_geometry())


def test_an_edge_hears_of_the_neighbors_of_its_ends_but_not_of_its_own_other_end() -> None:
    block, shared = atom_edge_block().double(), shared_geometry().double()
    graphs = graphs_of(KINDS["molecules"](), shared.requests)
    embeddings = random_embeddings(graphs, 5, 6)
    result = block(embeddings, shared(graphs, radial_values(graphs)))
    neighbors: dict[int, set[int]] = {}
    for edge in oracles.edges_of(graphs.edge_sets["atom_edge"]):
        neighbors.setdefault(edge.target, set()).add(edge.source)
    for e, edge in enumerate(oracles.edges_of(graphs.main.edges)):
        (gradient,) = torch.autograd.grad(result[e].sum(), embeddings.atoms, retain_graph=True)
        heard = {a for a in range(len(gradient)) if gradient[a].abs().max() > 0}
        assert heard == (neighbors[edge.target] - {edge.source}) | (neighbors[edge.source] - {edge.target})


def test_without_triplets_there_is_no_message() -> None:
    block, shared = atom_edge_block().double(), shared_geometry().double()
    graphs = graphs_of(KINDS["no triplets"](), shared.requests)
    result = block(random_embeddings(graphs, 5, 6), shared(graphs, radial_values(graphs)))
    assert_close(result, torch.zeros(2, 6, dtype=torch.float64))


def test_what_is_declared_is_what_is_read() -> None:
    shared = shared_geometry()
    assert shared.edge_sets == ("atom_edge",)
    assert [request.listed for request in shared.requests] == [REQUEST]
    assert shared.radial_on == ("atom_edge",)
    assert shared.angular_radial_on == ("main",)
    assert AtomEdgeInteraction.writes == "edges"
