from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import (
    KINDS,
    SMOOTH,
    assert_close,
    check_interaction_derivatives,
    graphs_of,
    interaction_matches,
    radial_values,
    random_embeddings,
)

from gemnet_blocks.aggregation.method import EXPLICIT, AngularPlan
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.graph.index_sets import AtomPairRequest
from gemnet_blocks.interactions.atom_atom import AtomAtomInteraction, SharedAtomAtomGeometry
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles


def atom_atom_block() -> AtomAtomInteraction:
    return AtomAtomInteraction(atom_size=5, down_size=3, up_size=4, radial_size=2)


def shared_geometry(plan: AngularPlan = EXPLICIT, graph: str = "atom") -> SharedAtomAtomGeometry:
    return SharedAtomAtomGeometry(graph, radial_count=3, radial_size=2, sums=Sums())


def test_equals_the_oracle(any_structures: Structures) -> None:
    interaction_matches(atom_atom_block(), shared_geometry, oracles.atom_atom, any_structures, plans=[EXPLICIT])


@pytest.mark.parametrize("graph", ["main", "quad"])
@pytest.mark.parametrize("kind", SMOOTH)
def test_equals_the_oracle_on_other_edge_sets(kind: str, graph: str) -> None:
    shared = partial(shared_geometry, graph=graph)
    interaction_matches(atom_atom_block(), shared, oracles.atom_atom, KINDS[kind](), plans=[EXPLICIT])


def test_derivatives() -> None:
    check_interaction_derivatives(atom_atom_block(), shared_geometry, plans=[EXPLICIT])


def test_atoms_receive_from_neighbors_and_from_their_own_images() -> None:
    for kind, of_itself in (("molecules", False), ("small cell", True)):
        block, shared = atom_atom_block().double(), shared_geometry().double()
        graphs = graphs_of(KINDS[kind](), shared.requests)
        embeddings = random_embeddings(graphs, 5, 6)
        result = block(embeddings, shared(graphs, radial_values(graphs)))
        neighbors = {(edge.target, edge.source) for edge in oracles.edges_of(graphs.edge_sets["atom"])}
        for atom in range(len(result)):
            (gradient,) = torch.autograd.grad(result[atom].sum(), embeddings.atoms, retain_graph=True)
            heard = {b for b in range(len(result)) if gradient[b].abs().max() > 0}
            assert heard == {b for b in range(len(result)) if (atom, b) in neighbors}
            assert (atom in heard) == of_itself


def test_without_edges_there_is_no_message() -> None:
    block, shared = atom_atom_block().double(), shared_geometry().double()
    graphs = graphs_of(KINDS["no edges"](), shared.requests)
    result = block(random_embeddings(graphs, 5, 6), shared(graphs, radial_values(graphs)))
    assert_close(result, torch.zeros(2, 5, dtype=torch.float64))


def test_declared_inputs() -> None:
    shared = shared_geometry(graph="far")
    assert shared.edge_sets == shared.radial_on == ("far",)
    assert shared.requests == (AtomPairRequest("far"),)
    assert shared.angular_radial_on == ()
    assert AtomAtomInteraction.writes == "atoms"
