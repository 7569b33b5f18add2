"""The spherical bases against their definitions, and the harmonics against e3nn's."""

import copy
import math
import pickle

import mpmath
import numpy as np
import pytest
import sympy
import torch
from e3nn import o3
from pydantic import ValidationError

from gemnet_blocks.basis import circular, symbolic
from gemnet_blocks.basis.spherical import GaussianOuter, LegendreOuter, RealHarmonics, SphericalBasis
from gemnet_blocks.geometry.angles import Azimuth

PHI, THETA = sympy.symbols("phi theta")
CLASSES = [LegendreOuter, GaussianOuter, RealHarmonics]
all_classes = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def definitions(cls, count, every=1):
    pairs = [(first, second) for first in range(count) for second in range(count)][::every]
    if cls is LegendreOuter:
        return [symbolic.legendre_outer(first, second, PHI, THETA) for first, second in pairs]
    if cls is GaussianOuter:
        return [symbolic.gaussian_outer(first, second, count, PHI, THETA) for first, second in pairs]
    return [
        symbolic.real_harmonic(degree, order, PHI, THETA) for degree, order in symbolic.harmonic_orders(count)[::every]
    ]


def exact_polar_angles(cosines):
    """The angles whose cosines are exactly these doubles, in more digits than a double has."""
    with mpmath.workdps(40):
        return np.array([mpmath.acos(mpmath.mpf(z)) for z in cosines], dtype=object)


def turned(theta):
    """θ as a vector of unit length."""
    return Azimuth(theta.cos(), theta.sin())


def some_angles(count=14, seed=0):
    generator = torch.Generator().manual_seed(seed)
    cos_polar = 2 * torch.rand(count, generator=generator, dtype=torch.float64) - 1
    poles = torch.tensor([1.0, -1.0, 1 - 1e-14, 1e-8 - 1, 0.0], dtype=torch.float64)
    azimuth = 2 * math.pi * torch.rand(count + 5, generator=generator, dtype=torch.float64)
    azimuth[:3] = torch.tensor([0.0, math.pi, math.pi / 2])
    return torch.cat([cos_polar, poles]), azimuth


@pytest.mark.parametrize(
    ("cls", "count"),
    [(LegendreOuter, 1), (RealHarmonics, 1), *((cls, count) for cls in CLASSES for count in (2, 3, 8))],
    ids=str,
)
def test_values_equal_the_definition(cls, count):
    cos_polar, azimuth = some_angles(3 if count == 8 else 14)  # 64 functions in 40 digits take long
    every = 7 if count == 8 else 1  # all of them in 40 digits take a minute; the last one is among these
    computed = cls(count)(cos_polar, turned(azimuth)).numpy()[:, ::every]
    points = {PHI: exact_polar_angles(cos_polar.tolist()), THETA: azimuth.numpy()}
    for k, definition in enumerate(definitions(cls, count, every)):
        expected = symbolic.evaluate(definition, points)
        np.testing.assert_allclose(computed[:, k], expected, rtol=0, atol=1e-12, err_msg=f"function {k * every}")


def test_order_of_the_harmonics():
    assert symbolic.harmonic_orders(3) == [(0, 0), (1, 0), (1, 1), (1, -1), (2, 0), (2, 1), (2, 2), (2, -2), (2, -1)]
    phi, theta = torch.tensor([0.4, 2.2], dtype=torch.float64)
    x, y, z = phi.sin() * theta.cos(), phi.sin() * theta.sin(), phi.cos()
    expected = torch.stack([torch.ones_like(z), math.sqrt(3) * z, math.sqrt(3) * x, math.sqrt(3) * y])
    computed = RealHarmonics(2)(phi.cos(), turned(theta)) * math.sqrt(4 * math.pi)
    torch.testing.assert_close(computed, expected)


@pytest.mark.parametrize("count", [1, 4, 8, 12])
def test_harmonics_agree_with_e3nn(count):
    """e3nn's polar axis is y, and its azimuth runs from z to x.

    So our direction (φ, θ) is e3nn's vector (x, y, z) = (sin φ sin θ, cos φ, sin φ cos θ). e3nn orders a degree by
    m = -l, …, l, at position l² + l + m; with normalization="integral" the functions are equal, signs included.
    """
    generator = torch.Generator().manual_seed(1)
    vectors = torch.nn.functional.normalize(torch.randn(50, 3, generator=generator, dtype=torch.float64), dim=-1)
    x, y, z = vectors.unbind(-1)
    azimuth = torch.atan2(x, z)
    theirs = o3.spherical_harmonics(list(range(count)), vectors, normalize=False, normalization="integral")
    positions = [degree**2 + degree + order for degree, order in symbolic.harmonic_orders(count)]
    ours = RealHarmonics(count)(y, turned(azimuth))
    torch.testing.assert_close(ours, theirs[:, positions], rtol=0, atol=1e-12)


