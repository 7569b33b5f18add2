"""The definitions of edges and their combinations, against counts by hand and independent searches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from helpers import (
    CUTOFFS,
    KINDS,
    assert_close,
    assert_same_function,
    differentiable,
    edge_set_rules,
    graphs_by,
    molecule,
    slab,
    small_cell,
)
from torch import Tensor

from gemnet_blocks.geometry.angles import RightAngle, SmoothCollinear
from gemnet_blocks.graph.builder import EdgeSetOptions, GraphBuilder
from gemnet_blocks.graph.max_neighbors import CapRule
from gemnet_blocks.graph.neighbor_list import VesinSearch
from gemnet_blocks.graph.symmetrize import Symmetrization
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles

HOME = (0, 0, 0)


def between(*ends: tuple[int, int]) -> list[oracles.Edge]:
    """Edges both ways between atoms, without images."""
    one_way = [oracles.Edge(source, target, HOME) for source, target in ends]
    return one_way + [edge.opposite for edge in one_way]


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# -- edges ------------------------------------------------------------------------------------------------------------


def scattered(pbc: tuple[bool, bool, bool]) -> Atoms:
    """Atoms inside and outside a sheared cell."""
    atoms = small_cell()
    atoms.pbc = pbc
    atoms.positions += np.array([[13.1, -7.2, 4.4], [0, 0, 0]])
    return atoms


@pytest.mark.parametrize("pbc", [(x, y, z) for x in (True, False) for y in (True, False) for z in (True, False)])
def test_neighbors_are_those_of_an_independent_search(pbc: tuple[bool, bool, bool]) -> None:
    many = [scattered(pbc), molecule(5), slab()]
    cutoff, first = 5.1, 0
    found = oracles.neighbors(Structures.from_ase(many), cutoff)
    expected = {}
    for atoms in many:
        # an image of the second atom of a pair is the source, the first one the target
        for target, source, shift, distance in zip(*neighbor_list("ijSd", atoms, cutoff), strict=True):
            edge = oracles.Edge(int(source) + first, int(target) + first, tuple(int(n) for n in shift))
            expected[edge] = distance
        first += len(atoms)
    assert len(found) > 100
    assert len(found) == len(expected)
    for edge, distance in found:
        assert distance == pytest.approx(expected[edge], abs=1e-10)


def test_an_atom_neighbors_its_images_and_others_at_its_place_but_not_itself() -> None:
    atoms = Atoms("H2", positions=[[0.3, 0, 0]] * 2, cell=[2, 9, 9], pbc=True)
    found = oracles.neighbors(Structures.from_ase(atoms), 2.0)
    assert len(found) == 2 * (1 + 2 + 2)
    assert {edge.shift for edge, _ in found if edge.source == edge.target} == {(1, 0, 0), (-1, 0, 0)}
    assert [distance for edge, distance in found if edge.target == 0] == [0, 2, 2, 2, 2]


def test_neighbors_of_a_cubic_crystal_come_in_known_shells() -> None:
    structures = Structures.from_ase(Atoms("Po", cell=[3, 3, 3], pbc=True))
    found = oracles.neighbors(structures, 3 * math.sqrt(3) + 1e-9)
    assert len(found) == 6 + 12 + 8


TIES = ("strict", "inclusive", "inclusive_next", "smooth")


@pytest.mark.parametrize("kind", [*KINDS, "crystal"])
@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("symmetrization", ["union", "lower_index"])
def test_edge_sets_are_those_that_models_use(kind: str, ties: CapRule, symmetrization: Symmetrization) -> None:
    # in the crystal, which neighbors a strict cap admits is up to the last bits of their distances
    crystal = bulk("Cu", cubic=True)
    crystal.set_tags([0, 1, 1, 0])
    structures = differentiable(Structures.from_ase(crystal) if kind == "crystal" else KINDS[kind]())
    rules = edge_set_rules(symmetrization)
    # wider than what it is within
    rules["quad"] = EdgeSetOptions(cutoff=CUTOFFS["atom"], max_neighbors=2, tags=(1, 2), within="main")
    graphs = graphs_by(GraphBuilder(rules, list(CUTOFFS), [], VesinSearch(), ties), structures)
    slow = oracles.edge_sets(rules, structures, oracles.Ruling(ties))
    inputs = [structures.positions, structures.cells]
    for name, edges in slow.items():
        fast, measured = graphs.edge_sets[name], oracles.measured(edges, structures, torch.float64)
        assert oracles.edges_of(fast) == [one.edge for one in edges]
        assert torch.equal(fast.first, measured.first)
        assert_same_function(fast.distance, measured.distance, inputs)
        assert_same_function(fast.direction, measured.direction, inputs)
        assert measured.weight is not None
        ones = torch.ones_like(fast.distance)
        assert_same_function(ones if fast.weight is None else fast.weight, measured.weight, inputs, 1e-10)


def test_an_edge_set_by_hand() -> None:
    # distances from the first atom: 1.0, 1.1, 2.5; the cap of one is seen from each atom
    atoms = Atoms("H4", positions=[[0, 0, 0], [1, 0, 0], [-1.1, 0, 0], [2.5, 0, 0]], tags=[0, 1, 2, 0])
    rules = {
        "main": EdgeSetOptions(cutoff=2.0, max_neighbors=1),
        "inner": EdgeSetOptions(cutoff=2.0, within="main", tags=(2,)),
    }
    found = oracles.edge_sets(rules, Structures.from_ase(atoms), oracles.Ruling("strict"))
    ends = {name: {(one.edge.source, one.edge.target) for one in edges} for name, edges in found.items()}
    assert ends["main"] == {(1, 0), (0, 1), (0, 2), (2, 0), (1, 3), (3, 1)}
    assert ends["inner"] == {(0, 2)}
    assert all(float(one.weight) == 1 for edges in found.values() for one in edges)


# -- caps -------------------------------------------------------------------------------------------------------------


def test_ties_at_a_cap_by_hand() -> None:
    distances = [1.0, 1.005, 1.2, 1.205, 3.0]
    pairs = [oracles.Neighbor(oracles.Edge(source, 9, HOME), d) for source, d in enumerate(distances)]

    def count(cap: int, ties: str, squared: bool = False) -> int:
        return sum(oracles.within_cap(pairs, cap, ties, 0.01, squared))

    assert [count(cap, "strict") for cap in (0, 1, 3, 9)] == [0, 1, 3, 5]
    assert [count(cap, "inclusive") for cap in (0, 1, 2, 3, 9)] == [0, 2, 2, 4, 5]
    assert [count(cap, "inclusive_next") for cap in (0, 1, 2, 4)] == [2, 2, 4, 5]
    # 1.205² - 1.2² > 0.01
    assert count(3, "inclusive", squared=True) == 3


def test_a_smooth_cap_that_does_not_bind_changes_nothing() -> None:
    parent = tensor(1, 0.5, 0.25)
    assert torch.equal(oracles.smooth_weights(tensor(1, 2, 5.9), parent, 3, 6.0, 0.5), parent)
    # neighbors at the cutoff are not counted
    assert torch.equal(oracles.smooth_weights(tensor(1, 2, 6), tensor(1, 1, 1), 2, 6.0, 0.5), tensor(1, 1, 1))
    assert torch.equal(oracles.smooth_weights(tensor(1, 2, 5.9), parent, 0, 6.0, 0.5), tensor(0, 0, 0))


def test_neighbors_at_one_distance_share_what_a_smooth_cap_leaves() -> None:
    # 5 of 3, all counted in full: 5 - (5 - 3 - 1/2) are left
    weights = oracles.smooth_weights(torch.full((5,), 2.0).double(), torch.ones(5).double(), 3, 6.0, 0.5)
    assert_close(weights, torch.full((5,), 0.7, dtype=torch.float64), 1e-14)


def test_a_smooth_cap_takes_the_nearest_first() -> None:
    # shells far from each other: three count in full, the two next share the half that is left
    weights = oracles.smooth_weights(tensor(1, 1, 1, 2, 2, 3), torch.ones(6).double(), 3, 6.0, 0.5)
    assert_close(weights, tensor(1, 1, 1, 0.25, 0.25, 0), 1e-14)
    halved = oracles.smooth_weights(tensor(1, 1, 1, 2, 2, 3), torch.full((6,), 0.5).double(), 1, 6.0, 0.5)
    assert_close(halved, tensor(0.5, 0.5, 0.5, 0, 0, 0), 1e-5)


def test_weights_of_a_smooth_cap_have_the_derivatives_of_their_values() -> None:
    distances, parent = tensor(1, 2.1, 2.2, 2.35, 2.4, 5.8).requires_grad_(), tensor(1, 0.9, 1, 0.7, 1, 1)

    def weights(d: Tensor, p: Tensor) -> Tensor:
        return oracles.smooth_weights(d, p, 2, 6.0, 0.5)

    assert torch.autograd.gradcheck(weights, (distances, parent.requires_grad_()))
    assert 2 < float(weights(distances, parent).sum().detach()) < 3


def test_the_integral_of_the_smooth_step_is_its_integral() -> None:
    t = torch.linspace(-1, 3, 40, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(oracles.smooth_step_integral(t).sum(), t)
    assert_close(slope, oracles.smooth_step(t), 1e-14)
    assert oracles.smooth_step_integral(tensor(0, 1)).tolist() == [0, 0.5]


# -- symmetrization ---------------------------------------------------------------------------------------------------


def test_symmetrization_by_hand() -> None:
    up, down = oracles.Edge(0, 1, (0, 0, 1)), oracles.Edge(2, 1, HOME)
    image = oracles.Edge(1, 1, (0, 0, -1))
    assert oracles.symmetrize([up, down, image], "union") == {
        up, up.opposite, down, down.opposite, image, image.opposite,
    }  # fmt: skip
    assert oracles.symmetrize([up, down, image], "lower_index") == {up, oracles.Edge(1, 0, (0, 0, -1))}
    assert oracles.reverse([up, image, up.opposite, image.opposite]) == [2, 3, 0, 1]


def test_an_edge_is_as_heavy_as_either_of_its_ends_says() -> None:
    one, other = between((0, 1))
    given = [oracles.WeightedEdge(one, 1.0, tensor(0.5)[0]), oracles.WeightedEdge(other, 1.0, tensor(0.2)[0])]
    assert [float(edge.weight) for edge in oracles.symmetrized(given, "union")] == pytest.approx([0.6, 0.6])
    assert [float(edge.weight) for edge in oracles.symmetrized(given[1:], "union")] == pytest.approx([0.2, 0.2])
    assert [float(edge.weight) for edge in oracles.symmetrized(given, "lower_index")] == pytest.approx([0.5, 0.5])


# -- combinations -----------------------------------------------------------------------------------------------------


def test_combinations_of_a_chain() -> None:
    edges = between((0, 1), (1, 2), (2, 3))
    # pairs of different edges into the atoms 1 and 2; the chain from both ends
    assert len(oracles.triplets(edges, edges)) == 2 + 2
    found = oracles.quadruplets(edges, edges)
    paths = {
        (edges[q.outer].source, edges[q.outer].target, edges[q.middle].source, edges[q.inner].source) for q in found
    }
    assert paths == {(0, 1, 2, 3), (3, 2, 1, 0)}


def test_combinations_of_a_tetrahedron() -> None:
    edges = between((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
    assert len(oracles.triplets(edges, edges)) == 4 * 3 * 2
    assert len(oracles.quadruplets(edges, edges)) == math.factorial(4)


def test_combinations_of_a_ring_do_not_close_it() -> None:
    edges = between((0, 1), (1, 2), (2, 0))
    assert len(oracles.triplets(edges, edges)) == 6
    assert oracles.quadruplets(edges, edges) == set()  # d would be c


def test_combinations_among_the_images_of_one_atom() -> None:
    edges = [oracles.Edge(0, 0, (1, 0, 0)), oracles.Edge(0, 0, (-1, 0, 0))]
    assert oracles.triplets(edges, edges) == {(0, 1), (1, 0)}
    assert oracles.quadruplets(edges, edges) == {(0, 1, 1), (1, 0, 0)}


def test_mixed_triplets_exclude_the_same_atom() -> None:
    outer, inner = between((0, 1)), between((0, 1), (1, 2))
    found = oracles.triplets(outer, inner)
    assert [(outer[t.outer], inner[t.inner]) for t in found] == [(oracles.Edge(0, 1, HOME), oracles.Edge(2, 1, HOME))]


# -- angles -----------------------------------------------------------------------------------------------------------


def directions(theta: float, at_target: float = 1.0, at_source: float = 1.3) -> tuple[Tensor, Tensor, Tensor]:
    """u_ca, u_ba, u_db with b→a along z, the angles that they make with it, and θ between the others."""
    u_ca = tensor(math.sin(at_target), 0, math.cos(at_target))
    u_db = tensor(math.sin(at_source) * math.cos(theta), math.sin(at_source) * math.sin(theta), math.cos(at_source))
    return u_ca, tensor(0, 0, 1), u_db


@pytest.mark.parametrize("theta", [0.1, 1.0, math.pi / 2, 3.0])
def test_angles_are_those_that_directions_were_made_with(theta: float) -> None:
    found = oracles.angles(*directions(theta))
    assert float(found.cos_at_target) == pytest.approx(math.cos(1.0))
    assert float(found.cos_at_source) == pytest.approx(math.cos(1.3))
    assert float(found.dihedral) == pytest.approx(theta)
    assert float(found.azimuth.cosine) == pytest.approx(math.cos(theta))
    assert float(found.azimuth.sine) == pytest.approx(math.sin(theta))


def test_collinear_atoms_have_a_right_angle_or_none() -> None:
    lines = directions(1.0, at_target=0.0)
    assert float(oracles.angles(*lines, RightAngle()).dihedral) == math.pi / 2
    faded = oracles.angles(*lines, SmoothCollinear(0.01)).azimuth
    assert [float(faded.cosine), float(faded.sine), float(faded.square)] == [0, 0, 0]


def test_the_smooth_rule_shortens_by_both_sines_and_keeps_the_angle() -> None:
    width, theta, at_target, at_source = 0.3, 0.7, 0.4, 2.5
    found = oracles.angles(*directions(theta, at_target, at_source), SmoothCollinear(width)).azimuth
    rho = math.prod((s * s / (s * s + width**2)) ** 1.5 for s in (math.sin(at_target), math.sin(at_source)))
    y = rho * math.sin(theta)
    assert float(found.cosine) == pytest.approx(rho * math.cos(theta))
    assert float(found.square) == pytest.approx(rho**2)
    assert float(found.sine) == pytest.approx(y**2 / math.hypot(y, width))


def test_an_unknown_rule_is_refused() -> None:
    class Other(RightAngle):  # type: ignore[misc]
        pass

    assert float(oracles.angles(*directions(1.0), Other()).dihedral) == pytest.approx(1.0)
    with pytest.raises(TypeError, match="oracles do not define the rule object"):
        oracles.angles(*directions(1.0), object())  # type: ignore[arg-type]
