from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gemnet_blocks.aggregation.quadruplets import frames, harmonics, with_gate
from gemnet_blocks.basis.spherical import LegendreOuter
from gemnet_blocks.geometry.angles import CollinearRule, RightAngle, SmoothCollinear
from gemnet_blocks.graph.quadruplets import Quadruplets
from gemnet_blocks.graph.ragged import segments
from gemnet_blocks.graph.triplets import Triplets

RULES = (RightAngle(), SmoothCollinear(), SmoothCollinear(0.4))
COUNT = 5


def unit(*shape: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, 3, dtype=torch.float64), dim=-1)


def special_directions() -> Tensor:
    """Along axes, diagonals and nearly so, any, short and none."""
    some = [[1, 0, 0], [0, -1, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1], [1, 1e-9, 0], [1, 1 - 1e-12, 1]]
    directions = torch.nn.functional.normalize(torch.tensor(some, dtype=torch.float64), dim=-1)
    return torch.cat([directions, unit(20), 1e-3 * unit(3), torch.zeros(2, 3, dtype=torch.float64)])


def test_frames_are_orthogonal_and_as_long_as_the_direction() -> None:
    direction = special_directions()
    frame = frames(direction)
    assert torch.equal(frame[:, 0], direction)
    length = direction.norm(dim=1)
    expected = torch.eye(3, dtype=torch.float64) * length[:, None, None] ** 2
    torch.testing.assert_close(frame @ frame.transpose(1, 2), expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.linalg.det(frame), length**3, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_frames_have_finite_derivatives(dtype: torch.dtype) -> None:
    direction = special_directions().to(dtype).requires_grad_()
    (first,) = torch.autograd.grad(frames(direction).sum(), direction, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), direction)
    assert first.isfinite().all()
    assert second.isfinite().all()
    assert (second[7:27] != 0).all(dim=1).any()


def test_frames_turn_with_the_edge() -> None:
    assert torch.autograd.gradcheck(frames, (unit(4).requires_grad_(),))
    assert torch.autograd.gradgradcheck(frames, (unit(2).requires_grad_(),))


def on_both_sides(u_ca: Tensor, u_db: Tensor, u_ba: Tensor, rule: CollinearRule, turn: float = 0) -> Tensor:
    """The products of both atoms' harmonics, (…, multiples), in the frame of the middle edge turned around it."""
    _, first, second = frames(u_ba).unbind(1)
    one, other = math.cos(turn) * first + math.sin(turn) * second, math.cos(turn) * second - math.sin(turn) * first
    pairs = [
        harmonics((u * one).sum(-1), (u * other).sum(-1), COUNT, rule, side).movedim((0, 1), (-2, -1))
        for u, side in ((u_ca, -1), (u_db, 1))
    ]
    return (pairs[0] * pairs[1]).sum(-1)


def chains_of_four() -> tuple[Tensor, Tensor, Tensor]:
    """Directions u_ca, u_db and u_ba: any, and on a line at either end and at both."""
    u_ca, u_db, u_ba = unit(12), unit(12), unit(12)
    u_ba[6:] = torch.eye(3, dtype=torch.float64).repeat(2, 1)  # exactly on lines
    u_ca[6:9], u_db[9:11], u_ca[11], u_db[11] = u_ba[6:9], -u_ba[9:11], u_ba[11], u_ba[11]
    u_db[6] = u_ba[6]
    return u_ca, u_db, u_ba


@pytest.mark.parametrize("rule", RULES, ids=("right angle", "smooth", "very smooth"))
def test_products_are_the_functions_of_dihedral_angles(rule: CollinearRule) -> None:
    u_ca, u_db, u_ba = chains_of_four()
    each = torch.arange(len(u_ba))
    single = segments(each, len(each))
    quadruplets = Quadruplets(Triplets(each, each, single), Triplets(each, each, single), each, each, single)
    dihedral = rule(torch.linalg.cross(u_ca, u_ba), torch.linalg.cross(u_db, u_ba), quadruplets)
    basis = LegendreOuter(COUNT)
    series = basis.azimuthal_series()
    coefficients = with_gate(series.coefficients) if rule.gated else series.coefficients
    # the polar function of degree 0 is a constant
    expected = basis(torch.zeros_like(dihedral.cosine), dihedral)[:, :COUNT] * math.sqrt(4 * math.pi)
    found = on_both_sides(u_ca, u_db, u_ba, rule) @ coefficients
    assert expected[:, 1:].std(dim=0).min() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", RULES, ids=("right angle", "smooth", "very smooth"))
def test_products_do_not_depend_on_the_frame(rule: CollinearRule) -> None:
    u_ca, u_db, u_ba = chains_of_four()
    expected = on_both_sides(u_ca, u_db, u_ba, rule)
    for turn in (0.4, math.pi / 2, 3.0):
        torch.testing.assert_close(on_both_sides(u_ca, u_db, u_ba, rule, turn), expected, rtol=0, atol=1e-13)


def test_coefficients_with_a_gate_end_with_the_values_at_a_right_angle() -> None:
    for count in range(1, 9):
        basis = LegendreOuter(count)
        coefficients = with_gate(basis.azimuthal_series().coefficients)
        assert coefficients.shape == (count + 1, count)
        at_right_angle = basis.circular(torch.zeros((), dtype=torch.float64))
        torch.testing.assert_close(coefficients[-1], at_right_angle, rtol=0, atol=1e-14)