def test_harmonics_are_orthonormal():
    nodes, weights = np.polynomial.legendre.leggauss(16)
    azimuth = torch.arange(32, dtype=torch.float64) * (2 * math.pi / 32)
    cos_polar, azimuth = torch.meshgrid(torch.from_numpy(nodes), azimuth, indexing="ij")
    values = RealHarmonics(8)(cos_polar, turned(azimuth))
    area = torch.from_numpy(weights)[:, None].expand(16, 32) * (2 * math.pi / 32)
    gram = torch.einsum("pq,pqi,pqj->ij", area, values, values)
    torch.testing.assert_close(gram, torch.eye(64, dtype=torch.float64), rtol=0, atol=1e-13)


def test_large_degrees_stay_bounded():
    cos_polar, azimuth = some_angles(40)
    values = RealHarmonics(40)(cos_polar, turned(azimuth))
    for degree in range(40):  # addition theorem: Σ_m Y_lm² = (2l+1)/4π
        sums = values[:, degree**2 : (degree + 1) ** 2].square().sum(-1)
        torch.testing.assert_close(sums, torch.full_like(sums, (2 * degree + 1) / (4 * math.pi)), rtol=1e-11, atol=0)


@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("second", range(3))
def test_products_run_fastest_in_the_azimuth(first, second):
    cos_polar, azimuth = some_angles()
    for basis, of_one_angle in (
        (LegendreOuter(3), circular.Legendre(3)),
        (GaussianOuter(3), circular.Gaussian(3)),
    ):
        values = basis(cos_polar, turned(azimuth))
        expected = of_one_angle(cos_polar)[:, first] * of_one_angle(azimuth.cos())[:, second]
        torch.testing.assert_close(values[:, 3 * first + second], expected)


@all_classes
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("count", [2, 8])
def test_everything_is_finite(cls, dtype, count):
    one = torch.ones((), dtype=dtype)
    inside, beyond = torch.nextafter(one, 0 * one), torch.nextafter(one, 2 * one)
    ends = torch.stack([one, inside, beyond, -one, -inside, -beyond, 0 * one])
    cos_polar = ends[:, None].repeat(1, 4).requires_grad_()
    azimuth = torch.tensor([0, 1.0, math.pi / 2, math.pi], dtype=dtype).repeat(7, 1)
    cosine, sine = azimuth.cos().requires_grad_(), azimuth.sin().requires_grad_()
    values = cls(count).to(dtype)(cos_polar, Azimuth(cosine, sine))
    inputs = (cos_polar, cosine, sine)
    first = torch.autograd.grad(
        (values * torch.arange(1, count**2 + 1)).sum(), inputs, create_graph=True, allow_unused=True
    )
    first = [part for part in first if part is not None]
    second = torch.autograd.grad(sum(part.sum() for part in first), inputs, allow_unused=True)
    for part in (values, *first, *(part for part in second if part is not None)):
        assert part.dtype == dtype
        assert part.isfinite().all()


