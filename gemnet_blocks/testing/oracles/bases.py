"""Reference definitions of angles and basis functions, for one edge, triplet or quadruplet at a time.

Functions named `..._functions` take the kind and the parameters from a basis module. A custom basis, which does not
have a definition here, is called itself.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from numpy import polynomial
from torch import Tensor, nn

from gemnet_blocks.basis import circular, envelopes, fourier_bessel, radial, spherical
from gemnet_blocks.geometry.angles import Azimuth, CollinearRule, RightAngle, SmoothCollinear
from gemnet_blocks.layers.scaled_basis import ScaledBasis
from gemnet_blocks.testing.oracles.layers import scaled

Scalar = Float[Tensor, ""]
Vector = Float[Tensor, "3"]
Functions = Float[Tensor, " functions"]


class Angles(NamedTuple):
    """Angles cos φ_abd, cos φ_cab and θ_cabd of one quadruplet; the vector of θ_cabd may be shorter than 1."""

    cos_at_source: Scalar
    cos_at_target: Scalar
    azimuth: Azimuth

    @property
    def dihedral(self) -> Scalar:
        """The dihedral angle θ_cabd, from 0 to π."""
        return torch.atan2(self.azimuth.sine, self.azimuth.cosine)


def angles(u_ca: Vector, u_ba: Vector, u_db: Vector, collinear: CollinearRule | None = None) -> Angles:
    """Compute the angles of one quadruplet c→a←b←d from the directions of its edges.

    cos φ_abd = u_db · u_ba, cos φ_cab = u_ca · u_ba, and θ_cabd is the angle between n_c = u_ca × u_ba and
    n_d = u_db × u_ba. For nearly collinear atoms, θ_cabd follows a rule:

    `RightAngle`: θ = atan2(max(|n_c × n_d|, 10⁻⁹), n_c · n_d). `SmoothCollinear` of width ε: v = n |n|²/(|n|²+ε²)^{3/2}
    for both normals, ρ cos θ = v_c · v_d, ρ² = |v_c|²|v_d|², ρ sin θ = y²/√(y²+ε²) with y = |v_c × v_d|.

    Args:
        u_ca: unit vector from c to a.
        u_ba: unit vector from b to a.
        u_db: unit vector from d to b.
        collinear: rule for collinear atoms with its parameters; None: `RightAngle`.

    Raises:
        TypeError: the rule is not built in.
    """
    n_c, n_d = torch.linalg.cross(u_ca, u_ba), torch.linalg.cross(u_db, u_ba)
    if collinear is None or isinstance(collinear, RightAngle):
        sine = torch.linalg.vector_norm(torch.linalg.cross(n_c, n_d)).clamp(min=1e-9)
        theta = torch.atan2(sine, n_c @ n_d)
        azimuth = Azimuth(theta.cos(), theta.sin())
    elif isinstance(collinear, SmoothCollinear):
        azimuth = _faded(n_c, n_d, collinear.width)
    else:
        raise TypeError(f"oracles do not define the rule {type(collinear).__name__} for collinear atoms")
    return Angles(u_db @ u_ba, u_ca @ u_ba, azimuth)


def _faded(n_c: Vector, n_d: Vector, width: float) -> Azimuth:
    v_c, v_d = (n * (n @ n) / (n @ n + width**2) ** 1.5 for n in (n_c, n_d))
    product = torch.linalg.cross(v_c, v_d)
    y_squared = product @ product
    return Azimuth(
        cosine=v_c @ v_d, sine=y_squared / torch.sqrt(y_squared + width**2), square=(v_c @ v_c) * (v_d @ v_d)
    )


def polynomial_envelope(x: Scalar, exponent: int) -> Scalar:
    """Evaluate 1 - (p+1)(p+2)/2·x^p + p(p+2) x^{p+1} - p(p+1)/2·x^{p+2} for x < 1, else 0."""
    p = exponent
    if x >= 1:
        return torch.zeros_like(x)
    return 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)


def exponential_envelope(x: Scalar) -> Scalar:
    """Evaluate exp(-x²/((1-x)(1+x))) for x < 1, else 0."""
    return torch.zeros_like(x) if x >= 1 else torch.exp(-(x**2) / ((1 - x) * (1 + x)))


def radial_gaussian(x: Scalar, centers: Functions) -> Functions:
    """Evaluate exp(-(x-μ_k)²/2σ²) with σ = 1/(N-1)."""
    sigma = 1 / (len(centers) - 1)
    return torch.stack([torch.exp(-((x - center) ** 2) / (2 * sigma**2)) for center in centers])


def spherical_bessel(x: Scalar, frequencies: Functions, cutoff: float) -> Functions:
    """Evaluate √(2/cutoff³)·sin(f_n x)/x, which at x = 0 has the limit √(2/cutoff³)·f_n and zero slope."""
    waves = [frequency * (1 + 0 * x) if x == 0 else torch.sin(frequency * x) / x for frequency in frequencies]
    return math.sqrt(2 / cutoff**3) * torch.stack(waves)


def bernstein(x: Scalar, count: int, gamma_raw: Scalar) -> Functions:
    """Evaluate C(N-1, k) e^{-kγx} (1 - e^{-γx})^{N-1-k} with γ = ln(1 + e^g)."""
    gamma, n = torch.log(1 + torch.exp(gamma_raw)), count - 1
    decayed = torch.exp(-gamma * x)
    return torch.stack([math.comb(n, k) * decayed**k * (1 - decayed) ** (n - k) for k in range(count)])


def fourier_bessel_functions(x: Scalar, basis: fourier_bessel.FourierBessel) -> Float[Tensor, "degrees count"]:
    """Evaluate √(2/cutoff³)·j_l(z_ln x)/|j_{l+1}(z_ln)| by j_l(y) = ½ ∫ P_l(t) cos(y t - lπ/2) dt over [-1, 1]."""
    zeros = _bessel_zeros(basis.degree_count, basis.count)
    if basis.zeros == "float32":
        zeros = zeros.float().double()
    rows = [_bessel(degree, z * x.double()) / _bessel(degree + 1, z).abs() for degree, z in enumerate(zeros)]
    return (math.sqrt(2 / basis.cutoff**3) * torch.stack(rows)).to(x.dtype)


@cache
def _bessel_zeros(degree_count: int, count: int) -> Float[Tensor, "degrees count"]:
    zeros = [radial.spherical_bessel_zeros(degree, count) for degree in range(degree_count)]
    return torch.stack([torch.as_tensor(of_degree) for of_degree in zeros])


def _bessel(degree: int, y: Float[Tensor, " points"]) -> Float[Tensor, " points"]:
    nodes, weights = (torch.as_tensor(one) for one in polynomial.legendre.leggauss(96))
    integrand = legendre_derivative(degree, 0, nodes) * torch.cos(y[:, None] * nodes - degree * math.pi / 2)
    return integrand @ weights / 2


def envelope(module: envelopes.Envelope, x: Scalar) -> Scalar:
    """Evaluate the envelope of a basis at x = d/cutoff."""
    if isinstance(module, envelopes.Polynomial):
        return polynomial_envelope(x, module.exponent)
    if isinstance(module, envelopes.Exponential):
        return exponential_envelope(x)
    return module(x)


def radial_functions(basis: nn.Module, distance: Scalar) -> Float[Tensor, "*degrees functions"]:
    """Evaluate a radial basis with its envelope and scale factor at one distance in Å."""
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
    elif isinstance(basis, fourier_bessel.FourierBessel):
        functions = fourier_bessel_functions(x, basis)
    else:
        functions = basis.raw(x)
    return envelope(basis.envelope, x) * functions


def legendre_derivative(degree: int, times: int, z: Scalar) -> Scalar:
    """Evaluate d^m/dz^m P_l(z) with P_l(z) = 2^-l Σ_k (-1)^k C(l, k) C(2l-2k, l) z^{l-2k}."""
    total = torch.zeros_like(z)
    for k in range((degree - times) // 2 + 1):
        power = degree - 2 * k
        coefficient = (-1) ** k * math.comb(degree, k) * math.comb(2 * degree - 2 * k, degree) / 2**degree
        total = total + coefficient * math.perm(power, times) * z ** (power - times)
    return total


def legendre(z: Scalar, count: int) -> Functions:
    """Evaluate Y_l0(z) = √((2l+1)/4π) P_l(z) for l < L."""
    return torch.stack([_norm(degree) * legendre_derivative(degree, 0, z) for degree in range(count)])


def circular_gaussian(z: Scalar, count: int) -> Functions:
    """Evaluate exp(-(z-μ_k)²/2σ²) with μ_k = -1 + 2k/(L-1) and σ = 2/(L-1)."""
    sigma = 2 / (count - 1)
    return torch.stack([torch.exp(-((z + 1 - k * sigma) ** 2) / (2 * sigma**2)) for k in range(count)])


def circular_functions(basis: nn.Module, cosine: Scalar) -> Functions:
    """Evaluate a circular basis with its scale factor at one angle."""
    if isinstance(basis, ScaledBasis):
        return scaled(basis.scale, circular_functions(basis.basis, cosine))
    if isinstance(basis, circular.Legendre):
        return legendre(cosine, basis.count)
    if isinstance(basis, circular.Gaussian):
        return circular_gaussian(cosine, basis.count)
    return basis(cosine)


def chebyshev_coefficients(degree: int) -> list[float]:
    """Compute the coefficients C_kj of P_k(cos θ) = Σ_j C_kj cos jθ for j = 0, …, k.

    P_k(cos θ) = Σ_i a_i a_{k-i} cos((k-2i)θ) with a_i = C(2i, i)/4^i.
    """
    a = [math.comb(2 * i, i) / 4**i for i in range(degree + 1)]
    coefficients = [0.0] * (degree + 1)
    for i in range(degree + 1):
        coefficients[abs(degree - 2 * i)] += a[i] * a[degree - i]
    return coefficients


def real_power(cosine: Scalar, imaginary_square: Scalar, exponent: int) -> Scalar:
    """Compute Re w^j of w = cosine + i √imaginary_square as Σ_n C(j, 2n) (-1)^n cosine^{j-2n} imaginary_square^n."""
    total = torch.zeros_like(cosine)
    for n in range(exponent // 2 + 1):
        total = total + math.comb(exponent, 2 * n) * (-1) ** n * cosine ** (exponent - 2 * n) * imaginary_square**n
    return total


def imaginary_power(cosine: Scalar, sine: Scalar, exponent: int) -> Scalar:
    """Compute Im w^j of w = cosine + i sine as Σ_n C(j, 2n+1) (-1)^n cosine^{j-2n-1} sine^{2n+1}."""
    total = torch.zeros_like(cosine)
    for n in range((exponent + 1) // 2):
        odd = 2 * n + 1
        total = total + math.comb(exponent, odd) * (-1) ** n * cosine ** (exponent - odd) * sine**odd
    return total


def azimuthal_legendre(azimuth: Azimuth, count: int) -> Functions:
    """Evaluate √((2k+1)/4π) Σ_j C_kj ρ^j cos jθ for k < L, which is Y_k0(cos θ) if ρ = 1."""
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
    """Evaluate Y_l0(cos φ) Y_k0(cos θ) at index lL + k, the second factor by `azimuthal_legendre`."""
    return torch.outer(legendre(cos_polar, count), azimuthal_legendre(azimuth, count)).flatten()


def gaussian_outer(cos_polar: Scalar, azimuth: Azimuth, count: int) -> Functions:
    """Evaluate the Gaussians g_l(cos φ) g_k(ρ cos θ) at index lL + k."""
    return torch.outer(circular_gaussian(cos_polar, count), circular_gaussian(azimuth.cosine, count)).flatten()


def real_harmonics(cos_polar: Scalar, azimuth: Azimuth, count: int) -> Functions:
    """Evaluate real spherical harmonics, ordered by degree l, then m = 0, 1, …, l, -l, …, -1.

    √((2l+1)/4π·(l-|m|)!/(l+|m|)!) sin^|m| φ P_l^(|m|)(cos φ)·{√2 Re w^m, 1, √2 Im w^|m|} for m > 0, m = 0, m < 0 with
    w = ρ cos θ + i ρ sin θ, which is e^{iθ} if ρ = 1.
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
    """Evaluate a spherical basis with its scale factor at one pair of angles."""
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
    return math.sqrt((2 * degree + 1) / (4 * math.pi))


def _power_of_sine(cosine: Scalar, exponent: int) -> Scalar:
    """Compute sin^m φ = (1 - cos² φ)^{m/2}; the derivative of the root at sin φ = 0 is zero by definition."""
    square = (1 - cosine) * (1 + cosine)
    if exponent % 2 == 0:
        return square ** (exponent // 2)
    root = torch.sqrt(square) if square > 0 else torch.zeros_like(square)
    return root * square ** (exponent // 2)
