"""Radial bases: functions of the distance, multiplied by an envelope that vanishes at the cutoff."""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable
from itertools import pairwise
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from gemnet_blocks.basis.envelopes import Envelope, Polynomial
from gemnet_blocks.options import Options, positive_number, whole_number
from gemnet_blocks.util.precision import SinglePrecisionModule


def spherical_bessel_zeros(order: int, count: int) -> NDArray[np.float64]:
    r"""Find the first positive zeros of the spherical Bessel function $j_l$.

    The zeros of $j_0(z) = \sin(z)/z$ are nπ. Exactly one zero of $j_l$ lies between two neighboring zeros of $j_{l-1}$,
    which serve as the bracket of Brent's method.

    Args:
        order: l ≥ 0.
        count: the number of zeros, ≥ 0.

    Returns:
        The zeros in ascending order, shape (count,), accurate to the last few bits of double precision.

    Raises:
        ValueError: `order` or `count` is not an integer of at least 0.
    """
    order = whole_number("spherical_bessel_zeros", "order", order, least=0)
    count = whole_number("spherical_bessel_zeros", "count", count, least=0)
    zeros = np.pi * np.arange(1, count + order + 1, dtype=np.float64)
    for degree in range(1, order + 1):
        zeros = _between(zeros, degree)
    return zeros


