"""The definitions of basis functions, against scipy and numpy; and the library's functions against the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import assert_same_function
from scipy import integrate, special, stats
from torch import Tensor, nn

from gemnet_blocks.basis import circular, envelopes, radial, spherical
from gemnet_blocks.geometry.angles import Azimuth
from gemnet_blocks.layers.scaled_basis import ScaledBasis
from gemnet_blocks.testing import oracles

POINTS = [0.0, 0.03, 0.4, 0.77, 0.999]


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def assert_values(found: Tensor, expected: object, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(found.detach().numpy(), np.asarray(expected), rtol=0, atol=tolerance)


# -- against independent definitions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [*POINTS, 1.0, 1.5])
@pytest.mark.parametrize("exponent", [1, 5, 8])
def test_the_polynomial_envelope_is_a_beta_distribution(x: float, exponent: int) -> None:
    # its slope is proportional to x^(p-1) (1-x)²
    assert_values(oracles.polynomial_envelope(scalar(x), exponent), special.betaincc(exponent, 3, min(x, 1)))


def test_the_exponential_envelope() -> None:
    found = [float(oracles.exponential_envelope(scalar(x))) for x in (0, 0.5, 0.8, 1, 2)]
    assert found == pytest.approx([1, math.exp(-1 / 3), math.exp(-16 / 9), 0, 0])


@pytest.mark.parametrize("x", POINTS)
def test_radial_functions_are_known_distributions(x: float) -> None:
    centers = torch.linspace(0, 1, 6, dtype=torch.float64)
    normal = stats.norm(scale=0.2)
    assert_values(oracles.radial_gaussian(scalar(x), centers), normal.pdf(x - centers.numpy()) / normal.pdf(0))
    frequencies = math.pi * torch.arange(1, 6, dtype=torch.float64)
    waves = math.sqrt(2 / 27) * frequencies.numpy() * special.spherical_jn(0, frequencies.numpy() * x)
    assert_values(oracles.spherical_bessel(scalar(x), frequencies, 3.0), waves)
    decayed = math.exp(-math.log1p(math.exp(0.3)) * x)
    assert_values(oracles.bernstein(scalar(x), 7, scalar(0.3)), stats.binom.pmf(np.arange(7), 6, decayed))


@pytest.mark.parametrize("z", [-1.0, -0.3, 0.0, 0.9, 1.0])
def test_circular_functions_are_known_polynomials_and_gaussians(z: float) -> None:
    degrees = np.arange(7)
    norms = np.sqrt((2 * degrees + 1) / (4 * math.pi))
    assert_values(oracles.legendre(scalar(z), 7), norms * special.eval_legendre(degrees, z))
    assert_values(oracles.circular_gaussian(scalar(z), 5), np.exp(-2 * (z - np.linspace(-1, 1, 5)) ** 2))
    for times in range(4):
        derivative = np.polynomial.Legendre.basis(6).convert(kind=np.polynomial.Polynomial).deriv(times)
        assert_values(oracles.legendre_derivative(6, times, scalar(z)), derivative(z))


@pytest.mark.parametrize("degree", range(7))
def test_cosines_of_multiples_make_legendre_polynomials(degree: int) -> None:
    series = np.polynomial.Legendre.basis(degree).convert(kind=np.polynomial.Chebyshev)
    assert oracles.chebyshev_coefficients(degree) == pytest.approx(list(series.coef), abs=1e-14)


@pytest.mark.parametrize("exponent", range(6))
def test_powers_are_those_of_complex_numbers(exponent: int) -> None:
    power = complex(0.3, 0.6) ** exponent
    assert float(oracles.real_power(scalar(0.3), scalar(0.36), exponent)) == pytest.approx(power.real)
    assert float(oracles.imaginary_power(scalar(0.3), scalar(0.6), exponent)) == pytest.approx(power.imag)


@pytest.mark.parametrize("phi", [0.0, 0.4, 1.6, math.pi])
@pytest.mark.parametrize("theta", [0.0, 1.1, 3.0])
def test_real_harmonics_are_those_of_scipy(phi: float, theta: float) -> None:
    expected = []
    for degree in range(5):
        for order in (*range(degree + 1), *range(-degree, 0)):
            value = special.sph_harm_y(degree, abs(order), phi, theta) * (-1) ** order  # no Condon–Shortley sign
            expected.append(value.real if order == 0 else math.sqrt(2) * (value.real if order > 0 else value.imag))
    azimuth = Azimuth(scalar(math.cos(theta)), scalar(math.sin(theta)))
    assert_values(oracles.real_harmonics(scalar(math.cos(phi)), azimuth, 5), expected)


def test_outer_products_of_both_angles() -> None:
    azimuth = Azimuth(scalar(0.6), scalar(0.8))
    polar, azimuthal = oracles.legendre(scalar(-0.2), 4), oracles.legendre(scalar(0.6), 4)
    assert_values(oracles.legendre_outer(scalar(-0.2), azimuth, 4), np.outer(polar, azimuthal).ravel())
    polar, azimuthal = oracles.circular_gaussian(scalar(-0.2), 4), oracles.circular_gaussian(scalar(0.6), 4)
    assert_values(oracles.gaussian_outer(scalar(-0.2), azimuth, 4), np.outer(polar, azimuthal).ravel())


def test_without_an_azimuth_its_average_is_left() -> None:
    nowhere = Azimuth(scalar(0), scalar(0), scalar(0))
    averages = [
        math.sqrt((2 * k + 1) / (4 * math.pi))
        * integrate.quad(lambda theta, k=k: special.eval_legendre(k, math.cos(theta)), 0, math.pi)[0]
        / math.pi
        for k in range(6)
    ]
    assert_values(oracles.azimuthal_legendre(nowhere, 6), averages)


def test_a_short_azimuth_weakens_each_multiple_by_its_power() -> None:
    rho, theta = 0.7, 1.2
    short = Azimuth(scalar(rho * math.cos(theta)), scalar(rho * math.sin(theta)), scalar(rho**2))
    terms = [0.25, 0, 0.75 * rho**2 * math.cos(2 * theta)]  # P_2(cos θ) = 1/4 + 3/4 cos 2θ
    assert_values(oracles.azimuthal_legendre(short, 3)[2], math.sqrt(5 / (4 * math.pi)) * sum(terms))
    harmonics = oracles.real_harmonics(scalar(0.0), short, 2)
    norm = math.sqrt(3 / (4 * math.pi))
    assert_values(harmonics, [math.sqrt(1 / (4 * math.pi)), 0, norm * short.cosine, norm * short.sine])


# -- the library's functions ------------------------------------------------------------------------------------------


def scaled(basis: nn.Module) -> ScaledBasis:
    result = ScaledBasis(basis)
    nn.init.constant_(result.scale.factor, 1.7)
    return result


RADIAL = {
    "gaussian": radial.Gaussian(3.0, 6, trainable=True),
    "spherical Bessel": radial.SphericalBessel(3.0, 6, envelopes.Exponential()),
    "Bernstein": radial.Bernstein(3.0, 6, envelopes.Polynomial(3)),
    "scaled": scaled(radial.Gaussian(3.0, 6)),
}
CIRCULAR = [circular.Legendre(7), circular.Gaussian(5), scaled(circular.Legendre(3))]
SPHERICAL = [
    spherical.LegendreOuter(5),
    spherical.GaussianOuter(4),
    spherical.RealHarmonics(5),
    scaled(spherical.RealHarmonics(2)),
]


@pytest.mark.parametrize("kind", list(RADIAL))
def test_radial_bases_equal_their_definition(kind: str) -> None:
    basis = RADIAL[kind].double()
    distances = torch.tensor([0, 0.1, 0.7, 1.5, 2.9, 2.99999, 3, 4], dtype=torch.float64, requires_grad=True)
    slow = torch.stack([oracles.radial_functions(basis, distance) for distance in distances])
    assert_same_function(basis(distances), slow, [distances, *basis.parameters()], 1e-11)


@pytest.mark.parametrize("basis", CIRCULAR)
def test_circular_bases_equal_their_definition(basis: nn.Module) -> None:
    cosines = torch.linspace(-1, 1, 9, dtype=torch.float64, requires_grad=True)
    slow = torch.stack([oracles.circular_functions(basis.double(), cosine) for cosine in cosines])
    assert_same_function(basis(cosines), slow, [cosines])


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("basis", SPHERICAL)
def test_spherical_bases_equal_their_definition(basis: nn.Module, short: bool) -> None:
    polar = (torch.rand(9, dtype=torch.float64) * 2 - 1).requires_grad_()
    theta, rho = torch.rand(9, dtype=torch.float64) * math.pi, torch.rand(9, dtype=torch.float64)
    if not short:
        rho = torch.ones_like(rho)
    cosine, sine = (rho * theta.cos()).requires_grad_(), (rho * theta.sin()).requires_grad_()
    square = rho.square().requires_grad_() if short else None
    rows = zip(polar, cosine, sine, strict=True)
    slow = torch.stack(
        [
            oracles.spherical_functions(basis.double(), z, Azimuth(c, s, None if square is None else square[i]))
            for i, (z, c, s) in enumerate(rows)
        ]
    )
    fast = basis(polar, Azimuth(cosine, sine, square))
    inputs = [polar, cosine, sine] if square is None else [polar, cosine, sine, square]
    if square is None and isinstance(basis, spherical.LegendreOuter):
        inputs = [polar]  # off the unit circle, polynomials in cos θ alone and in both cos θ and ρ differ
    assert_same_function(fast, slow, inputs, 1e-11)


def test_bases_of_other_kinds_are_called() -> None:
    class Own(nn.Module):
        def forward(self, *arguments: Tensor | Azimuth) -> Tensor:
            return torch.full((2,), float(len(arguments)))

    azimuth = Azimuth(scalar(1), scalar(0))
    assert oracles.radial_functions(Own(), scalar(1)).tolist() == [1, 1]
    assert oracles.circular_functions(Own(), scalar(1)).tolist() == [1, 1]
    assert oracles.spherical_functions(Own(), scalar(1), azimuth).tolist() == [2, 2]
