from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from helpers import assert_same_function

from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.dense import Dense, linear, skip
from gemnet_blocks.layers.residual import Residual, residuals
from gemnet_blocks.testing import oracles

ACTIVATIONS: list[Activation] = ["silu", "siqu", "identity"]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rows", [(), (4,), (2, 3), (0,)])
def test_dense_layers_equal_the_oracle(activation: Activation, rows: tuple[int, ...]) -> None:
    layer, x = Dense(5, 3, activation).double(), random(*rows, 5)
    assert_same_function(layer(x), oracles.dense(layer, x), [x, layer.linear.weight])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_residual_layers_equal_the_oracle(activation: Activation) -> None:
    layers, x = residuals(3, 4, activation).double(), random(5, 4)
    assert len(layers) == 3
    assert_same_function(layers(x), oracles.through(layers, x), [x, *layers.parameters()])


def test_linear_layers_have_no_bias_and_start_he_orthogonal() -> None:
    layer = linear(40, 30)
    assert layer.bias is None
    assert layer.weight.shape == (30, 40)
    torch.testing.assert_close(layer.weight.var(dim=1), torch.full((30,), 1 / 40), rtol=1e-3, atol=0)
    assert sum(p.numel() for p in Dense(40, 30).parameters()) == 1200


def test_no_residual_layers_change_nothing() -> None:
    x = random(3, 4)
    assert torch.equal(residuals(0, 4)(x), x)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_skip_connection_divides_by_the_root_of_the_number_of_terms(count: int) -> None:
    terms = [random(2, 3) for _ in range(count)]
    assert_same_function(skip(*terms), torch.stack(terms).sum(dim=0) / math.sqrt(count), terms)


def test_a_skip_connection_leaves_its_terms_alone() -> None:
    terms = [random(2, 3) for _ in range(3)]
    before = [term.detach().clone() for term in terms]
    skip(*terms)
    skip(terms[0], terms[1])
    assert all(torch.equal(term, copy) for term, copy in zip(terms, before, strict=True))


@pytest.mark.parametrize("wide", [True, False])
def test_autocast(wide: bool) -> None:
    layers, x = residuals(2, 16), torch.randn(8, 16, requires_grad=True)
    expected = layers(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = layers(x if wide else x.bfloat16())
    assert result.dtype == (torch.float32 if wide else torch.bfloat16)
    torch.testing.assert_close(result.float(), expected, rtol=0, atol=0.1)
    (slope,) = torch.autograd.grad(result.float().square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    gradients = [weight.grad for weight in layers.parameters()]
    (slope,) = torch.autograd.grad(expected.square().sum(), x, create_graph=True)
    for found, exact in zip(gradients, torch.autograd.grad(slope.square().sum(), [*layers.parameters()]), strict=True):
        assert found is not None
        assert found.dtype == torch.float32
        assert float((found - exact).norm() / exact.norm()) < 0.1


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_first_and_second_derivatives(activation: Activation) -> None:
    layer, x = Residual(3, activation).double(), random(2, 3)
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layers_pickle_and_copy(activation: Activation) -> None:
    layer, x = Residual(3, activation), torch.randn(2, 3)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
