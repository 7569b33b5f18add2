"""The three interactions along triplets c→a←b: edge to edge, atom to edge, and edge to atom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

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
from torch import Tensor, nn

from gemnet_blocks.aggregation.angular_sum import Over
from gemnet_blocks.aggregation.method import EXPLICIT, AngularPlan
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.basis.circular import Gaussian, Legendre
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.graph.index_sets import TripletRequest
from gemnet_blocks.graph.symmetrize import Symmetrization
from gemnet_blocks.interactions.interaction import Embeddings, Interaction
from gemnet_blocks.interactions.triplet import (
    AtomEdgeInteraction,
    EdgeAtomInteraction,
    SharedTripletGeometry,
    TripletInteraction,
    TripletSum,
)
from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.layers.scaled_basis import ScaledBasis
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles


@dataclass(frozen=True)
class Case:
    """One of the interactions.

    Attributes:
        interaction: its class.
        sizes: the widths of the embeddings that it reads and of those that it writes.
        outer: the edge set of c→a.
        inner: the edge set of b→a.
        oracle: its definition.
        over: edges or atoms, which its messages go to.
        fewest: triplets in each of the structures of `SMOOTH`, or more.
    """

    interaction: type[Interaction[Any]]
    sizes: tuple[int, int]
    outer: str
    inner: str
    oracle: Callable[..., Tensor]
    over: Over = "edges"
    fewest: int = 24

    def block(self, activation: Activation = "silu") -> Interaction[Any]:
        sender_size, receiver_size = self.sizes
        return self.interaction(
            sender_size=sender_size,
            receiver_size=receiver_size,
            down_size=3,
            up_size=4,
            radial_size=2,
            circular_size=2,
            activation=activation,
        )

    def shared(self, plan: AngularPlan = EXPLICIT, circular: nn.Module | None = None) -> SharedTripletGeometry:
        projection = RadialAngularProjection(radial_count=4, angular_count=3, size=2)
        request = TripletRequest(self.outer, self.inner)
        return SharedTripletGeometry(
            TripletSum(request, circular or Legendre(3), projection, Sums(), self.over, plan),
            radial_count=3,
            radial_size=2,
        )

    def messages(self, structures: Structures, plan: AngularPlan) -> tuple[Graphs, Embeddings, Tensor]:
        """The graphs, the embeddings and the messages of structures."""
        block, shared = executed(plan, self.block().double()), executed(plan, self.shared(plan).double())
        graphs = graphs_of(structures, shared.requests)
        embeddings = random_embeddings(graphs, 5, 6)
        return graphs, embeddings, block(embeddings, shared(graphs, radial_values(graphs)))


TRIPLET = Case(TripletInteraction, (6, 6), "main", "main", oracles.triplet, fewest=40)
ATOM_EDGE = Case(AtomEdgeInteraction, (5, 6), "main", "atom_edge", oracles.atom_edge)
EDGE_ATOM = Case(EdgeAtomInteraction, (6, 5), "atom_edge", "main", oracles.edge_atom, "atoms")

CASES = pytest.mark.parametrize("case", [TRIPLET, ATOM_EDGE, EDGE_ATOM], ids=["triplet", "atom_edge", "edge_atom"])
EVERY_PLAN = pytest.mark.parametrize("plan", [EXPLICIT, *FACTORIZED], ids=str)


@CASES
def test_equals_the_oracle(case: Case, any_structures: Structures) -> None:
    interaction_matches(case.block(), case.shared, case.oracle, any_structures)


@pytest.mark.parametrize("kind", SMOOTH)
@pytest.mark.parametrize("symmetrize", ["union", "lower_index"])
@CASES
def test_equals_the_oracle_among_many_triplets(case: Case, kind: str, symmetrize: Symmetrization) -> None:
    graphs = interaction_matches(case.block(), case.shared, case.oracle, KINDS[kind](), symmetrize)
    assert listed(graphs) >= case.fewest


@pytest.mark.parametrize("activation", ["siqu", "identity"])
def test_equals_the_oracle_with_other_activations(activation: Activation) -> None:
    interaction_matches(TRIPLET.block(activation), TRIPLET.shared, oracles.triplet, KINDS["slab"]())


def test_equals_the_oracle_with_another_basis() -> None:
    basis = ScaledBasis(Gaussian(3))
    basis.scale.factor.data.fill_(1.7)
    shared = partial(TRIPLET.shared, circular=basis)
    interaction_matches(TRIPLET.block(), shared, oracles.triplet, KINDS["slab"]())


@CASES
def test_derivatives(case: Case) -> None:
    check_interaction_derivatives(case.block(), case.shared)


def senders(message: Tensor, embeddings: Tensor) -> set[int]:
    """The rows of embeddings that a message depends on."""
    (gradient,) = torch.autograd.grad(message.sum(), embeddings, retain_graph=True)
    return set((gradient.abs().amax(dim=1) > 0).nonzero()[:, 0].tolist())


@EVERY_PLAN
def test_edges_receive_from_edges_into_their_target_and_into_their_source(plan: AngularPlan) -> None:
    zigzag = Atoms("C4", positions=[[0.0, 0, 0], [1.2, 0.9, 0], [2.4, 0, 0.3], [3.6, 0.9, 0]])
    graphs, embeddings, messages = TRIPLET.messages(Structures.from_ase(zigzag), plan)
    edges = graphs.main.edges
    for e, message in enumerate(messages):
        into_target = set((edges.target == edges.target[e]).nonzero()[:, 0].tolist()) - {e}
        into_source = set((edges.target == edges.source[e]).nonzero()[:, 0].tolist()) - {int(graphs.main.reverse[e])}
        expected = into_target | into_source  # the latter by the reverse of the edge
        assert senders(message, embeddings.edges) == expected
        assert 0 < len(expected) < edges.count - 1


@EVERY_PLAN
def test_edges_receive_from_the_neighbors_of_each_end_except_the_other_end(plan: AngularPlan) -> None:
    graphs, embeddings, messages = ATOM_EDGE.messages(KINDS["molecules"](), plan)
    neighbors: dict[int, set[int]] = {}
    for edge in oracles.edges_of(graphs.edge_sets["atom_edge"]):
        neighbors.setdefault(edge.target, set()).add(edge.source)
    for edge, message in zip(oracles.edges_of(graphs.main.edges), messages, strict=True):
        expected = (neighbors[edge.target] - {edge.source}) | (neighbors[edge.source] - {edge.target})
        assert senders(message, embeddings.atoms) == expected


@EVERY_PLAN
def test_atoms_receive_from_the_main_edges_into_them(plan: AngularPlan) -> None:
    graphs, embeddings, messages = EDGE_ATOM.messages(KINDS["molecules"](), plan)
    for atom, message in enumerate(messages):
        expected = (graphs.main.edges.target == atom).nonzero()[:, 0].tolist()
        assert senders(message, embeddings.edges) == set(expected)


@EVERY_PLAN
@CASES
def test_messages_are_zero_without_triplets(case: Case, plan: AngularPlan) -> None:
    _, _, messages = case.messages(KINDS["no triplets"](), plan)
    assert_close(messages, torch.zeros(2, 5 if case.over == "atoms" else 6, dtype=torch.float64))


@CASES
def test_declared_inputs(case: Case) -> None:
    shared = case.shared()
    assert shared.edge_sets == tuple({case.outer, case.inner} - {"main"})
    assert [request.listed for request in shared.requests] == [TripletRequest(case.outer, case.inner)]
    assert shared.radial_on == (case.inner,)
    assert shared.angular_radial_on == (case.outer,)
    assert case.interaction.writes == case.over
