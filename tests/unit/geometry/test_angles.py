from __future__ import annotations

import math

import pytest
import torch
from helpers import KINDS, SMOOTH, assert_close, assert_same_function, differentiable, graphs_of
from torch import Tensor

from gemnet_blocks.geometry.angles import (
    CollinearRule,
    QuadrupletAngles,
    RightAngle,
    SmoothCollinear,
    quadruplet_angles,
    triplet_cosines,
)
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.graph.quadruplets import Quadruplets, quadruplets
from gemnet_blocks.graph.ragged import segments
from gemnet_blocks.graph.triplets import Triplets, triplets
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles

ONE = torch.zeros(1, dtype=torch.long)
ALONE = segments(ONE, 1)
SINGLE = Quadruplets(Triplets(ONE, ONE + 1, ALONE), Triplets(ONE, ONE, ALONE), ONE, ONE, ALONE)
"""The one quadruplet of the edges (c→a, d→b) around the only middle edge."""


def angles_of(u_ca: Tensor, u_ba: Tensor, u_db: Tensor, rule: CollinearRule | None = None) -> QuadrupletAngles:
    return quadruplet_angles(torch.stack([u_ca, u_db]), u_ba[None], SINGLE, rule or RightAngle())


def vector(*components: float) -> Tensor:
    return torch.nn.functional.normalize(torch.tensor(components, dtype=torch.float64), dim=0)


def middles(graphs: Graphs) -> tuple[Tensor, Tensor]:
    return graphs.main.edges.direction, graphs.edge_sets["quad"].direction


@pytest.mark.parametrize("kind", [*SMOOTH, "mixed batch"])
def test_equal_to_the_oracle(kind: str) -> None:
    structures = differentiable(KINDS[kind]())
    graphs = graphs_of(structures)
    edges, middle = middles(graphs)
    found = quadruplets(graphs.main.edges, graphs.edge_sets["quad"])
    fast = quadruplet_angles(edges, middle, found, RightAngle())
    values, expected = [], []
    for i, (at_source, at_target) in enumerate(
        zip(found.source_triplet.tolist(), found.target_triplet.tolist(), strict=True)
    ):
        ca, ba = int(found.around_target.outer[at_target]), int(found.around_target.inner[at_target])
        slow = oracles.angles(edges[ca], middle[ba], edges[int(found.around_source.inner[at_source])])
        expected += [*slow[:2], slow.dihedral.cos(), slow.dihedral.sin()]
        values += [fast.cos_at_source[at_source], fast.cos_at_target[at_target]]
        values += [fast.dihedral.cosine[i], fast.dihedral.sine[i]]
    assert len(values) > 100
    assert_same_function(torch.stack(values), torch.stack(expected), [structures.positions, structures.cells])


def test_cosines_of_triplets_are_products_of_directions(any_structures: Structures) -> None:
    graphs = graphs_of(any_structures)
    outer, inner = graphs.main.edges, graphs.edge_sets["atom_edge"]
    found = triplets(outer, inner)
    cosines = triplet_cosines(outer.direction, inner.direction, found).tolist()
    for cosine, ca, ba in zip(cosines, found.outer.tolist(), found.inner.tolist(), strict=True):
        assert cosine == pytest.approx(float(outer.direction[ca] @ inner.direction[ba]), abs=1e-15)


@pytest.mark.parametrize("theta", [0.0, 0.3, math.pi / 2, 2.0, math.pi])
def test_the_dihedral_angle_is_that_of_a_known_chain(theta: float) -> None:
    # a at the origin, b at x = 1, c above a in the plane y = 0, d above b and turned about the x axis by θ
    c, a, b = torch.tensor([-0.5, 0, 1.0]), torch.zeros(3), torch.tensor([1.0, 0, 0])
    d = torch.tensor([1.5, math.sin(theta), math.cos(theta)])
    found = angles_of(*(vector(*difference.tolist()) for difference in (a - c, a - b, b - d)))
    # u_db × u_ba and u_ca × u_ba are turned against each other as d and c are
    assert float(torch.atan2(found.dihedral.sine, found.dihedral.cosine)) == pytest.approx(theta, abs=1e-7)
    assert float(found.cos_at_target) == pytest.approx(-0.5 / math.sqrt(1.25))
    assert float(found.cos_at_source) == pytest.approx(0.5 / math.sqrt(1.25))


