"""Basis functions, one formula each: a scalar in, a vector of functions out.

Functions named `..._functions` take a basis module for its kind and its parameters, and compute the rest here. A basis
of a kind that is not built in is called itself.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.basis import circular, envelopes, radial, spherical
from gemnet_blocks.geometry.angles import Azimuth
from gemnet_blocks.layers.projection import ScaledBasis
from gemnet_blocks.testing.oracles.layers import scaled

Scalar = Float[Tensor, ""]
Functions = Float[Tensor, " functions"]

# -- of distances -----------------------------------------------------------------------------------------------------


def polynomial_envelope(x: Scalar, exponent: int) -> Scalar:
    """1 - (p+1)(p+2)/2·x^p + p(p+2) x^{p+1} - p(p+1)/2·x^{p+2} for x < 1, else 0."""
    p = exponent
    if x >= 1:
        return torch.zeros_like(x)
    return 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)


def exponential_envelope(x: Scalar) -> Scalar:
    """exp(-x²/((1-x)(1+x))) for x < 1, else 0."""
    return torch.zeros_like(x) if x >= 1 else torch.exp(-(x**2) / ((1 - x) * (1 + x)))


def radial_gaussian(x: Scalar, centers: Functions) -> Functions:
    """exp(-(x-μ_k)²/2σ²) with σ = 1/(N-1)."""
    sigma = 1 / (len(centers) - 1)
    return torch.stack([torch.exp(-((x - center) ** 2) / (2 * sigma**2)) for center in centers])


def spherical_bessel(x: Scalar, frequencies: Functions, cutoff: float) -> Functions:
    """√(2/cutoff³)·sin(f_n x)/x, and its limit √(2/cutoff³)·f_n at x = 0, where its slope is zero."""
    waves = [frequency * (1 + 0 * x) if x == 0 else torch.sin(frequency * x) / x for frequency in frequencies]
    return math.sqrt(2 / cutoff**3) * torch.stack(waves)


def bernstein(x: Scalar, count: int, gamma_raw: Scalar) -> Functions:
    """C(N-1, k) e^{-kγx} (1 - e^{-γx})^{N-1-k} with γ = ln(1 + e^g)."""
    gamma, n = torch.log(1 + torch.exp(gamma_raw)), count - 1
    decayed = torch.exp(-gamma * x)
    return torch.stack([math.comb(n, k) * decayed**k * (1 - decayed) ** (n - k) for k in range(count)])


def envelope(module: envelopes.Envelope, x: Scalar) -> Scalar:
    """The envelope of a basis at x = d/cutoff."""
    if isinstance(module, envelopes.Polynomial):
        return polynomial_envelope(x, module.exponent)
    if isinstance(module, envelopes.Exponential):
        return exponential_envelope(x)
    return module(x)


def radial_functions(basis: nn.Module, distance: Scalar) -> Functions:
    """The functions of a radial basis at one distance in Å, envelope and scale factor included."""
    if isinstance(basis, ScaledBasis):
        return scaled(basis.scale, radial_functions(basis.basis, distance))
    if not isinstance(basis, radial.RadialBasis):
        return basis(distance)
    x = distance / basis.cutoff
    if isinstance(basis, radial.Gaussian):
        functions = radial_gaussian(x, basis.centers.to(x.dtype))
    elif isinstance(basis, radial.SphericalBessel):
        functions = spherical_bessel(x, basis.frequencies, basis.cutoff)
    elif isinstance(basis, radial.Bernstein):
        functions = bernstein(x, basis.count, basis.gamma_raw)
    else:
        functions = basis.raw(x)
    return envelope(basis.envelope, x) * functions


# -- of one angle -----------------------------------------------------------------------------------------------------


def legendre_derivative(degree: int, times: int, z: Scalar) -> Scalar:
    """d^m/dz^m P_l(z), with P_l(z) = 2^-l Σ_k (-1)^k C(l, k) C(2l-2k, l) z^{l-2k}."""
    total = torch.zeros_like(z)
    for k in range((degree - times) // 2 + 1):
        power = degree - 2 * k
        coefficient = (-1) ** k * math.comb(degree, k) * math.comb(2 * degree - 2 * k, degree) / 2**degree
        total = total + coefficient * math.perm(power, times) * z ** (power - times)
    return total


def legendre(z: Scalar, count: int) -> Functions:
    """Y_l0(z) = √((2l+1)/4π) P_l(z) for l < L."""
    return torch.stack([_norm(degree) * legendre_derivative(degree, 0, z) for degree in range(count)])


def circular_gaussian(z: Scalar, count: int) -> Functions:
    """exp(-(z-μ_k)²/2σ²) with μ_k = -1 + 2k/(L-1) and σ = 2/(L-1)."""
    sigma = 2 / (count - 1)
    return torch.stack([torch.exp(-((z + 1 - k * sigma) ** 2) / (2 * sigma**2)) for k in range(count)])


def circular_functions(basis: nn.Module, cosine: Scalar) -> Functions:
    """The functions of a circular basis at one angle, scale factor included."""
    if isinstance(basis, ScaledBasis):
        return scaled(basis.scale, circular_functions(basis.basis, cosine))
    if isinstance(basis, circular.Legendre):
        return legendre(cosine, basis.count)
    if isinstance(basis, circular.Gaussian):
        return circular_gaussian(cosine, basis.count)
    return basis(cosine)


# -- of two angles ----------------------------------------------------------------------------------------------------


def chebyshev_coefficients(degree: int) -> list[float]:
    """C_kj of P_k(cos θ) = Σ_j C_kj cos jθ, for j = 0, …, k.

    P_k(cos θ) = Σ_i a_i a_{k-i} cos((k-2i)θ) with a_i = C(2i, i)/4^i.
    """
    a = [math.comb(2 * i, i) / 4**i for i in range(degree + 1)]
    coefficients = [0.0] * (degree + 1)
    for i in range(degree + 1):
        coefficients[abs(degree - 2 * i)] += a[i] * a[degree - i]
    return coefficients


def real_power(cosine: Scalar, imaginary_square: Scalar, exponent: int) -> Scalar:
    """Re w^j of w = cosine + i √imaginary_square: Σ_n C(j, 2n) (-1)^n cosine^{j-2n} imaginary_square^n."""
    total = torch.zeros_like(cosine)
    for n in range(exponent // 2 + 1):
        total = total + math.comb(exponent, 2 * n) * (-1) ** n * cosine ** (exponent - 2 * n) * imaginary_square**n
    return total


def imaginary_power(cosine: Scalar, sine: Scalar, exponent: int) -> Scalar:
    """Im w^j of w = cosine + i sine: Σ_n C(j, 2n+1) (-1)^n cosine^{j-2n-1} sine^{2n+1}."""
    total = torch.zeros_like(cosine)
    for n in range((exponent + 1) // 2):
        odd = 2 * n + 1
        total = total + math.comb(exponent, odd) * (-1) ** n * cosine ** (exponent - odd) * sine**odd
    return total


def azimuthal_legendre(azimuth: Azimuth, count: int) -> Functions:
    """√((2k+1)/4π) Σ_j C_kj ρ^j cos jθ for k < L, which is Y_k0(cos θ) where ρ = 1."""
    square = torch.ones_like(azimuth.cosine) if azimuth.square is None else azimuth.square
    imaginary_square = square - azimuth.cosine**2
    functions = []
    for degree in range(count):
        terms = [
            c * real_power(azimuth.cosine, imaginary_square, j) for j, c in enumerate(chebyshev_coefficients(degree))
        ]
        functions.append(_norm(degree) * torch.stack(terms).sum())
    return torch.stack(functions)


def legendre_outer(cos_polar: Scalar, azimuth: Azimuth, count: int) -> Functions:
    """Y_l0(cos φ) Y_k0(cos θ) at index lL + k, the second as `azimuthal_legendre`."""
    return torch.outer(legendre(cos_polar, count), azimuthal_legendre(azimuth, count)).flatten()


def gaussian_outer(cos_polar: Scalar, azimuth: Azimuth, count: int) -> Functions:
    """g_l(cos φ) g_k(ρ cos θ) at index lL + k."""
    return torch.outer(circular_gaussian(cos_polar, count), circular_gaussian(azimuth.cosine, count)).flatten()


def real_harmonics(cos_polar: Scalar, azimuth: Azimuth, count: int) -> Functions:
    """√((2l+1)/4π·(l-|m|)!/(l+|m|)!) sin^|m| φ P_l^(|m|)(cos φ)·{√2 Re w^m, 1, √2 Im w^|m|} for m > 0, m = 0, m < 0.

    w = ρ cos θ + i ρ sin θ, which is e^{iθ} where ρ = 1. By degree l, then m = 0, 1, …, l, -l, …, -1.
    """
    functions = []
    for degree in range(count):
        for order in (*range(degree + 1), *range(-degree, 0)):
            m = abs(order)
            norm = _norm(degree) * math.sqrt(math.factorial(degree - m) / math.factorial(degree + m))
            polar = norm * _power_of_sine(cos_polar, m) * legendre_derivative(degree, m, cos_polar)
            if order > 0:
                polar = math.sqrt(2) * polar * real_power(azimuth.cosine, azimuth.sine**2, m)
            elif order < 0:
                polar = math.sqrt(2) * polar * imaginary_power(azimuth.cosine, azimuth.sine, m)
            functions.append(polar)
    return torch.stack(functions)


def spherical_functions(basis: nn.Module, cos_polar: Scalar, azimuth: Azimuth) -> Functions:
    """The functions of a spherical basis at one pair of angles, scale factor included."""
    if isinstance(basis, ScaledBasis):
        return scaled(basis.scale, spherical_functions(basis.basis, cos_polar, azimuth))
    if isinstance(basis, spherical.LegendreOuter):
        return legendre_outer(cos_polar, azimuth, basis.count)
    if isinstance(basis, spherical.GaussianOuter):
        return gaussian_outer(cos_polar, azimuth, basis.count)
    if isinstance(basis, spherical.RealHarmonics):
        return real_harmonics(cos_polar, azimuth, basis.count)
    return basis(cos_polar, azimuth)


def _norm(degree: int) -> float:
    """√((2l+1)/4π)."""
    return math.sqrt((2 * degree + 1) / (4 * math.pi))


def _power_of_sine(cosine: Scalar, exponent: int) -> Scalar:
    """sin^m φ = (1 - cos² φ)^{m/2}; where the root has no derivative, at sin φ = 0, it counts as zero."""
    square = (1 - cosine) * (1 + cosine)
    if exponent % 2 == 0:
        return square ** (exponent // 2)
    root = torch.sqrt(square) if square > 0 else torch.zeros_like(square)
    return root * square ** (exponent // 2)
