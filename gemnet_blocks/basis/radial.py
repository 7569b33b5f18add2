"""Radial bases: functions of a distance, each multiplied by an envelope that ends at the cutoff."""

import math
from abc import ABC, abstractmethod
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


class RadialBasis(SinglePrecisionModule, ABC):
    r"""N functions of a distance that vanish from the cutoff on.

    $$e_k(d) = u(x)\, f_k(x), \qquad x = d/d_\text{cut}, \quad k < N.$$

    Subclasses are final and define the raw functions f; the envelope u is independent of them.

    Args:
        cutoff: d_cut in Å.
        count: N.
        envelope: u; None means `Polynomial(exponent=5)`.

    Attributes:
        cutoff: d_cut in Å.
        count: N.
        envelope: u.

    Raises:
        ValueError: `cutoff` is not positive and finite, or `count` is too small for the basis.
        TypeError: `envelope` is no `Envelope`.
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
        """Make the basis that the options describe, for a cutoff in Å and an envelope."""

    @abstractmethod
    def raw(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        """Evaluate the functions f_k(x) without envelope.

        Args:
            scaled_distance: x = d/cutoff ≥ 0, without unit; any shape.
        """

    def forward(self, distances: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        """Evaluate the basis, u(x) f_k(x) with x = d/cutoff.

        Args:
            distances: d ≥ 0 in Å; any shape.
        """
        x = distances / self.cutoff
        return self.envelope(x)[..., None] * self.raw(x)

    @override
    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff:g}, count={self.count}"


class GaussianOptions(Options):
    """What a spec says of a radial basis of Gaussians."""

    type: Literal["gaussian"] = "gaussian"
    """The kind of radial basis."""
    count: int = Field(ge=2)
    """N: how many Gaussians."""
    trainable: bool = False
    """Whether the centres are trained."""


@final
class Gaussian(RadialBasis):
    r"""Gaussians of equal width, evenly spaced from the atom to the cutoff.

    $$f_k(x) = \exp\!\left(-\frac{(x-\mu_k)^2}{2\sigma^2}\right), \qquad \mu_k = \frac{k}{N-1}, \quad
    \sigma = \frac{1}{N-1}.$$

    Gasteiger et al., TMLR 2022, arXiv 2204.02782; the centres as in SchNet, Schütt et al. 2017, arXiv 1706.08566.

    Args:
        cutoff: d_cut in Å.
        count: N ≥ 2.
        envelope: u; None means `Polynomial(exponent=5)`.
        trainable: whether the centres are a parameter. The width is fixed.

    Attributes:
        centers: μ, shape (N,); a buffer or a parameter. The buffer is kept in double precision until the module is
            moved to another type, and used in the type of the distances.

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
        """Make the basis that the options describe, for a cutoff in Å and an envelope."""
        return cls(cutoff, options.count, envelope, trainable=options.trainable)

    @override
    def raw(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        """Evaluate the Gaussians without envelope.

        Args:
            scaled_distance: x = d/cutoff ≥ 0, without unit; any shape.
        """
        offsets = (scaled_distance[..., None] - self.centers.to(scaled_distance.dtype)) * (self.count - 1)
        return torch.exp(-0.5 * offsets * offsets)


class SphericalBesselOptions(Options):
    """What a spec says of a spherical Bessel basis."""

    type: Literal["spherical_bessel"] = "spherical_bessel"
    """The kind of radial basis."""
    count: int = Field(ge=1)
    """N: how many frequencies."""


@final
class SphericalBessel(RadialBasis):
    r"""The spherical waves in a ball of the cutoff's radius, with trainable frequencies.

    $$f_n(x) = \sqrt{\frac{2}{d_\text{cut}^3}}\, \frac{\sin(f_n x)}{x}, \qquad f_n = n\pi \text{ at first}.$$

    It is finite with all its derivatives at x = 0, where it is $\sqrt{2/d_\text{cut}^3}\, f_n$.

    Gasteiger et al., NeurIPS 2021, arXiv 2106.08903; first used in DimeNet, ICLR 2020, arXiv 2003.03123, equation 7.

    Args:
        cutoff: d_cut in Å.
        count: N ≥ 1.
        envelope: u; None means `Polynomial(exponent=5)`.

    Attributes:
        frequencies: f, without unit, shape (N,); a parameter.

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
        """Make the basis that the options describe, for a cutoff in Å and an envelope."""
        return cls(cutoff, options.count, envelope)

    @override
    def raw(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        """Evaluate the waves without envelope.

        Args:
            scaled_distance: x = d/cutoff ≥ 0, without unit; any shape.
        """
        amplitudes = math.sqrt(2 / self.cutoff**3) * self.frequencies
        return amplitudes * _sine_quotient(self.frequencies * scaled_distance[..., None])


class BernsteinOptions(Options):
    """What a spec says of a basis of Bernstein polynomials."""

    type: Literal["bernstein"] = "bernstein"
    """The kind of radial basis."""
    count: int = Field(ge=1, le=128)
    """N: how many polynomials."""
    gamma_raw: float = 0.45264
    """g at first."""


@final
class Bernstein(RadialBasis):
    r"""Bernstein polynomials of an exponentially decaying distance, with one trainable decay rate.

    $$f_k(x) = \binom{N-1}{k} e^{-k\gamma x} \left(1 - e^{-\gamma x}\right)^{N-1-k}, \qquad
    \gamma = \ln(1 + e^g).$$

    Gasteiger et al., TMLR 2022, arXiv 2204.02782; introduced with SpookyNet, Unke et al. 2021, arXiv 2105.00304.

    Args:
        cutoff: d_cut in Å.
        count: N, from 1 to 128: beyond, single precision no longer holds the intermediate factors.
        envelope: u; None means `Polynomial(exponent=5)`.
        gamma_raw: g at first.

    Attributes:
        gamma_raw: g, a scalar parameter.

    Raises:
        ValueError: `cutoff` is not positive and finite, or `count` is not from 1 to 128.
    """

    Options: ClassVar[type[BernsteinOptions]] = BernsteinOptions

    gamma_raw: nn.Parameter
    _peak_factors: Tensor

    def __init__(self, cutoff: float, count: int, envelope: Envelope | None = None, gamma_raw: float = 0.45264) -> None:
        super().__init__(cutoff, whole_number("Bernstein", "count", count, least=1, most=128), envelope)
        self.gamma_raw = nn.Parameter(torch.tensor(gamma_raw, dtype=torch.get_default_dtype()))
        degree = self.count - 1
        # C(n,k) (m/n)^m with m = n - k: the part of C(n,k) t^k (1-t)^m that goes with t^k when the other factor is
        # scaled to (n/m (1-t))^m. Both factors stay below e^(n/e), 2e20 for 128 functions, where C(n,k) alone is 1e37.
        factors = [math.comb(degree, k) * ((degree - k) / max(degree, 1)) ** (degree - k) for k in range(self.count)]
        self.register_buffer("_peak_factors", torch.tensor(factors, dtype=torch.float64), persistent=False)

    @classmethod
    @override
    def from_options(cls, options: BernsteinOptions, cutoff: float, envelope: Envelope | None = None) -> "Bernstein":
        """Make the basis that the options describe, for a cutoff in Å and an envelope."""
        return cls(cutoff, options.count, envelope, options.gamma_raw)

    @override
    def raw(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        """Evaluate the polynomials without envelope.

        Args:
            scaled_distance: x = d/cutoff ≥ 0, without unit; any shape.
        """
        degree = self.count - 1
        decay = (nn.functional.softplus(self.gamma_raw) * scaled_distance)[..., None]
        orders = torch.arange(self.count, dtype=decay.dtype, device=decay.device)
        decaying = self._peak_factors.to(decay.dtype) * torch.exp(-decay * orders)
        # The last function has the exponent 0. Its power is the constant 1, not a power: at d = 0 the derivatives of
        # 0^0 are 0 times infinity.
        exponents = degree - orders[:-1]
        rising = (-torch.expm1(-decay) * (degree / exponents)).pow(exponents)
        return decaying * nn.functional.pad(rising, (0, 1), value=1.0)


def _sine_quotient(y: Tensor) -> Tensor:
    """sin(y)/y; `torch.sinc` will not do, whose second derivative is NaN at 0 and loses all digits near it."""
    small = y.abs() < 0.1
    square = torch.where(small, y, torch.zeros_like(y)).square()
    series = 1 - square / 110
    for factor in (72, 42, 20, 6):
        series = 1 - square / factor * series
    away = torch.where(small, torch.ones_like(y), y)
    return torch.where(small, series, torch.sin(away) / away)
