r"""Definitions of all basis functions as sympy expressions, for documentation, plots and tests.

The expressions are written to be read and checked rather than to be fast. The modules `envelopes`, `radial`, `circular`
and `spherical` compute the same functions numerically, and the tests compare both. The equations are those of Gasteiger
et al., NeurIPS 2021, arXiv 2106.08903 (GemNet) and TMLR 2022, arXiv 2204.02782 (GemNet-OC).

    >>> import sympy
    >>> z = sympy.Symbol("z")
    >>> sympy.expand(legendre(2, z))
    3*z**2/2 - 1/2

All functions share their arguments: `x` is the scaled distance d/cutoff, `z` the cosine of an angle, `phi` the polar
angle φ and `theta` the azimuth θ, in radians. Arguments may be symbols, numbers or other expressions.
"""

from collections.abc import Mapping

import mpmath
import numpy as np
import sympy
from numpy.typing import ArrayLike, NDArray


def polynomial_envelope(p: int, x: sympy.Expr) -> sympy.Expr:
    r"""Define the polynomial envelope of exponent p, which is zero for x ≥ 1.

    $$u(x) = 1 - \tfrac{(p+1)(p+2)}2 x^p + p(p+2) x^{p+1} - \tfrac{p(p+1)}2 x^{p+2}$$
    """
    p = sympy.Integer(p)
    inside = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    return sympy.Piecewise((inside, x < 1), (0, True))


def exponential_envelope(x: sympy.Expr) -> sympy.Expr:
    r"""Define the exponential envelope $\exp(-x^2/((1-x)(1+x)))$, which is zero for x ≥ 1."""
    return sympy.Piecewise((sympy.exp(-(x**2) / ((1 - x) * (1 + x))), x < 1), (0, True))


def gaussian(k: int, count: int, x: sympy.Expr, low: int = 0, high: int = 1) -> sympy.Expr:
    r"""Define Gaussian k = 0, …, count - 1 of `count` Gaussians with equally spaced centers.

    $$g_k(x) = \exp\big(-(x-\mu_k)^2/2\sigma^2\big),\qquad \mu_k = \text{low} + k\sigma$$

    Args:
        k: the index of the Gaussian.
        count: the number of Gaussians.
        x: the scaled distance (on [0, 1]) or the cosine of an angle (on [-1, 1]).
        low: the first center.
        high: the last center; the width σ is (high - low)/(count - 1).
    """
    spacing = sympy.Rational(high - low, count - 1)
    return sympy.exp(-((x - low - k * spacing) ** 2) / (2 * spacing**2))


def spherical_bessel(n: int, cutoff: sympy.Expr, x: sympy.Expr) -> sympy.Expr:
    r"""Define the spherical Bessel function of order 0 with n = 1, 2, … half waves within the cutoff c in Å.

    $$\sqrt{2/c^3}\,\sin(n\pi x)/x = \sqrt{2/c^3}\,n\pi\,j_0(n\pi x)$$
    """
    frequency = n * sympy.pi
    return sympy.sqrt(2 / sympy.sympify(cutoff) ** 3) * frequency * sympy.sinc(frequency * x)


def fourier_bessel(degree: int, zero: sympy.Expr, cutoff: sympy.Expr, x: sympy.Expr) -> sympy.Expr:
    r"""Define the spherical Bessel function of degree l with the zero z at the cutoff c in Å, normalized in the ball.

    $$\sqrt{2/c^3}\,j_l(z x)/|j_{l+1}(z)|, \qquad j_l(y) = \sqrt{\pi/2y}\,J_{l+1/2}(y)$$

    Args:
        degree: l ≥ 0.
        zero: a positive zero of $j_l$.
        cutoff: c in Å.
        x: the scaled distance, not 0.
    """

    def bessel(order: int, y: sympy.Expr) -> sympy.Expr:
        return sympy.sqrt(sympy.pi / (2 * y)) * sympy.besselj(order + sympy.Rational(1, 2), y)

    return sympy.sqrt(2 / sympy.sympify(cutoff) ** 3) * bessel(degree, zero * x) / sympy.Abs(bessel(degree + 1, zero))


def bernstein(k: int, count: int, gamma: sympy.Expr, x: sympy.Expr) -> sympy.Expr:
    r"""Define Bernstein polynomial k = 0, …, N - 1 of N = `count` polynomials with the decay rate γ, see `softplus`.

    $$\tbinom{N-1}{k} e^{-k\gamma x} (1-e^{-\gamma x})^{N-1-k}$$
    """
    decayed = sympy.exp(-gamma * x)
    return sympy.binomial(count - 1, k) * decayed**k * (1 - decayed) ** (count - 1 - k)


def softplus(g: sympy.Expr) -> sympy.Expr:
    r"""Define the positive number $\ln(1 + e^g)$ that a free parameter g is mapped to."""
    return sympy.log(1 + sympy.exp(g))


