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

from gemnet_blocks.aggregation.method import EXPLICIT
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
from gemnet_blocks.layers.projection import RadialAngularProjection, ScaledBasis
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles

REQUEST = QuadrupletRequest("main", "quad")


PLAN = EXPLICIT


@pytest.fixture(params=[EXPLICIT, *FACTORIZED], ids=str, autouse=True)
def every_plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PLAN", request.param)


def quadruplet_block() -> QuadrupletInteraction:
    return executed(
        PLAN,
        QuadrupletInteraction(edge_size=6, down_size=3, up_size=4, radial_size=2, circular_size=2, spherical_size=3),
    )


def shared_geometry(
    circular: nn.Module | None = None,
    spherical: nn.Module | None = None,
    graph: str = "quad",
    collinear: CollinearRule | None = None,
) -> SharedQuadrupletGeometry:
    return executed(
        PLAN,
        SharedQuadrupletGeometry(
            graph=graph,
            radial=linear(3, 2),
            circular=circular or Legendre(3),
            circular_projection=RadialAngularProjection(radial_count=4, angular_count=3, size=2),
            spherical=spherical or LegendreOuter(3),
            spherical_projection=RadialAngularProjection(radial_count=4, angular_count=9, size=3),
            collinear=collinear or RightAngle(),
            sums=Sums(),
            plan=PLAN,
        ),
    )


def test_equals_the_oracle(any_structures: Structures) -> None:
    interaction_matches(
        quadruplet_block(), shared_geometry(collinear=SmoothCollinear()), oracles.quadruplet, any_structures
    )


@pytest.mark.parametrize("kind", SMOOTH)
def test_equals_the_oracle_under_published_rules(kind: str) -> None:
    interaction_matches(quadruplet_block(), shared_geometry(), oracles.quadruplet, KINDS[kind]())


@pytest.mark.parametrize("symmetrize", ["union", "lower_index"])
@pytest.mark.parametrize("kind", SMOOTH)
def test_equals_the_oracle_among_many_quadruplets(kind: str, symmetrize: Symmetrization) -> None:
    graphs = interaction_matches(quadruplet_block(), shared_geometry(), oracles.quadruplet, KINDS[kind](), symmetrize)
    assert listed(graphs) > 50


@pytest.mark.parametrize("spherical", [GaussianOuter(3), RealHarmonics(3), ScaledBasis(LegendreOuter(3))])
def test_equals_the_oracle_with_other_bases(spherical: nn.Module) -> None:
    circular = ScaledBasis(Gaussian(3))
    for basis in (circular, spherical):
        if isinstance(basis, ScaledBasis):
            basis.scale.factor.data.fill_(1.7)
    shared = shared_geometry(circular, spherical)
    interaction_matches(quadruplet_block(), shared, oracles.quadruplet, KINDS["small cell"]())


def test_middle_edges_between_an_atom_and_its_own_images() -> None:
    # Images lie on lines, where derivatives of the dihedral angle are of the order of 10⁹; along the axes of the cell
    # the directions are exact, and so are the values.
    atoms = Atoms("CO", positions=[[0.1, 0.2, 0.0], [0.9, 1.4, 0.8]], cell=[2.1, 7, 7], pbc=True)
    block, shared = quadruplet_block().double(), shared_geometry(graph="main").double()
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
    graphs = interaction_matches(
        quadruplet_block(), shared_geometry(graph="main"), oracles.quadruplet, KINDS["molecules"]()[1]
    )
    assert listed(graphs) > 10


def test_derivatives() -> None:
    check_interaction_derivatives(quadruplet_block(), shared_geometry())


@pytest.mark.parametrize("kind", ["coincident atoms", "collinear atoms"])
def test_derivatives_are_finite_where_angles_are_undefined(kind: str) -> None:
    structures = differentiable(KINDS[kind]())
    block, shared = quadruplet_block().double(), shared_geometry().double()
    graphs = graphs_of(structures, shared.requests)
    assert listed(graphs) > 0
    embeddings = random_embeddings(graphs, 5, 6)
    result = block(embeddings, shared(graphs, radial_values(graphs)))
    (first,) = torch.autograd.grad(result.square().sum(), structures.positions, create_graph=True)
    inputs = [structures.positions, embeddings.edges, *block.parameters()]
    second = gradients(first, [x for x in inputs if x.requires_grad], torch.randn_like(first))
    assert all(gradient.isfinite().all() for gradient in (first, *second))
    assert any((gradient != 0).any() for gradient in second)


def test_the_edges_of_a_chain_hear_of_each_other() -> None:
    # c→a←b←d with edges only between neighbors: c→a hears of d→b, and its opposite of the chain the other way
    chain = Atoms("C4", positions=[[0, 2.0, 0], [0, 0, 0], [2.0, 0, 0], [2.0, 0, 2.0]])
    rules = edge_set_rules() | {"main": edge_set_rules()["main"].model_copy(update={"cutoff": 2.1})}
    block, shared = quadruplet_block().double(), shared_geometry().double()
    builder = GraphBuilder(rules, ["atom", "atom_edge", "quad"], shared.requests, VesinSearch())
    graphs = graphs_by(builder, Structures.from_ase(chain))
    edges = oracles.edges_of(graphs.main.edges)
    embeddings = random_embeddings(graphs, 5, 6)
    result = block(embeddings, shared(graphs, radial_values(graphs)))
    heard = {}
    for e, edge in enumerate(edges):
        (gradient,) = torch.autograd.grad(result[e].sum(), embeddings.edges, retain_graph=True)
        heard[(edge.source, edge.target)] = {
            (other.source, other.target) for i, other in enumerate(edges) if gradient[i].abs().max() > 1e-12
        }
    assert heard == {
        (0, 1): {(3, 2)},
        (1, 0): {(3, 2)},  # through its opposite
        (3, 2): {(0, 1)},
        (2, 3): {(0, 1)},
        (1, 2): set(),
        (2, 1): set(),
    }


def test_without_quadruplets_there_is_no_message() -> None:
    block, shared = quadruplet_block().double(), shared_geometry().double()
    graphs = graphs_of(KINDS["no triplets"](), shared.requests)
    result = block(random_embeddings(graphs, 5, 6), shared(graphs, radial_values(graphs)))
    assert_close(result, torch.zeros(2, 6, dtype=torch.float64))


def test_what_is_declared_is_what_is_read() -> None:
    shared = shared_geometry()
    assert shared.edge_sets == ("quad",)
    assert [request.listed for request in shared.requests] == [REQUEST]
    assert shared.radial_on == ("main",)
    assert set(shared.angular_radial_on) == {"main", "quad"}
    assert QuadrupletInteraction.writes == "edges"
