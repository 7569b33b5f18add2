from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu

from gemnet_blocks.layers.activations import Activation, activation_module, scaled_silu

PLAIN: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": lambda x: x * torch.sigmoid(x) / 0.6,
    "siqu": lambda x: x * x * torch.sigmoid(x),
    "identity": lambda x: x * 1.0,
}

INPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "matrix": lambda x: x,
    "transposed": lambda x: x.T,
    "every second column": lambda x: x[:, ::2],
    "expanded": lambda x: x[:1].expand(3, -1),
    "number": lambda x: x[0, 0],
    "empty": lambda x: x[:0],
}


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return (2 * torch.randn(*shape, dtype=dtype)).requires_grad_()


def derivatives(function: Callable[[Tensor], Tensor], x: Tensor, order: int) -> list[Tensor]:
    """The value, and derivatives along directions that depend on x themselves; the last without a graph."""
    values = [function(x)]
    for k in range(1, order + 1):
        along = (values[-1] * torch.cos(k + x)).sum()
        values += torch.autograd.grad(along, x, create_graph=k < order)
    return values


@pytest.mark.parametrize("scale", [1.0, 0.5, 1 / 0.6])
def test_first_and_second_derivatives(scale: float) -> None:
    x = random(3, 4)
    assert torch.autograd.gradcheck(lambda x: scaled_silu(x, scale), (x,))
    assert torch.autograd.gradgradcheck(lambda x: scaled_silu(x, scale), (x,))


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("activation", PLAIN)
def test_values_and_three_derivatives_equal_the_plain_expression(activation: Activation, kind: str) -> None:
    x, take = random(5, 6), INPUTS[kind]
    module, plain = activation_module(activation), PLAIN[activation]
    for order in (1, 2, 3):
        fast = derivatives(lambda x: module(take(x)).square().sum() + x, x, order)
        slow = derivatives(lambda x: plain(take(x)).square().sum() + x, x, order)
        for found, expected in zip(fast, slow, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_types_stay_and_agree_within_their_precision(dtype: torch.dtype) -> None:
    x = random(40, dtype=dtype)
    wide = x.detach().double().requires_grad_()
    found, expected = (derivatives(lambda x: scaled_silu(x, 1.5), one, 2) for one in (x, wide))
    assert {value.dtype for value in found} == {dtype}
    for narrow, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(narrow.double(), reference, rtol=0, atol=60 * torch.finfo(dtype).eps)


def test_derivatives_far_from_zero_are_those_of_the_limits() -> None:
    x = torch.tensor([-1e30, -1e4, 1e4, 1e30], requires_grad=True)
    value = scaled_silu(x, 2.0)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    torch.testing.assert_close(value, torch.tensor([0.0, 0.0, 2e4, 2e30]))
    assert slope.tolist() == [0, 0, 2, 2]
    assert curvature.tolist() == [0, 0, 0, 0]


def test_the_second_derivative_at_zero() -> None:
    x = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(scaled_silu(x, 3.0), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, x)
    assert slope.item() == 1.5
    assert curvature.item() == 1.5


def test_inputs_and_gradients_are_left_alone() -> None:
    x = random(3, 4)
    v = random(3, 4)
    before = [x.detach().clone(), v.detach().clone()]
    (slope,) = torch.autograd.grad(scaled_silu(x, 1.5), x, v, create_graph=True)
    u = torch.ones_like(slope)
    torch.autograd.grad(slope, [x, v], u)
    assert torch.equal(x, before[0])
    assert torch.equal(v, before[1])
    assert torch.equal(u, torch.ones_like(u))


def test_inference_stores_nothing() -> None:
    x = random(3)
    with torch.no_grad():
        found = scaled_silu(x, 1.5)
    assert not found.requires_grad
    assert not scaled_silu(x.detach(), 1.5).requires_grad
    torch.testing.assert_close(found, 1.5 * silu(x.detach()))


def test_function_transforms() -> None:
    x = torch.randn(5, dtype=torch.float64)
    fast = torch.func.vmap(torch.func.grad(torch.func.grad(lambda x: scaled_silu(x, 1.5))))(x)
    slow = torch.func.vmap(torch.func.grad(torch.func.grad(lambda x: 1.5 * x * torch.sigmoid(x))))(x)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)


def test_many_second_gradients_at_once() -> None:
    x = random(3)
    (slope,) = torch.autograd.grad(scaled_silu(x, 1.5).sum(), x, create_graph=True)
    (rows,) = torch.autograd.grad(slope, x, torch.eye(3, dtype=torch.float64), is_grads_batched=True)
    at = x.detach()
    sigmoid = torch.sigmoid(at)
    expected = 1.5 * sigmoid * (1 - sigmoid) * (2 + at * (1 - 2 * sigmoid))
    torch.testing.assert_close(rows, torch.diag(expected), rtol=1e-12, atol=1e-12)


def test_known_values() -> None:
    x = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    below, above = 1 / (1 + math.exp(1)), 1 / (1 + math.exp(-2))
    assert activation_module("silu")(x).tolist() == pytest.approx([-below / 0.6, 0, 2 * above / 0.6])
    assert activation_module("siqu")(x).tolist() == pytest.approx([below, 0, 4 * above])
    assert torch.equal(activation_module("identity")(x), x)


def test_scaled_silu_keeps_the_mean_square_of_normal_inputs() -> None:
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    assert float(activation_module("silu")(x).square().mean()) == pytest.approx(1, abs=0.02)
