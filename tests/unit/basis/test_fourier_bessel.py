"""The spherical Bessel functions of all degrees against their definitions, in both precisions."""

import copy

import mpmath
import numpy as np
import pytest
import sympy
import torch
from pydantic import ValidationError
from scipy.special import spherical_jn

from gemnet_blocks.basis import symbolic
from gemnet_blocks.basis.circular import Gaussian, Legendre
from gemnet_blocks.basis.envelopes import Exponential
from gemnet_blocks.basis.fourier_bessel import DegreeRadialBasis, FourierBessel, degree_count, spherical_bessel
from gemnet_blocks.basis.radial import spherical_bessel_zeros
from gemnet_blocks.basis.spherical import GaussianOuter, LegendreOuter, RealHarmonics
from gemnet_blocks.testing.assertions import CounterExample, assert_radial_basis
from gemnet_blocks.testing.oracles import bases as oracles

CUTOFF = 5.5
ARGUMENTS = np.array(
    [0, 1e-30, 1e-9, 1e-4, 0.03, 0.5, 0.79, 0.81, 1.6, 2.9, 3.3, 4.7, 5.59, 5.61, 6.9, 9.0, 21.0, 40.0]
)


def bessel(degree_count, y, dtype=torch.float64):
    """Spherical Bessel functions of all degrees at the same arguments."""
    rows = torch.as_tensor(y, dtype=dtype).expand(degree_count, -1)
    return spherical_bessel(rows).double().numpy()


def definition(degree, y):
    with mpmath.workdps(60):
        y = mpmath.mpf(float(y))
        if y == 0:
            return float(degree == 0)
        return float(mpmath.sqrt(mpmath.pi / (2 * y)) * mpmath.besselj(degree + mpmath.mpf(1) / 2, y))


@pytest.mark.parametrize(
    ("dtype", "relative", "absolute"), [(torch.float64, 5e-14, 1e-16), (torch.float32, 1e-5, 2e-7)]
)
def test_equal_to_the_definition_and_to_scipy(dtype, relative, absolute):
    arguments = torch.as_tensor(ARGUMENTS, dtype=dtype).double().numpy()
    found = bessel(9, arguments, dtype)
    expected = np.array([[definition(degree, y) for y in arguments] for degree in range(9)])
    small = arguments < np.arange(1, 10)[:, None]  # before the first oscillation, every digit counts
    size = np.where(np.abs(expected) > 1e-37, np.abs(expected), 1)  # smaller than single precision
    assert (np.abs(found - expected) / size)[small].max() < relative
    assert np.abs(found - expected).max() < absolute * 5
    np.testing.assert_allclose(found, spherical_jn(np.arange(9)[:, None], arguments), rtol=0, atol=absolute * 5)


def test_many_degrees_and_large_arguments():
    y = np.linspace(0, 200, 400)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        expected = spherical_jn(np.arange(30)[:, None], torch.as_tensor(y, dtype=dtype).double().numpy())
        np.testing.assert_allclose(bessel(30, y, dtype), expected, rtol=0, atol=tolerance)


