from __future__ import annotations

from functools import partial

import pytest
import torch
from ase import Atoms
from helpers import (
    FACTORIZED,
    KINDS,
    SMOOTH,
    assert_close,
    check_interaction_derivatives,
    differentiable,
    edge_set_rules,
    executed,
    gradients,
    graphs_by,
    graphs_of,
    interaction_matches,
    listed,
    radial_values,
    random_embeddings,
)
from torch import nn

from gemnet_blocks.aggregation.method import EXPLICIT, AngularPlan
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.basis.circular import Gaussian, Legendre
from gemnet_blocks.basis.spherical import GaussianOuter, LegendreOuter, RealHarmonics
from gemnet_blocks.geometry.angles import CollinearRule, RightAngle, SmoothCollinear
from gemnet_blocks.graph.builder import GraphBuilder
from gemnet_blocks.graph.index_sets import QuadrupletRequest
from gemnet_blocks.graph.neighbor_list import VesinSearch
from gemnet_blocks.graph.symmetrize import Symmetrization
from gemnet_blocks.interactions.quadruplet import QuadrupletInteraction, SharedQuadrupletGeometry
from gemnet_blocks.layers.dense import linear
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.layers.scaled_basis import ScaledBasis
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles

REQUEST = QuadrupletRequest("main", "quad")
EVERY_PLAN = pytest.mark.parametrize("plan", [EXPLICIT, *FACTORIZED], ids=str)


def quadruplet_block() -> QuadrupletInteraction:
    return QuadrupletInteraction(edge_size=6, down_size=3, up_size=4, radial_size=2, circular_size=2, spherical_size=3)


def shared_geometry(
    plan: AngularPlan = EXPLICIT,
    circular: nn.Module | None = None,
    spherical: nn.Module | None = None,
    graph: str = "quad",
    collinear: CollinearRule | None = None,
) -> SharedQuadrupletGeometry:
    return SharedQuadrupletGeometry(
        graph=graph,
        radial=linear(3, 2),
        circular=circular or Legendre(3),
        circular_projection=RadialAngularProjection(radial_count=4, angular_count=3, size=2),
        spherical=spherical or LegendreOuter(3),
        spherical_projection=RadialAngularProjection(radial_count=4, angular_count=9, size=3),
        collinear=collinear or RightAngle(),
        sums=Sums(),
        plan=plan,
    )


def parts(plan: AngularPlan, graph: str = "quad") -> tuple[QuadrupletInteraction, SharedQuadrupletGeometry]:
    """An interaction and its geometry in float64, evaluated by a plan."""
    return executed(plan, quadruplet_block().double()), executed(plan, shared_geometry(plan, graph=graph).double())


def test_equals_the_oracle(any_structures: Structures) -> None:
    shared = partial(shared_geometry, collinear=SmoothCollinear())
    interaction_matches(quadruplet_block(), shared, oracles.quadruplet, any_structures)


@pytest.mark.parametrize("symmetrize", ["union", "lower_index"])
@pytest.mark.parametrize("kind", SMOOTH)
def test_equals_the_oracle_under_published_rules(kind: str, symmetrize: Symmetrization) -> None:
    graphs = interaction_matches(quadruplet_block(), shared_geometry, oracles.quadruplet, KINDS[kind](), symmetrize)
    assert listed(graphs) > 50


@pytest.mark.parametrize("spherical", [GaussianOuter(3), RealHarmonics(3), ScaledBasis(LegendreOuter(3))])
def test_equals_the_oracle_with_other_bases(spherical: nn.Module) -> None:
    circular = ScaledBasis(Gaussian(3))
    for basis in (circular, spherical):
        if isinstance(basis, ScaledBasis):
            basis.scale.factor.data.fill_(1.7)
    shared = partial(shared_geometry, circular=circular, spherical=spherical)
    interaction_matches(quadruplet_block(), shared, oracles.quadruplet, KINDS["small cell"]())


