"""The circular bases against their definitions."""

import copy
import math
import pickle

import numpy as np
import pytest
import sympy
import torch
from pydantic import ValidationError

from gemnet_blocks.basis import symbolic
from gemnet_blocks.basis.circular import CircularBasis, Gaussian, Legendre

Z = sympy.Symbol("z")
CLASSES = [Legendre, Gaussian]
all_classes = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def definitions(cls, count):
    if cls is Legendre:
        return [symbolic.zonal_harmonic(degree, Z) for degree in range(count)]
    return [symbolic.gaussian(k, count, Z, low=-1) for k in range(count)]


@pytest.mark.parametrize(
    ("cls", "count"), [(Legendre, 1), *((cls, count) for cls in CLASSES for count in (2, 3, 7, 8))], ids=str
)
def test_values_and_derivatives_equal_the_definition(cls, count):
    z = torch.cat([torch.linspace(-1, 1, 21, dtype=torch.float64), torch.tensor([1 - 1e-12, -1 + 1e-9])])
    z.requires_grad_()
    values = cls(count)(z)
    for k, definition in enumerate(definitions(cls, count)):
        computed = values[:, k]
        for order in range(3):
            expected = symbolic.evaluate(sympy.diff(definition, Z, order), {Z: z.detach().numpy()})
            size = max(np.abs(expected).max(), 0.1)
            np.testing.assert_allclose(computed.detach().numpy(), expected, rtol=0, atol=1e-12 * size)
            if not computed.requires_grad:
                break
            (computed,) = torch.autograd.grad(computed.sum(), z, create_graph=True)


@all_classes
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_everything_is_finite(cls, dtype):
    one = torch.ones((), dtype=dtype)
    beyond = torch.nextafter(one, 2 * one)
    z = torch.stack([one, -one, beyond, -beyond, 0 * one]).requires_grad_()
    values = cls(8).to(dtype)(z)
    (first,) = torch.autograd.grad(values.sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), z)
    for part in (values, first, second):
        assert part.dtype == dtype
        assert part.isfinite().all()


@all_classes
def test_derivatives_agree_with_finite_differences(cls):
    z = torch.tensor([-1.0, -0.7, 0.0, 0.3, 1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cls(6), z)
    assert torch.autograd.gradgradcheck(cls(6), z)


@all_classes
def test_single_precision(cls):
    z = torch.rand(2000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    exact = cls(8)(z.double())
    single = cls(8).float()(z)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-5)


def test_legendre_is_orthonormal_on_the_sphere():
    nodes, weights = np.polynomial.legendre.leggauss(20)
    values = Legendre(8)(torch.from_numpy(nodes))
    gram = 2 * math.pi * torch.einsum("p,pk,pl->kl", torch.from_numpy(weights), values, values)
    torch.testing.assert_close(gram, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-13)


def test_legendre_agrees_with_numpy_at_large_degrees():
    z = np.linspace(-1, 1, 41)
    plain = np.polynomial.legendre.legvander(z, 49)
    expected = plain * np.sqrt((2 * np.arange(50) + 1) / (4 * np.pi))
    np.testing.assert_allclose(Legendre(50)(torch.from_numpy(z)).numpy(), expected, rtol=0, atol=1e-12)


@all_classes
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 0), (2, 3, 4)], ids=str)
def test_shapes(cls, shape):
    assert cls(6)(torch.rand(shape)).shape == (*shape, 6)


@all_classes
def test_pickles_copies_and_moves(cls):
    basis = cls(5)
    z = torch.rand(9, dtype=torch.float64)
    for other in (pickle.loads(pickle.dumps(basis)), copy.deepcopy(basis), copy.deepcopy(basis).double()):
        assert torch.equal(other(z), basis(z))
    assert not list(basis.parameters())
    assert list(basis.state_dict()) == (["centers"] if cls is Gaussian else [])


@all_classes
@pytest.mark.parametrize("count", [0, -3])
def test_wrong_count(cls, count):
    with pytest.raises(ValueError, match=f"{cls.__name__}: count must be an integer .*, got {count}"):
        cls(count)


@all_classes
@pytest.mark.parametrize("count", [2.0, True, "8", None])
def test_count_of_a_wrong_type(cls, count):
    with pytest.raises((ValueError, TypeError)):  # the latter where beartype checks the annotations first
        cls(count)


def test_a_single_gaussian_is_refused():
    with pytest.raises(ValueError, match="at least 2, got 1"):
        Gaussian(1)


@all_classes
def test_options(cls):
    assert cls.from_options(cls.Options(count=7)).count == 7
    for wrong in ({}, {"count": 0}, {"count": True}, {"count": "8"}, {"count": 8, "size": 64}):
        with pytest.raises(ValidationError):
            cls.Options(**wrong)


def test_abstract():
    with pytest.raises(TypeError, match="abstract"):
        CircularBasis(3)
