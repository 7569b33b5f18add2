"""Zeros of the spherical Bessel functions, the starting frequencies of the spherical Bessel basis."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gemnet_blocks.options import whole_number


def spherical_bessel_zeros(order: int, count: int) -> NDArray[np.float64]:
    r"""Find the first positive zeros of the spherical Bessel function $j_l$.

    The zeros of $j_0(z) = \sin(z)/z$ are nπ. Those of $j_l$ lie one by one between neighboring zeros of $j_{l-1}$,
    which brackets each of them for Brent's method.

    Args:
        order: l ≥ 0.
        count: how many zeros, ≥ 0.

    Returns:
        The zeros in ascending order, shape (count,), in double precision to the last few bits.

    Raises:
        ValueError: `order` or `count` is no whole number of at least 0.
    """
    order = whole_number("spherical_bessel_zeros", "order", order, least=0)
    count = whole_number("spherical_bessel_zeros", "count", count, least=0)
    zeros = np.pi * np.arange(1, count + order + 1, dtype=np.float64)
    for degree in range(1, order + 1):
        zeros = _between(zeros, degree)
    return zeros


def _between(zeros: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """The zeros of j_l, given those of j_{l-1}."""
    # imported here, as they take a quarter of the time in which a command starts
    from scipy.optimize import brentq
    from scipy.special import spherical_jn

    def value(z: float) -> float:
        return float(spherical_jn(degree, z))

    return np.array([brentq(value, low, high, xtol=1e-14) for low, high in pairwise(zeros)])