def legendre(degree: int, z: sympy.Expr) -> sympy.Expr:
    r"""Define the Legendre polynomial of degree l by Rodrigues' formula.

    $$P_l(z) = \frac1{2^l l!} \frac{\mathrm d^l}{\mathrm dz^l} (z^2-1)^l$$
    """
    return _legendre_derivative(degree, 0, z)


def zonal_harmonic(degree: int, z: sympy.Expr) -> sympy.Expr:
    r"""Define the spherical harmonic of degree l and order 0, $Y_{l0} = \sqrt{(2l+1)/4\pi}\,P_l(z)$."""
    return sympy.sqrt(sympy.Rational(2 * degree + 1, 4) / sympy.pi) * legendre(degree, z)


def legendre_outer(first: int, second: int, phi: sympy.Expr, theta: sympy.Expr) -> sympy.Expr:
    r"""Define the product $Y_{l0}(\cos\varphi)\,Y_{k0}(\cos\theta)$ with l = `first` and k = `second`."""
    return zonal_harmonic(first, sympy.cos(phi)) * zonal_harmonic(second, sympy.cos(theta))


def gaussian_outer(first: int, second: int, count: int, phi: sympy.Expr, theta: sympy.Expr) -> sympy.Expr:
    r"""Define the product $g_l(\cos\varphi)\,g_k(\cos\theta)$ of Gaussians with l = `first` and k = `second`."""
    return gaussian(first, count, sympy.cos(phi), low=-1) * gaussian(second, count, sympy.cos(theta), low=-1)


def real_harmonic(degree: int, order: int, phi: sympy.Expr, theta: sympy.Expr) -> sympy.Expr:
    r"""Define the real spherical harmonic of degree l and order m = -l, …, l, without Condon–Shortley phase.

    $$Y_{lm} = \sqrt{\frac{2l+1}{4\pi} \frac{(l-|m|)!}{(l+|m|)!}} \sin^{|m|}\varphi\, P_l^{(|m|)}(\cos\varphi) \cdot
    \{\sqrt 2 \cos m\theta,\; 1,\; \sqrt 2 \sin |m|\theta\} \text{ for } m > 0,\; m = 0,\; m < 0,$$
    where $P_l^{(m)}$ is the m-th derivative of the Legendre polynomial.
    """
    m = abs(order)
    ratio = sympy.factorial(degree - m) / sympy.factorial(degree + m)
    norm = sympy.sqrt(sympy.Rational(2 * degree + 1, 4) / sympy.pi * ratio)
    polar = norm * sympy.sin(phi) ** m * _legendre_derivative(degree, m, sympy.cos(phi))
    if order == 0:
        return polar
    return sympy.sqrt(2) * polar * (sympy.cos(m * theta) if order > 0 else sympy.sin(m * theta))


def harmonic_orders(count: int) -> list[tuple[int, int]]:
    """List degree and order (l, m) of all real harmonics with l < `count` in the order of `spherical.RealHarmonics`."""
    return [(degree, order) for degree in range(count) for order in (*range(degree + 1), *range(-degree, 0))]


def evaluate(expression: sympy.Expr, points: Mapping[sympy.Symbol, ArrayLike], digits: int = 40) -> NDArray[np.float64]:
    """Evaluate an expression at many points with high precision and round the results to double precision.

    Args:
        expression: the expression.
        points: a value or an array of values for each symbol; the arrays are broadcast against each other. Arrays of
            type `object` may contain mpmath numbers.
        digits: the number of decimal digits in intermediate results.

    Returns:
        The values in double precision, in the shape of the broadcast arrays.

    Raises:
        ValueError: the expression contains a symbol without values.
    """
    missing = sorted(str(symbol) for symbol in sympy.sympify(expression).free_symbols - set(points))
    if missing:
        raise ValueError(f"no values given for {', '.join(missing)}")
    compute = sympy.lambdify(list(points), expression, modules="mpmath")
    arrays = np.broadcast_arrays(*(np.asarray(values) for values in points.values()))
    shape = arrays[0].shape if arrays else ()
    with mpmath.workdps(digits):
        rows = zip(*(map(mpmath.mpf, array.ravel()) for array in arrays), strict=True) if arrays else [()]
        values = [float(compute(*row)) for row in rows]
    return np.array(values, dtype=np.float64).reshape(shape)


def _legendre_derivative(degree: int, times: int, at: sympy.Expr) -> sympy.Expr:
    """Differentiate a Legendre polynomial by Rodrigues' formula."""
    z = sympy.Dummy("z")
    rodrigues = sympy.Poly((z**2 - 1) ** degree / (2**degree * sympy.factorial(degree)), z)
    return rodrigues.diff((z, degree + times)).as_expr().subs(z, at)
