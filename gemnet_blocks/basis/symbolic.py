r"""The definitions of all basis functions as sympy expressions: for documentation, plots and tests.

Written to be read and checked, not to be fast; the modules `envelopes`, `radial`, `circular` and `spherical` compute
the same functions, and the tests compare the two. The equations are those of Gasteiger et al., NeurIPS 2021,
arXiv 2106.08903 (GemNet) and TMLR 2022, arXiv 2204.02782 (GemNet-OC).

    >>> import sympy
    >>> z = sympy.Symbol("z")
    >>> sympy.expand(legendre(2, z))
    3*z**2/2 - 1/2
"""

from collections.abc import Mapping

import mpmath
import numpy as np
import sympy
from numpy.typing import ArrayLike, NDArray


def polynomial_envelope(p: int, x: sympy.Expr) -> sympy.Expr:
    r"""The polynomial envelope, $1 - \frac{(p+1)(p+2)}2 x^p + p(p+2) x^{p+1} - \frac{p(p+1)}2 x^{p+2}$, 0 for x ≥ 1.

    Args:
        p: the exponent.
        x: the scaled distance d/cutoff.
    """
    p = sympy.Integer(p)
    inside = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    return sympy.Piecewise((inside, x < 1), (0, True))


def exponential_envelope(x: sympy.Expr) -> sympy.Expr:
    r"""The exponential envelope, $\exp(-x^2/((1-x)(1+x)))$, 0 for x ≥ 1.

    Args:
        x: the scaled distance d/cutoff.
    """
    return sympy.Piecewise((sympy.exp(-(x**2) / ((1 - x) * (1 + x))), x < 1), (0, True))


def gaussian(k: int, count: int, x: sympy.Expr, low: int = 0, high: int = 1) -> sympy.Expr:
    r"""Gaussian k of `count` even ones on [low, high], $\exp(-(x-\mu_k)^2/2\sigma^2)$, σ being the spacing.

    Args:
        k: which Gaussian, from 0.
        count: how many there are.
        x: the scaled distance d/cutoff (on [0, 1]) or the cosine of an angle (on [-1, 1]).
        low: the first centre.
        high: the last centre.
    """
    spacing = sympy.Rational(high - low, count - 1)
    return sympy.exp(-((x - low - k * spacing) ** 2) / (2 * spacing**2))


def spherical_bessel(n: int, cutoff: sympy.Expr, x: sympy.Expr) -> sympy.Expr:
    r"""Spherical wave n in a ball, $\sqrt{2/c^3}\,\sin(n\pi x)/x = \sqrt{2/c^3}\,n\pi\,j_0(n\pi x)$.

    Args:
        n: which wave, from 1.
        cutoff: c in Å.
        x: the scaled distance d/cutoff.
    """
    frequency = n * sympy.pi
    return sympy.sqrt(2 / sympy.sympify(cutoff) ** 3) * frequency * sympy.sinc(frequency * x)


def bernstein(k: int, count: int, gamma: sympy.Expr, x: sympy.Expr) -> sympy.Expr:
    r"""Bernstein polynomial k of `count`, $\binom{N-1}{k} e^{-k\gamma x} (1-e^{-\gamma x})^{N-1-k}$.

    Args:
        k: which polynomial, from 0.
        count: N.
        gamma: the decay rate γ, see `softplus`.
        x: the scaled distance d/cutoff.
    """
    decayed = sympy.exp(-gamma * x)
    return sympy.binomial(count - 1, k) * decayed**k * (1 - decayed) ** (count - 1 - k)


def softplus(g: sympy.Expr) -> sympy.Expr:
    r"""The positive number $\ln(1 + e^g)$ that a free parameter stands for.

    Args:
        g: the free parameter.
    """
    return sympy.log(1 + sympy.exp(g))


def legendre(degree: int, z: sympy.Expr) -> sympy.Expr:
    r"""The Legendre polynomial $P_l(z) = \frac1{2^l l!} \frac{\mathrm d^l}{\mathrm dz^l} (z^2-1)^l$ (Rodrigues).

    Args:
        degree: l.
        z: the cosine of an angle.
    """
    return _legendre_derivative(degree, 0, z)