def test_raw_functions_equal_the_symbolic_definition():
    x = np.linspace(0.02, 1.2, 9)
    found = FourierBessel(CUTOFF, 3, 4).raw(torch.from_numpy(x)).numpy()
    for degree in (0, 1, 3):
        for n, zero in enumerate(spherical_bessel_zeros(degree, 3)):
            expression = symbolic.fourier_bessel(
                degree, sympy.Float(zero, 30), sympy.Rational(11, 2), sympy.Symbol("x")
            )
            expected = symbolic.evaluate(expression, {sympy.Symbol("x"): x})
            np.testing.assert_allclose(found[:, degree, n], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("zeros", ["exact", "float32"])
def test_equal_to_the_oracle(zeros):
    basis = FourierBessel(CUTOFF, 2, 3, Exponential(), zeros)
    for distance in torch.tensor([0.0, 1e-3, 0.7, 3.0, 5.4, 6.0], dtype=torch.float64):
        torch.testing.assert_close(basis(distance), oracles.radial_functions(basis, distance), rtol=0, atol=1e-13)


def test_orthonormal_in_the_ball():
    nodes, weights = np.polynomial.legendre.leggauss(60)
    r, weight = CUTOFF * (nodes + 1) / 2, CUTOFF * weights / 2
    values = FourierBessel(CUTOFF, 5, 7).raw(torch.from_numpy(r / CUTOFF)).numpy()
    overlaps = np.einsum("r,rln,rlm->lnm", weight * r**2, values, values)
    np.testing.assert_allclose(overlaps, np.broadcast_to(np.eye(5), overlaps.shape), rtol=0, atol=1e-12)


def test_every_property_of_a_radial_basis():
    assert_radial_basis(FourierBessel(CUTOFF, 1, 5))
    assert_radial_basis(FourierBessel(CUTOFF, 1, 1, Exponential()))


class Flat(DegreeRadialBasis):
    """A basis without an axis for the degrees."""

    from_options = None

    def forward(self, distances):
        return self.envelope(distances / self.cutoff)[..., None]

    raw = forward


def test_a_basis_without_an_axis_for_degrees():
    with pytest.raises(CounterExample, match="expected a result of shape"):
        assert_radial_basis(Flat(CUTOFF, 2, 1))


def test_zeros_rounded_as_in_published_models():
    exact, rounded = FourierBessel(CUTOFF, 6, 7), FourierBessel(CUTOFF, 6, 7, zeros="float32")
    x = torch.linspace(0, 1, 50, dtype=torch.float64)
    difference = (exact.raw(x) - rounded.raw(x)).abs().max()
    assert 1e-9 < difference < 1e-6
    # q_ln is computed in double precision from the rounded zero
    zero = float(np.float32(spherical_bessel_zeros(2, 1)[0]))
    expected = np.sqrt(2 / CUTOFF**3) * spherical_jn(2, 0.4 * zero) / abs(spherical_jn(3, zero))
    np.testing.assert_allclose(float(rounded.raw(torch.tensor(0.4, dtype=torch.float64))[2, 0]), expected, rtol=1e-13)


def test_constants_stay_in_double_precision_and_out_of_the_state():
    basis = FourierBessel(CUTOFF, 3, 4)
    x = torch.linspace(0, 1, 20, dtype=torch.float64)
    converted = copy.deepcopy(basis).half().float().double()
    assert torch.equal(converted.raw(x), basis.raw(x))
    assert not basis.state_dict()
    assert not list(basis.parameters())
    assert FourierBessel(CUTOFF, 3, 4).to("meta").raw(x.to("meta")).shape == (20, 4, 3)


def test_derivatives_at_the_ends():
    x = torch.tensor([0.0, 1e-20, 1e-8, 1.0, 1.5], dtype=torch.float64, requires_grad=True)
    for dtype in (torch.float32, torch.float64):
        values = FourierBessel(1.0, 3, 8)(x.to(dtype)).double()
        (slope,) = torch.autograd.grad((values * torch.rand(values.shape)).sum(), x, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), x)
        assert slope.isfinite().all()
        assert curvature.isfinite().all()
        assert not slope[3:].any()
        assert not curvature[3:].any()


def test_degrees_of_angular_functions():
    assert Legendre(3).degrees == (0, 1, 2)
    assert RealHarmonics(2).degrees == (0, 1, 1, 1)
    assert LegendreOuter(2).degrees == (0, 0, 1, 1)
    assert Gaussian(3).degrees is GaussianOuter(3).degrees is None
    assert degree_count(Legendre(3), LegendreOuter(5)) == 5
    assert degree_count(Legendre(3), GaussianOuter(5)) == 3
    assert degree_count(Gaussian(3), None) == 1


def test_options():
    options = FourierBessel.Options(count=2)
    assert options.model_dump() == {"type": "fourier_bessel", "count": 2, "zeros": "exact"}
    assert FourierBessel.from_options(options, 3.0, None, 4)(torch.ones(5)).shape == (5, 4, 2)
    for wrong in ({"count": 0}, {"count": 2, "zeros": "rounded"}, {"count": 300}):
        with pytest.raises(ValidationError):
            FourierBessel.Options(**wrong)
    with pytest.raises(ValueError, match="zeros must be 'exact' or 'float32', got 'rounded'"):
        FourierBessel(3.0, 2, 4, zeros="rounded")
    with pytest.raises(ValueError, match="degree_count"):
        FourierBessel(3.0, 2, 0)