@EVERY_PLAN
def test_middle_edges_between_an_atom_and_its_own_images(plan: AngularPlan) -> None:
    # Images lie on lines, where derivatives of the dihedral angle are of the order of 10⁹; along the axes of the cell
    # the directions are exact, and so are the values.
    atoms = Atoms("CO", positions=[[0.1, 0.2, 0.0], [0.9, 1.4, 0.8]], cell=[2.1, 7, 7], pbc=True)
    block, shared = parts(plan, graph="main")
    graphs = graphs_of(Structures.from_ase(atoms), shared.requests)
    main = graphs.main.edges
    on_a_line = [
        triplet
        for triplet in oracles.triplets(oracles.edges_of(main), oracles.edges_of(main))
        if main.direction[triplet.outer] @ main.direction[triplet.inner] == -1
    ]
    assert len(on_a_line) == 4  # both images of each atom, each seen from the other
    radial, embeddings = radial_values(graphs), random_embeddings(graphs, 5, 6)
    fast = block(embeddings, shared(graphs, radial))
    assert_close(fast, oracles.quadruplet(block, shared, embeddings, graphs, radial))


def test_any_edge_set_may_be_in_the_middle() -> None:
    shared = partial(shared_geometry, graph="main")
    graphs = interaction_matches(quadruplet_block(), shared, oracles.quadruplet, KINDS["molecules"]()[1])
    assert listed(graphs) > 10


def test_derivatives() -> None:
    check_interaction_derivatives(quadruplet_block(), shared_geometry)


@EVERY_PLAN
@pytest.mark.parametrize("kind", ["coincident atoms", "collinear atoms"])
def test_derivatives_are_finite_where_angles_are_undefined(kind: str, plan: AngularPlan) -> None:
    structures = differentiable(KINDS[kind]())
    block, shared = parts(plan)
    graphs = graphs_of(structures, shared.requests)
    assert listed(graphs) > 0
    embeddings = random_embeddings(graphs, 5, 6)
    result = block(embeddings, shared(graphs, radial_values(graphs)))
    (first,) = torch.autograd.grad(result.square().sum(), structures.positions, create_graph=True)
    inputs = [structures.positions, embeddings.edges, *block.parameters()]
    second = gradients(first, inputs, torch.randn_like(first))
    assert all(gradient.isfinite().all() for gradient in (first, *second))
    assert any((gradient != 0).any() for gradient in second)


@EVERY_PLAN
def test_the_end_edges_of_a_chain_exchange_messages(plan: AngularPlan) -> None:
    # c→a←b←d with edges only between neighbors: c→a receives from d→b, and its reverse along the opposite chain
    chain = Atoms("C4", positions=[[0, 2.0, 0], [0, 0, 0], [2.0, 0, 0], [2.0, 0, 2.0]])
    rules = edge_set_rules() | {"main": edge_set_rules()["main"].model_copy(update={"cutoff": 2.1})}
    block, shared = parts(plan)
    builder = GraphBuilder(rules, ["atom", "atom_edge", "quad"], shared.requests, VesinSearch())
    graphs = graphs_by(builder, Structures.from_ase(chain))
    edges = oracles.edges_of(graphs.main.edges)
    embeddings = random_embeddings(graphs, 5, 6)
    result = block(embeddings, shared(graphs, radial_values(graphs)))
    received = {}
    for e, edge in enumerate(edges):
        (gradient,) = torch.autograd.grad(result[e].sum(), embeddings.edges, retain_graph=True)
        received[(edge.source, edge.target)] = {
            (other.source, other.target) for i, other in enumerate(edges) if gradient[i].abs().max() > 1e-12
        }
    assert received == {
        (0, 1): {(3, 2)},
        (1, 0): {(3, 2)},  # through its reverse
        (3, 2): {(0, 1)},
        (2, 3): {(0, 1)},
        (1, 2): set(),
        (2, 1): set(),
    }


@EVERY_PLAN
def test_messages_are_zero_without_quadruplets(plan: AngularPlan) -> None:
    block, shared = parts(plan)
    graphs = graphs_of(KINDS["no triplets"](), shared.requests)
    result = block(random_embeddings(graphs, 5, 6), shared(graphs, radial_values(graphs)))
    assert_close(result, torch.zeros(2, 6, dtype=torch.float64))


def test_declared_inputs() -> None:
    shared = shared_geometry()
    assert shared.edge_sets == ("quad",)
    assert [request.listed for request in shared.requests] == [REQUEST]
    assert shared.radial_on == ("main",)
    assert set(shared.angular_radial_on) == {"main", "quad"}
    assert QuadrupletInteraction.writes == "edges"
