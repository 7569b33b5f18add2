"""The envelopes against their definitions."""

import copy
import math
import pickle

import numpy as np
import pytest
import sympy
import torch
from pydantic import ValidationError

from gemnet_blocks.basis import symbolic
from gemnet_blocks.basis.envelopes import Envelope, Exponential, ExponentialOptions, Polynomial, PolynomialOptions

X = sympy.Symbol("x")
DTYPES = [torch.float64, torch.float32]
KINDS = {"polynomial": Polynomial(), "polynomial_1": Polynomial(1), "exponential": Exponential()}
all_kinds = pytest.mark.parametrize("envelope", KINDS.values(), ids=KINDS.keys())


def derivatives(envelope, x):
    """Value, first and second derivative by automatic differentiation."""
    x = x.clone().requires_grad_()
    value = envelope(x)
    (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    return value.detach(), first.detach(), second


def around_the_ends(dtype):
    one = torch.ones((), dtype=dtype)
    below = torch.nextafter(one, torch.zeros_like(one))
    near = 1 - torch.logspace(-8, -0.1, 60, dtype=dtype)
    far = torch.tensor([1.5, 10.0, 1e6, 1e20], dtype=dtype)
    tiny = torch.tensor([0.0, 1e-30, 1e-8], dtype=dtype)
    return torch.cat([tiny, near, below[None], one[None], torch.nextafter(one, one + 1)[None], far])


@pytest.mark.parametrize(
    ("envelope", "definition"),
    [(Polynomial(p), symbolic.polynomial_envelope(p, X)) for p in (1, 2, 3, 5, 6, 12)]
    + [(Exponential(), symbolic.exponential_envelope(X))],
    ids=str,
)
def test_values_and_derivatives_equal_the_definition(envelope, definition):
    x = torch.cat([torch.linspace(0, 0.99, 34, dtype=torch.float64), torch.tensor([1, 1.2, 30.0])])
    for order, computed in enumerate(derivatives(envelope, x)):
        expected = symbolic.evaluate(sympy.diff(definition, X, order), {X: x.numpy()})
        size = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(computed.numpy(), expected, rtol=0, atol=1e-12 * size)


@all_kinds
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_everything_is_finite_and_ends_smoothly(envelope, dtype):
    x = around_the_ends(dtype)
    beyond = x >= 1
    for values in derivatives(envelope, x):
        assert values.dtype == dtype
        assert values.isfinite().all()
        assert (values[beyond] == 0).all()
    value = envelope(x)
    assert value[0] == 1
    assert ((value >= 0) & (value <= 1)).all()
    assert (value[x > 0.99999] < 1e-12).all()


@all_kinds
def test_derivatives_agree_with_finite_differences(envelope):
    x = torch.tensor([0.0, 0.1, 0.35, 0.5, 0.77, 0.93, 1.05, 4.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(envelope, x)
    assert torch.autograd.gradgradcheck(envelope, x)


@all_kinds
def test_single_precision(envelope):
    x = torch.rand(500, generator=torch.Generator().manual_seed(0), dtype=torch.float32) * 1.2
    torch.testing.assert_close(envelope(x).double(), envelope(x.double()), rtol=0, atol=1e-6)


@all_kinds
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 0, 3), (2, 3, 4)], ids=str)
def test_shapes(envelope, shape):
    assert envelope(torch.rand(shape)).shape == shape


@all_kinds
def test_nan_is_not_hidden(envelope):
    assert envelope(torch.tensor([math.nan, 0.5])).isnan().tolist() == [True, False]


@all_kinds
def test_pickles_and_copies(envelope):
    x = torch.rand(9)
    assert not envelope.state_dict()
    for other in (pickle.loads(pickle.dumps(envelope)), copy.deepcopy(envelope), envelope.to(torch.float64)):
        assert torch.equal(other(x), envelope(x))


@pytest.mark.parametrize("exponent", [0, -1])
def test_wrong_exponent(exponent):
    with pytest.raises(ValueError, match=f"Polynomial: exponent must be an integer of at least 1, got {exponent}"):
        Polynomial(exponent)


@pytest.mark.parametrize("exponent", [2.5, 5.0, True, "5", None])
def test_exponent_of_a_wrong_type(exponent):
    with pytest.raises((ValueError, TypeError)):  # the latter where beartype checks the annotations first
        Polynomial(exponent)


def test_options():
    assert Polynomial.Options is PolynomialOptions
    assert Exponential.Options is ExponentialOptions
    assert Polynomial.from_options(PolynomialOptions(exponent=7)).exponent == 7
    assert Polynomial.from_options(PolynomialOptions()).exponent == 5
    assert isinstance(Exponential.from_options(ExponentialOptions()), Exponential)
    for wrong in ({"exponent": 0}, {"exponent": True}, {"exponent": "5"}, {"exponnent": 5}, {"type": "exponential"}):
        with pytest.raises(ValidationError):
            PolynomialOptions(**wrong)
    with pytest.raises(ValidationError):
        PolynomialOptions().exponent = 6
    description = PolynomialOptions.model_json_schema()["properties"]["exponent"]["description"]
    assert description.startswith("p: the envelope")


def test_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Envelope()