def test_harmonics_of_even_order_have_exact_derivatives_at_the_poles():
    z = torch.tensor([1.0, -1.0], dtype=torch.float64, requires_grad=True)
    theta = torch.tensor(0.3, dtype=torch.float64).expand(2)
    values = RealHarmonics(6)(z, turned(theta))
    exact = sympy.Symbol("z")
    for k, (degree, order) in enumerate(symbolic.harmonic_orders(6)):
        if order % 2 == 0 and degree > 0:
            definition = symbolic.real_harmonic(degree, order, PHI, THETA)
            polynomial = sympy.expand(
                definition.subs(sympy.sin(PHI) ** abs(order), (1 - exact**2) ** (abs(order) // 2))
            )
            polynomial = polynomial.subs(sympy.cos(PHI), exact)
            computed = values[:, k]
            for times in (1, 2):
                (computed,) = torch.autograd.grad(computed.sum(), z, create_graph=True)
                points = {exact: np.array([1.0, -1.0]), THETA: 0.3}
                expected = symbolic.evaluate(sympy.diff(polynomial, exact, times), points)
                np.testing.assert_allclose(computed.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
                if not computed.requires_grad:
                    break


@all_classes
def test_derivatives_agree_with_finite_differences(cls):
    basis = cls(4)
    azimuth = torch.tensor([0.0, 0.4, 1.9, 2.7, math.pi], dtype=torch.float64)
    cos_polar = torch.tensor([-0.9, -0.7, 0.0, 0.3, 0.8], dtype=torch.float64, requires_grad=True)
    inputs = (cos_polar, azimuth.cos().requires_grad_(), azimuth.sin().requires_grad_())
    if cls is not RealHarmonics:  # independent of the sine
        inputs = (*inputs[:2], azimuth.sin())

    def function(cos_polar, cosine, sine):
        return basis(cos_polar, Azimuth(cosine, sine))

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@all_classes
def test_single_precision(cls):
    generator = torch.Generator().manual_seed(0)
    cos_polar = torch.rand(2000, generator=generator) * 2 - 1
    azimuth = torch.rand(2000, generator=generator) * math.pi
    cosine, sine = azimuth.cos(), azimuth.sin()
    exact = cls(7)(cos_polar.double(), Azimuth(cosine.double(), sine.double()))
    single = cls(7).float()(cos_polar, Azimuth(cosine, sine))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [0.0, 0.3, 1.0])
def test_multiples_of_a_short_azimuth_are_powers_of_a_complex_number(length):
    cos_polar, theta = some_angles()
    w = length * torch.exp(1j * theta)
    azimuth = Azimuth(w.real, w.imag, torch.full_like(theta, length**2))
    legendre = [np.polynomial.legendre.Legendre.basis(k).convert(kind=np.polynomial.Chebyshev).coef for k in range(6)]
    expected = torch.stack([sum(c * (w**j).real for j, c in enumerate(coefficients)) for coefficients in legendre], -1)
    products = LegendreOuter(6)(cos_polar, azimuth).unflatten(-1, (6, 6))
    norms = torch.tensor([math.sqrt((2 * k + 1) / (4 * math.pi)) for k in range(6)], dtype=torch.float64)
    torch.testing.assert_close(
        products, circular.Legendre(6)(cos_polar)[..., :, None] * (expected * norms)[..., None, :]
    )
    harmonics, full = RealHarmonics(4)(cos_polar, azimuth), RealHarmonics(4)(cos_polar, turned(theta))
    orders = torch.tensor([abs(order) for _, order in symbolic.harmonic_orders(4)])
    torch.testing.assert_close(harmonics, full * length**orders)


@all_classes
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 0), (2, 3, 4)], ids=str)
def test_shapes(cls, shape):
    basis = cls(3)
    assert (basis.count, basis.size) == (3, 9)
    assert basis(torch.rand(shape), Azimuth(torch.rand(shape), torch.rand(shape))).shape == (*shape, 9)


@all_classes
def test_pickles_copies_and_moves(cls):
    basis = cls(4)
    parts = [torch.rand(9, dtype=torch.float64) for _ in range(4)]
    inputs = parts[0], Azimuth(*parts[1:])
    for other in (pickle.loads(pickle.dumps(basis)), copy.deepcopy(basis), copy.deepcopy(basis).double()):
        assert torch.equal(other(*inputs), basis(*inputs))
    assert not list(basis.parameters())
    assert list(basis.state_dict()) == (["circular.centers"] if cls is GaussianOuter else [])


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
    with pytest.raises(ValueError, match=r"GaussianOuter: count .* at least 2, got 1"):
        GaussianOuter(1)


@all_classes
def test_options(cls):
    assert cls.from_options(cls.Options(count=7)).count == 7
    for wrong in ({}, {"count": 0}, {"count": True}, {"count": "8"}, {"count": 8, "size": 64}):
        with pytest.raises(ValidationError):
            cls.Options(**wrong)


def test_abstract():
    with pytest.raises(TypeError, match="abstract"):
        SphericalBasis(3)


def test_evaluate_names_missing_symbols():
    with pytest.raises(ValueError, match="no values given for theta"):
        symbolic.evaluate(PHI + THETA, {PHI: 0.0})