def _between(zeros: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """Find the zeros of j_l between those of j_{l-1}."""
    # imported here because scipy accounts for a quarter of the start-up time of a command
    from scipy.optimize import brentq
    from scipy.special import spherical_jn

    def value(z: float) -> float:
        return float(spherical_jn(degree, z))

    return np.array([brentq(value, low, high, xtol=1e-14) for low, high in pairwise(zeros)])


class RadialBasis(SinglePrecisionModule, ABC):
    r"""Base class of radial bases: N functions of a distance that vanish at and beyond the cutoff.

    $$e_k(d) = u(x)\, f_k(x), \qquad x = d/d_\text{cut}, \quad 0 \le k < N.$$

    Subclasses are final and implement the functions f in `raw`; the envelope u can be chosen independently.

    Args:
        cutoff: d_cut in Å.
        count: N, the number of functions.
        envelope: u; None for `Polynomial(exponent=5)`.

    Raises:
        ValueError: `cutoff` is not positive and finite, or `count` is too small for the basis.
        TypeError: `envelope` is not an `Envelope`.
    """

    Options: ClassVar[type[Options]]
    """The class of the options that `from_options` takes."""

    cutoff: float
    count: int
    envelope: Envelope

    def __init__(self, cutoff: float, count: int, envelope: Envelope | None = None) -> None:
        super().__init__()
        name = type(self).__name__
        self.cutoff = positive_number(name, "cutoff", cutoff, unit="Å")
        self.count = whole_number(name, "count", count, least=1)
        if envelope is None:
            envelope = Polynomial(exponent=5)
        elif not isinstance(envelope, Envelope):
            raise TypeError(f"{name}: envelope must be an Envelope or None, got {envelope!r}")
        self.envelope = envelope

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any, cutoff: float, envelope: Envelope | None = None) -> "RadialBasis":
        """Construct the basis from its options, a cutoff in Å and an envelope."""

    @abstractmethod
    def raw(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        """Evaluate the functions f_k(x) without the envelope.

        Args:
            scaled_distance: x = d/cutoff ≥ 0, dimensionless.
        """

    def forward(self, distances: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        """Evaluate the basis, u(x) f_k(x) with x = d/cutoff.

        Args:
            distances: d ≥ 0 in Å.
        """
        return self.of_scaled(distances / self.cutoff)

    def of_scaled(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        """Evaluate the basis at scaled distances x = d/cutoff."""
        return self.envelope(x)[..., None] * self.raw(x)

    @property
    def function_key(self) -> Hashable | None:
        """A key that is equal for bases with the same functions of d/cutoff; None if other bases may differ."""
        return None

    @override
    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff:g}, count={self.count}"


class GaussianOptions(Options):
    """Options of a radial basis of Gaussians."""

    type: Literal["gaussian"] = "gaussian"
    """The kind of radial basis."""
    count: int = Field(ge=2)
    """N: the number of Gaussians, typically 32 to 128; GemNet-OC uses 128."""
    trainable: bool = False
    """Train the centers of the Gaussians; their width stays fixed."""


@final
class Gaussian(RadialBasis):
    r"""Gaussians with equally spaced centers from the atom to the cutoff and a width equal to the spacing.

    $$f_k(x) = \exp\!\left(-\frac{(x-\mu_k)^2}{2\sigma^2}\right), \qquad \mu_k = \frac{k}{N-1}, \quad
    \sigma = \frac{1}{N-1}, \quad x = d/d_\text{cut}.$$

    Gasteiger et al., TMLR 2022, arXiv 2204.02782; the centers follow SchNet, Schütt et al. 2017, arXiv 1706.08566.

    Args:
        cutoff: d_cut in Å.
        count: N ≥ 2, the number of Gaussians; typical values are 32 to 128.
        envelope: u; None for `Polynomial(exponent=5)`.
        trainable: True to train the centers; the width stays fixed.

    Attributes:
        centers: μ, dimensionless, shape (N,); a parameter if trainable, otherwise a buffer in double precision. It is
            converted to the type of the distances when the basis is evaluated.

    Raises:
        ValueError: `cutoff` is not positive and finite, or `count` is below 2.
    """

    Options: ClassVar[type[GaussianOptions]] = GaussianOptions

    centers: Tensor

    def __init__(self, cutoff: float, count: int, envelope: Envelope | None = None, trainable: bool = False) -> None:
        super().__init__(cutoff, whole_number("Gaussian", "count", count, least=2), envelope)
        centers = torch.linspace(0, 1, self.count, dtype=torch.float64)
        if trainable:
            self.centers = nn.Parameter(centers.to(torch.get_default_dtype()))
        else:
            self.register_buffer("centers", centers)

    @classmethod
    @override
    def from_options(cls, options: GaussianOptions, cutoff: float, envelope: Envelope | None = None) -> "Gaussian":
        return cls(cutoff, options.count, envelope, trainable=options.trainable)

    @property
    @override
    def function_key(self) -> Hashable | None:
        trained = isinstance(self.centers, nn.Parameter)
        return None if trained else (type(self), self.count, self.centers.dtype, repr(self.envelope))

    @override
    def raw(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        offsets = (scaled_distance[..., None] - self.centers.to(scaled_distance.dtype)) * (self.count - 1)
        return torch.exp(-0.5 * offsets * offsets)


class SphericalBesselOptions(Options):
    """Options of a radial basis of spherical Bessel functions."""

    type: Literal["spherical_bessel"] = "spherical_bessel"
    """The kind of radial basis."""
    count: int = Field(ge=1)
    """N: the number of frequencies, typically 6 to 16; GemNet uses 6."""


@final
class SphericalBessel(RadialBasis):
    r"""Spherical Bessel functions of order 0 with trainable frequencies: standing waves in a sphere of radius d_cut.

    $$f_n(x) = \sqrt{\frac{2}{d_\text{cut}^3}}\, \frac{\sin(w_n x)}{x}, \qquad x = d/d_\text{cut}, \quad
    1 \le n \le N.$$

    The frequencies w are initialized to nπ, the zeros of $j_0$. At x = 0 the functions and all of their derivatives are
    finite, with the value $\sqrt{2/d_\text{cut}^3}\, w_n$.

    Gasteiger et al., NeurIPS 2021, arXiv 2106.08903; first used in DimeNet, ICLR 2020, arXiv 2003.03123, equation 7.

    Args:
        cutoff: d_cut in Å.
        count: N ≥ 1, the number of frequencies; typical values are 6 to 16.
        envelope: u; None for `Polynomial(exponent=5)`.

    Attributes:
        frequencies: w, dimensionless, shape (N,); a parameter.

    Raises:
        ValueError: `cutoff` is not positive and finite, or `count` is below 1.
    """

    Options: ClassVar[type[SphericalBesselOptions]] = SphericalBesselOptions

    frequencies: nn.Parameter

    def __init__(self, cutoff: float, count: int, envelope: Envelope | None = None) -> None:
        super().__init__(cutoff, count, envelope)
        zeros = torch.as_tensor(spherical_bessel_zeros(0, self.count))
        self.frequencies = nn.Parameter(zeros.to(torch.get_default_dtype()))

    @classmethod
    @override
    def from_options(
        cls, options: SphericalBesselOptions, cutoff: float, envelope: Envelope | None = None
    ) -> "SphericalBessel":
        return cls(cutoff, options.count, envelope)

    @override
    def raw(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        amplitudes = math.sqrt(2 / self.cutoff**3) * self.frequencies
        return amplitudes * _sine_quotient(self.frequencies * scaled_distance[..., None])


class BernsteinOptions(Options):
    """Options of a radial basis of Bernstein polynomials."""

    type: Literal["bernstein"] = "bernstein"
    """The kind of radial basis."""
    count: int = Field(ge=1, le=128)
    """N: the number of polynomials, typically 16 to 128."""
    gamma_raw: float = 0.45264
    """Initial value of g, which determines the decay rate γ = ln(1 + e^g)."""


@final
class Bernstein(RadialBasis):
    r"""Bernstein polynomials of exp(-γx) with one trainable decay rate γ.

    $$f_k(x) = \binom{N-1}{k} e^{-k\gamma x} \left(1 - e^{-\gamma x}\right)^{N-1-k}, \qquad
    \gamma = \ln(1 + e^g), \quad x = d/d_\text{cut}, \quad 0 \le k < N.$$

    The exponential resolves short distances more finely than long ones.

    Gasteiger et al., TMLR 2022, arXiv 2204.02782; introduced with SpookyNet, Unke et al. 2021, arXiv 2105.00304.

    Args:
        cutoff: d_cut in Å.
        count: N, the number of polynomials, from 1 to 128; typical values are 16 to 128. With more functions,
            intermediate factors would overflow in single precision.
        envelope: u; None for `Polynomial(exponent=5)`.
        gamma_raw: the initial value of g. The default, from published models, gives γ = 0.945.

    Attributes:
        gamma_raw: g, a scalar parameter.

    Raises:
        ValueError: `cutoff` is not positive and finite, or `count` is not an integer from 1 to 128.
    """

    Options: ClassVar[type[BernsteinOptions]] = BernsteinOptions

    gamma_raw: nn.Parameter
    _peak_factors: Tensor

    def __init__(self, cutoff: float, count: int, envelope: Envelope | None = None, gamma_raw: float = 0.45264) -> None:
        super().__init__(cutoff, whole_number("Bernstein", "count", count, least=1, most=128), envelope)
        self.gamma_raw = nn.Parameter(torch.tensor(gamma_raw, dtype=torch.get_default_dtype()))
        degree = self.count - 1
        # With n = N - 1, m = n - k and t = exp(-γx), f_k is the product of C(n,k) (m/n)^m t^k and (n/m (1-t))^m. Both
        # factors stay below e^(n/e), which is 2e20 for 128 functions, whereas C(n,k) alone reaches 1e37.
        factors = [math.comb(degree, k) * ((degree - k) / max(degree, 1)) ** (degree - k) for k in range(self.count)]
        self.register_buffer("_peak_factors", torch.tensor(factors, dtype=torch.float64), persistent=False)

    @classmethod
    @override
    def from_options(cls, options: BernsteinOptions, cutoff: float, envelope: Envelope | None = None) -> "Bernstein":
        return cls(cutoff, options.count, envelope, options.gamma_raw)

    @override
    def raw(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        degree = self.count - 1
        decay = (nn.functional.softplus(self.gamma_raw) * scaled_distance)[..., None]
        orders = torch.arange(self.count, dtype=decay.dtype, device=decay.device)
        decaying = self._peak_factors.to(decay.dtype) * torch.exp(-decay * orders)
        # The last function has the exponent 0. Its factor is the constant 1 instead of a power, because at d = 0 the
        # derivatives of 0^0 would be 0 times infinity.
        exponents = degree - orders[:-1]
        rising = (-torch.expm1(-decay) * (degree / exponents)).pow(exponents)
        return decaying * nn.functional.pad(rising, (0, 1), value=1.0)


def _sine_quotient(y: Tensor) -> Tensor:
    """Compute sin(y)/y; the second derivative of `torch.sinc` is NaN at 0 and inaccurate near it."""
    small = y.abs() < 0.1
    square = torch.where(small, y, torch.zeros_like(y)).square()
    series = 1 - square / 110
    for factor in (72, 42, 20, 6):
        series = 1 - square / factor * series
    away = torch.where(small, torch.ones_like(y), y)
    return torch.where(small, series, torch.sin(away) / away)