def test_sine_is_never_negative_and_both_lie_on_the_unit_circle(any_structures: Structures) -> None:
    graphs = graphs_of(any_structures)
    found = quadruplet_angles(*middles(graphs), quadruplets(graphs.main.edges, graphs.edge_sets["quad"]), RightAngle())
    assert (found.dihedral.sine >= 0).all()
    assert_close(found.dihedral.sine**2 + found.dihedral.cosine**2, torch.ones_like(found.dihedral.sine))


@pytest.mark.parametrize("middle", [(1, 0, 0), (1, 2, 3)])
@pytest.mark.parametrize("which", ["c", "d", "both"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_collinear_atoms_have_a_right_angle_and_finite_derivatives(
    middle: tuple[float, ...], which: str, dtype: torch.dtype
) -> None:
    u_ba, other = vector(*middle).to(dtype), vector(0.2, -0.9, 0.4).to(dtype)
    u_ca = u_ba.clone() if which in ("c", "both") else other
    u_db = u_ba.clone() if which in ("d", "both") else other
    inputs = [u.requires_grad_() for u in (u_ca, u_ba, u_db)]
    found = angles_of(*inputs)
    # off the axes, float64's rounding of 1e-17 is visible next to the clamp at 1e-9
    assert found.dihedral.cosine.item() == pytest.approx(0, abs=1e-7)
    assert found.dihedral.sine.item() == pytest.approx(1)
    total = found.dihedral.cosine.sum() + found.dihedral.sine.sum()
    first = torch.autograd.grad(total, inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
    assert all(g.isfinite().all() for g in (*first, *second))


def test_first_and_second_derivatives_away_from_lines() -> None:
    def function(*directions: Tensor) -> Tensor:
        found = angles_of(*directions)
        return torch.cat([found.cos_at_source, found.cos_at_target, found.dihedral.cosine, found.dihedral.sine])

    inputs = [v.requires_grad_() for v in (vector(1, 2, 0.3), vector(-0.5, 1, 1), vector(0.3, -1, 2))]
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("width", [1e-3, 0.01, 0.1])
def test_smooth_dihedral_angles_are_those_of_a_shorter_vector(width: float) -> None:
    inputs = vector(1, 2, 0.3), vector(-0.5, 1, 1), vector(0.3, -1, 2)
    exact, smooth = angles_of(*inputs).dihedral, angles_of(*inputs, SmoothCollinear(width)).dihedral
    n_c, n_d = torch.linalg.cross(inputs[0], inputs[1]), torch.linalg.cross(inputs[2], inputs[1])
    length = math.prod(float(n @ n / (n @ n + width**2)) ** 1.5 for n in (n_c, n_d))
    assert smooth.cosine.item() == pytest.approx(length * exact.cosine.item())
    assert smooth.square is not None
    assert smooth.square.item() == pytest.approx(length**2)
    sine = length * exact.sine.item()
    assert smooth.sine.item() == pytest.approx(sine**2 / math.hypot(sine, width))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("noise", [0, 1e-6])
@pytest.mark.parametrize("which", ["c", "d", "both"])
def test_smooth_dihedral_angles_of_collinear_atoms_are_nothing(dtype: torch.dtype, noise: float, which: str) -> None:
    """Whatever rounding makes of the line: neither the values nor their slopes show it."""
    u_ba, other = vector(1, 2, 3).to(dtype), vector(0.2, -0.9, 0.4).to(dtype)
    u_ca, u_db = (
        torch.nn.functional.normalize(u_ba + noise * torch.randn(3, dtype=dtype), dim=0)
        if which in (name, "both")
        else other.clone()
        for name in "cd"
    )
    inputs = [u.requires_grad_() for u in (u_ca, u_ba, u_db)]
    found = angles_of(*inputs, SmoothCollinear()).dihedral
    assert found.square is not None
    total = torch.stack([found.cosine, found.sine, found.square]).sum()
    first = torch.autograd.grad(total, inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
    assert total.abs() < 1e-11
    assert all(g.abs().max() < 1e-5 for g in first)
    assert all(g.isfinite().all() for g in second)


def test_derivatives_of_smooth_dihedral_angles_on_lines_and_planes() -> None:
    def function(*directions: Tensor) -> Tensor:
        found = angles_of(*directions, SmoothCollinear(0.3)).dihedral
        assert found.square is not None
        return torch.cat([found.cosine, found.sine, found.square])

    line = [vector(1, 2, 0.3), vector(1, 2, 0.3), vector(0.3, -1, 2)]
    plane = [vector(1, 2, 0), vector(-0.5, 1, 0), vector(0.3, -1, 0)]
    for inputs in (line, plane):
        inputs = [v.requires_grad_() for v in inputs]
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)