def zonal_harmonic(degree: int, z: sympy.Expr) -> sympy.Expr:
    r"""The spherical harmonic of order 0, $Y_{l0} = \sqrt{(2l+1)/4\pi}\,P_l(z)$.

    Args:
        degree: l.
        z: the cosine of the polar angle.
    """
    return sympy.sqrt(sympy.Rational(2 * degree + 1, 4) / sympy.pi) * legendre(degree, z)


def legendre_outer(first: int, second: int, phi: sympy.Expr, theta: sympy.Expr) -> sympy.Expr:
    r"""The product $Y_{l0}(\cos\varphi)\,Y_{k0}(\cos\theta)$.

    Args:
        first: l.
        second: k.
        phi: the polar angle.
        theta: the azimuth.
    """
    return zonal_harmonic(first, sympy.cos(phi)) * zonal_harmonic(second, sympy.cos(theta))


def gaussian_outer(first: int, second: int, count: int, phi: sympy.Expr, theta: sympy.Expr) -> sympy.Expr:
    r"""The product of Gaussian l of cos φ and Gaussian k of cos θ.

    Args:
        first: l.
        second: k.
        count: how many Gaussians there are for each angle.
        phi: the polar angle.
        theta: the azimuth.
    """
    return gaussian(first, count, sympy.cos(phi), low=-1) * gaussian(second, count, sympy.cos(theta), low=-1)


def real_harmonic(degree: int, order: int, phi: sympy.Expr, theta: sympy.Expr) -> sympy.Expr:
    r"""The real spherical harmonic $Y_{lm}$, without Condon–Shortley sign.

    $$Y_{lm} = \sqrt{\frac{2l+1}{4\pi} \frac{(l-|m|)!}{(l+|m|)!}} \sin^{|m|}\varphi\, P_l^{(|m|)}(\cos\varphi) \cdot
    \{\sqrt 2 \cos m\theta,\; 1,\; \sqrt 2 \sin |m|\theta\} \text{ for } m > 0,\; m = 0,\; m < 0,$$
    with $P_l^{(m)}$ the m-th derivative of the Legendre polynomial.

    Args:
        degree: l.
        order: m, from -l to l.
        phi: the polar angle.
        theta: the azimuth.
    """
    m = abs(order)
    ratio = sympy.factorial(degree - m) / sympy.factorial(degree + m)
    norm = sympy.sqrt(sympy.Rational(2 * degree + 1, 4) / sympy.pi * ratio)
    polar = norm * sympy.sin(phi) ** m * _legendre_derivative(degree, m, sympy.cos(phi))
    if order == 0:
        return polar
    return sympy.sqrt(2) * polar * (sympy.cos(m * theta) if order > 0 else sympy.sin(m * theta))


def harmonic_orders(count: int) -> list[tuple[int, int]]:
    """Degree and order (l, m) of the L² real harmonics as they follow one another: m = 0, 1, …, l, -l, …, -1.

    Args:
        count: L.
    """
    return [(degree, order) for degree in range(count) for order in (*range(degree + 1), *range(-degree, 0))]


def evaluate(expression: sympy.Expr, points: Mapping[sympy.Symbol, ArrayLike], digits: int = 40) -> NDArray[np.float64]:
    """Evaluate an expression at many points with more digits than double precision has, then round.

    Args:
        expression: what to evaluate.
        points: a value or an array of values for each symbol; the arrays are broadcast against each other. Values of
            type `object` may be mpmath numbers.
        digits: the decimal digits to compute with.

    Returns:
        The values in double precision, shape of the broadcast arrays.

    Raises:
        ValueError: the expression contains a symbol that no values are given for.
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
    """The derivative of a Legendre polynomial, by Rodrigues' formula, at a value or an expression."""
    z = sympy.Dummy("z")
    rodrigues = (z**2 - 1) ** degree / (2**degree * sympy.factorial(degree))
    return sympy.expand(sympy.diff(rodrigues, z, degree + times)).subs(z, at)
