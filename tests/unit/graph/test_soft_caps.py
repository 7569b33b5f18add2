"""Smooth caps: the weights, their sums and their derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gemnet_blocks.graph.max_neighbors import either, soft_weights
from gemnet_blocks.graph.smooth_step import smooth_step, smooth_step_integral, smooth_step_slope

CUTOFF, WIDTH = 5.0, 0.5


def weights_of(*distances: float, cap: int, parent: Tensor | None = None) -> Tensor:
    """The weights of the neighbors of one atom."""
    d = torch.tensor(distances, dtype=torch.float64)
    return soft_weights(d, torch.zeros_like(d, dtype=torch.long), 1, cap, CUTOFF, WIDTH, parent)


def test_the_step_and_its_integral() -> None:
    t = torch.linspace(-1, 2, 3001, dtype=torch.float64, requires_grad=True)
    step, integral = smooth_step(t), smooth_step_integral(t)
    assert step[0].item() == 0
    assert step[-1].item() == 1
    assert float(smooth_step(torch.tensor(0.5))) == 0.5
    (slope,) = torch.autograd.grad(step.sum(), t)
    torch.testing.assert_close(smooth_step_slope(t), slope)
    torch.testing.assert_close(torch.autograd.grad(integral.sum(), t)[0], step)
    assert float(smooth_step_integral(torch.tensor(1.0))) == 0.5


def test_no_more_neighbors_than_the_cap_keep_their_whole_weight() -> None:
    assert torch.equal(weights_of(1.0, 2.0, 4.9, cap=3), torch.ones(3, dtype=torch.float64))
    assert torch.equal(weights_of(cap=3), torch.ones(0, dtype=torch.float64))
    parent = torch.tensor([0.3, 1.0], dtype=torch.float64)
    assert torch.equal(weights_of(1.0, 2.0, cap=3, parent=parent), parent)


def test_neighbors_far_from_the_cap_are_in_or_out() -> None:
    weights = weights_of(1.0, 1.5, 2.0, 3.0, 4.0, cap=3)
    assert weights[:3].tolist() == [1, 1, 1]
    assert float(weights[3]) == pytest.approx(0.5)
    assert float(weights[4]) == 0


def test_no_neighbor_is_left_by_a_cap_of_zero() -> None:
    assert weights_of(1.0, 2.0, cap=0).tolist() == [0, 0]


@pytest.mark.parametrize("cap", [1, 5, 6, 11])
def test_a_shell_of_equal_neighbors_shares_the_cap(cap: int) -> None:
    weights = weights_of(*[2.5] * 12, cap=cap)
    assert torch.equal(weights, weights[:1].expand(12))
    assert float(weights.sum()) == pytest.approx(cap + 0.5)


def test_the_sum_of_weights_exceeds_no_cap_by_more_than_a_half() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        d = CUTOFF * torch.rand(30, generator=generator, dtype=torch.float64)
        weights = soft_weights(d, torch.zeros(30, dtype=torch.long), 1, 9, CUTOFF, WIDTH)
        assert float(weights.sum()) <= 9.5 + 1e-9 + float((d > CUTOFF - WIDTH).sum())
        order = d.argsort()
        assert (weights[order].diff() <= 0).all()


def test_each_atom_has_its_own_cap() -> None:
    d = torch.tensor([1.0, 1.1, 1.2, 1.0, 1.0], dtype=torch.float64)
    target = torch.tensor([0, 0, 0, 2, 2])
    weights = soft_weights(d, target, 4, 2, CUTOFF, WIDTH)
    assert torch.equal(weights[:3], weights_of(1.0, 1.1, 1.2, cap=2))
    assert weights[3:].tolist() == [1, 1]


@pytest.mark.parametrize(
    "distances",
    [
        (1.0, 1.2, 1.3, 1.35, 1.5),
        (1.0, 1.0, 1.0, 1.0),
        (4.6, 4.7, 4.8, 4.9),  # partly counted, as the cutoff is near
        (1.0, 2.0, 2.1, 4.75),
    ],
)
@pytest.mark.parametrize("with_parent", [False, True])
def test_derivatives(distances: tuple[float, ...], with_parent: bool) -> None:
    d = torch.tensor(distances, dtype=torch.float64, requires_grad=True)
    parent = torch.linspace(1, 0.6, len(d), dtype=torch.float64).requires_grad_() if with_parent else None

    def function(*inputs: Tensor) -> Tensor:
        return soft_weights(inputs[0], torch.zeros(len(d), dtype=torch.long), 1, 2, CUTOFF, WIDTH, *inputs[1:])

    inputs = (d,) if parent is None else (d, parent)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_nothing_jumps_while_a_neighbor_crosses_the_others_and_the_cutoff() -> None:
    """Values, first and second derivatives along the way of one neighbor from 1 Å to beyond the cutoff."""
    others = [1.5, 1.6, 2.0, 3.0, 3.1, 4.8]
    way = torch.linspace(1.0, CUTOFF, 4001, dtype=torch.float64)
    d = torch.cat([torch.tensor(others, dtype=torch.float64).expand(len(way), -1), way[:, None]], dim=1)
    target = torch.arange(len(way)).repeat_interleave(d.shape[1])
    flat = d.flatten().requires_grad_()
    total = soft_weights(flat, target, len(way), 4, CUTOFF, WIDTH).reshape(d.shape)
    value = (total * d.cos()).sum(1)  # some function of the weights
    (slope,) = torch.autograd.grad(value.sum(), flat, create_graph=True)
    slope = slope.reshape(d.shape)[:, -1]
    (curvature,) = torch.autograd.grad(slope.sum(), flat)
    curvature = curvature.reshape(d.shape)[:, -1]
    step = float(way[1] - way[0])
    for values, scale in ((value, 10), (slope, 100), (curvature, 3000)):
        assert values.isfinite().all()
        assert float(values.diff().abs().max()) < scale * step
    # and without it: at the cutoff it no longer counts
    alone = weights_of(*others, cap=4)
    torch.testing.assert_close(total[-1, :-1], alone)


def test_either_is_symmetric_and_complete() -> None:
    w = torch.linspace(0, 1, 5, dtype=torch.float64)
    assert torch.equal(either(w, torch.zeros(5, dtype=torch.float64)), w)
    torch.testing.assert_close(either(w, w.flip(0)), either(w.flip(0), w))
    assert either(w, torch.ones(5, dtype=torch.float64)).tolist() == [1] * 5
