"""Spherical bases: functions of the two angles of a quadruplet, given as cosines and sines."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.basis.circular import Gaussian, Legendre
from gemnet_blocks.geometry.angles import Azimuth
from gemnet_blocks.options import Options, whole_number
from gemnet_blocks.util.precision import SinglePrecisionModule


@dataclass(frozen=True, slots=True, eq=False)
class AzimuthalSeries:
    r"""A spherical basis as products of functions of φ and sums of cos jθ.

    $$B_{lN+k}(\varphi, \theta) = p_l(\cos\varphi) \sum_j C_{jk} \cos j\theta, \qquad k < N.$$

    Attributes:
        polar: from cos φ to the functions p.
        coefficients: C, in double precision or the basis' own.
    """

    polar: Callable[[Tensor], Tensor]
    coefficients: Float[Tensor, "multiples functions"]

    @property
    def count(self) -> int:
        """The number of multiples jθ, 0 included."""
        return self.coefficients.shape[0]


class SphericalBasis(SinglePrecisionModule, ABC):
    """L² functions of a polar angle φ and an azimuth θ.

    Args:
        count: L.

    Attributes:
        count: L.
        size: L², the number of functions.

    Raises:
        ValueError: `count` is too small for the basis.
    """

    Options: ClassVar[type[Options]]
    """The class of the options that `from_options` takes."""

    count: int
    size: int

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = whole_number(type(self).__name__, "count", count, least=1)
        self.size = self.count**2

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any) -> "SphericalBasis":
        """Make the basis that the options describe."""

    @abstractmethod
    def forward(
        self,
        cos_polar: Float[Tensor, "*shape"],
        azimuth: Azimuth | Float[Tensor, "*shape"],
    ) -> Float[Tensor, "*shape size"]:
        """Evaluate the L² functions.

        Args:
            cos_polar: cos φ from -1 to 1, rounding errors beyond included; any shape.
            azimuth: θ in radians, or as a vector w of at most unit length; the same shape. cos mθ is Re w^m, sin mθ
                Im w^m.
        """

    def azimuthal_series(self) -> AzimuthalSeries | None:
        """The basis as a series, of which sums over quadruplets factorise; None where it is none."""
        return None

    @override
    def extra_repr(self) -> str:
        return f"count={self.count}"


class LegendreOuterOptions(Options):
    """What a spec says of a spherical basis of products of Legendre polynomials."""

    type: Literal["legendre_outer"] = "legendre_outer"
    """The kind of spherical basis."""
    count: int = Field(ge=1)
    """L: how many degrees for each of the two angles; L² products."""


@final
class LegendreOuter(SphericalBasis):
    r"""Products of two spherical harmonics of order 0, one for each angle.

    $$B_{lL+k}(\varphi, \theta) = Y_{l0}(\cos\varphi)\, Y_{k0}(\cos\theta), \qquad l, k < L.$$

    Where the azimuth is shorter than 1, cos jθ in P_k(cos θ) = Σ_j C_kj cos jθ stands for Re w^j.

    Gasteiger et al., TMLR 2022, arXiv 2204.02782.

    Args:
        count: L ≥ 1.

    Attributes:
        circular: the functions of one angle.

    Raises:
        ValueError: `count` is no whole number of at least 1.
    """

    Options: ClassVar[type[LegendreOuterOptions]] = LegendreOuterOptions

    _of_multiples: Tensor

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.circular = Legendre(self.count)
        self.register_buffer("_of_multiples", _harmonics_of_multiples(self.count), persistent=False)

    @classmethod
    @override
    def from_options(cls, options: LegendreOuterOptions) -> "LegendreOuter":
        """Make the basis that the options describe."""
        return cls(options.count)

    @override
    def forward(
        self,
        cos_polar: Float[Tensor, "*shape"],
        azimuth: Azimuth | Float[Tensor, "*shape"],
    ) -> Float[Tensor, "*shape size"]:
        """Evaluate the L² products.

        Args:
            cos_polar: cos φ from -1 to 1, rounding errors beyond included; any shape.
            azimuth: θ in radians, or as a vector w of at most unit length; the same shape.
        """
        azimuth = Azimuth.of(azimuth)
        if azimuth.square is None:
            return _outer(self.circular(cos_polar), self.circular(azimuth.cosine))
        multiples = torch.stack(_multiples(azimuth.cosine, azimuth.square, self.count), dim=-1)
        return _outer(self.circular(cos_polar), multiples @ self._of_multiples.to(multiples.dtype))

    @override
    def azimuthal_series(self) -> AzimuthalSeries:
        """Both angles' functions are Legendre polynomials, those of θ as sums of cos jθ."""
        return AzimuthalSeries(self.circular, self._of_multiples)


class GaussianOuterOptions(Options):
    """What a spec says of a spherical basis of products of Gaussians."""

    type: Literal["gaussian_outer"] = "gaussian_outer"
    """The kind of spherical basis."""
    count: int = Field(ge=2)
    """L: how many Gaussians for each of the two angles; L² products."""


@final
class GaussianOuter(SphericalBasis):
    r"""Products of two Gaussians, one for each angle.

    $$B_{lL+k}(\varphi, \theta) = g_l(\cos\varphi)\, g_k(\cos\theta), \qquad l, k < L,$$
    with the Gaussians $g$ of `circular.Gaussian`.

    Gasteiger et al., TMLR 2022, arXiv 2204.02782.

    Args:
        count: L ≥ 2.

    Attributes:
        circular: the functions of one angle.

    Raises:
        ValueError: `count` is no whole number of at least 2.
    """

    Options: ClassVar[type[GaussianOuterOptions]] = GaussianOuterOptions

    def __init__(self, count: int) -> None:
        super().__init__(whole_number("GaussianOuter", "count", count, least=2))
        self.circular = Gaussian(self.count)

    @classmethod
    @override
    def from_options(cls, options: GaussianOuterOptions) -> "GaussianOuter":
        """Make the basis that the options describe."""
        return cls(options.count)

    @override
    def forward(
        self,
        cos_polar: Float[Tensor, "*shape"],
        azimuth: Azimuth | Float[Tensor, "*shape"],
    ) -> Float[Tensor, "*shape size"]:
        """Evaluate the L² products.

        Args:
            cos_polar: cos φ from -1 to 1, rounding errors beyond included; any shape.
            azimuth: θ in radians, or as a vector w of at most unit length; the same shape.
        """
        return _outer(self.circular(cos_polar), self.circular(Azimuth.of(azimuth).cosine))


class RealHarmonicsOptions(Options):
    """What a spec says of a spherical basis of real spherical harmonics."""

    type: Literal["real_harmonics"] = "real_harmonics"
    """The kind of spherical basis."""
    count: int = Field(ge=1)
    """L: how many degrees, from 0 to L - 1; L² harmonics."""


@final
class RealHarmonics(SphericalBasis):
    r"""The real spherical harmonics of all degrees below L.

    $$Y_{lm}(\varphi, \theta) = N_{l|m|} P_l^{|m|}(\cos\varphi) \cdot
    \begin{cases} \sqrt 2 \cos m\theta & m > 0 \\ 1 & m = 0 \\ \sqrt 2 \sin |m|\theta & m < 0 \end{cases}, \qquad
    N_{lm} = \sqrt{\frac{2l+1}{4\pi} \frac{(l-m)!}{(l+m)!}},$$
    with $P_l^m(z) = (1-z^2)^{m/2}\, \mathrm d^m P_l/\mathrm dz^m$ (no Condon–Shortley sign). They follow one another by
    degree l, and within a degree in the order m = 0, 1, …, l, -l, …, -1.

    The values are exact everywhere. At the poles (|cos φ| = 1) sin φ has no derivative with respect to cos φ. Harmonics
    of odd m contain it once; its derivatives are taken as zero there and where rounding gives |cos φ| > 1. Harmonics
    of even m need no such choice: their powers of sin φ are polynomials in cos φ. So all first and second derivatives
    are finite, although those of odd m grow near the poles as 1/sin φ and 1/sin³ φ.

    Gasteiger et al., NeurIPS 2021, arXiv 2106.08903.

    Args:
        count: L ≥ 1.

    Raises:
        ValueError: `count` is no whole number of at least 1.
    """

    Options: ClassVar[type[RealHarmonicsOptions]] = RealHarmonicsOptions

    @classmethod
    @override
    def from_options(cls, options: RealHarmonicsOptions) -> "RealHarmonics":
        """Make the basis that the options describe."""
        return cls(options.count)

    @override
    def forward(
        self,
        cos_polar: Float[Tensor, "*shape"],
        azimuth: Azimuth | Float[Tensor, "*shape"],
    ) -> Float[Tensor, "*shape size"]:
        """Evaluate the L² harmonics by recursions in the degree and in the order.

        Args:
            cos_polar: cos φ from -1 to 1, rounding errors beyond included; any shape.
            azimuth: θ in radians, or as a vector w of at most unit length; the same shape. cos mθ is Re w^m, sin mθ
                Im w^m.
        """
        azimuth = Azimuth.of(azimuth)
        cosine, sine = torch.ones_like(azimuth.cosine), torch.zeros_like(azimuth.sine)
        sin_powers = _powers_of_sine(cos_polar, self.count)
        columns = [cos_polar] * self.size
        for order in range(self.count):
            if order > 0:  # w^m from w^(m-1)
                cosine, sine = (
                    cosine * azimuth.cosine - sine * azimuth.sine,
                    sine * azimuth.cosine + cosine * azimuth.sine,
                )
            even, odd = sin_powers[order] * cosine, sin_powers[order] * sine
            for degree, polar in enumerate(_polar_polynomials(cos_polar, order, self.count), start=order):
                columns[degree**2 + order] = polar * even
                if order > 0:
                    columns[(degree + 1) ** 2 - order] = polar * odd
        return torch.stack(columns, dim=-1)


def _outer(polar: Tensor, azimuthal: Tensor) -> Tensor:
    """The products of the functions of both angles, those of the azimuth running fastest."""
    return (polar[..., :, None] * azimuthal[..., None, :]).flatten(-2)


def _multiples(cosine: Tensor, square: Tensor, count: int) -> list[Tensor]:
    """Re w^j for j < count, from Re w and |w|²: w^(j+1) = 2 Re(w) w^j - |w|² w^(j-1)."""
    powers = [torch.ones_like(cosine), cosine]
    while len(powers) < count:
        powers.append(2 * cosine * powers[-1] - square * powers[-2])
    return powers[:count]


def _harmonics_of_multiples(count: int) -> Tensor:
    r"""Y_k0(cos θ) = Σ_j cos(jθ) C[j, k], shape (count, count), in double precision.

    $$P_k(\cos\theta) = \sum_{m=0}^{k} a_m a_{k-m} \cos\big((k-2m)\theta\big), \qquad
    a_m = \tbinom{2m}{m} / 4^m.$$
    """
    a = [math.comb(2 * m, m) / 4**m for m in range(count)]
    coefficients = torch.zeros(count, count, dtype=torch.float64)
    for k in range(count):
        for m in range(k + 1):
            coefficients[abs(k - 2 * m), k] += a[m] * a[k - m] * math.sqrt((2 * k + 1) / (4 * math.pi))
    return coefficients


def _powers_of_sine(cos_polar: Tensor, count: int) -> list[Tensor]:
    """sin^m φ for m < count: even powers are polynomials in cos φ, odd ones contain one square root."""
    square = (1 - cos_polar) * (1 + cos_polar)
    # The square root must not see zero: its derivative there is infinite, and selecting afterwards alone makes it NaN.
    pole = square <= 0
    root = torch.where(pole, torch.zeros_like(square), torch.where(pole, torch.ones_like(square), square).sqrt())
    powers = [torch.ones_like(cos_polar), root]
    for order in range(2, count):
        powers.append(powers[order - 2] * square)
    return powers


def _polar_polynomials(cos_polar: Tensor, order: int, count: int) -> list[Tensor]:
    r"""The polynomials $N_{lm} P_l^m(z) / \sin^m\varphi$ of one order m for l = m, …, count - 1, √2 included if m > 0.

    From $(l-m+1) P_{l+1}^m = (2l+1) z P_l^m - (l+m) P_{l-1}^m$ and $P_m^m = (2m-1)!!\, \sin^m\varphi$, normalised:
    the first is $N_{mm}^2 ((2m-1)!!)^2 = (2m+1)/4\pi \cdot \binom{2m}{m}/4^m$.
    """
    square = (2 * order + 1) / (4 * math.pi) * math.comb(2 * order, order) / 4**order
    columns = [torch.full_like(cos_polar, math.sqrt(2 * square if order > 0 else square))]
    for degree in range(order + 1, count):
        column = cos_polar * columns[-1]
        if degree > order + 1:
            column = column - _ratio(degree - 1, order) * columns[-2]
        columns.append(column / _ratio(degree, order))
    return columns


def _ratio(degree: int, order: int) -> float:
    """√((l² - m²)/(4l² - 1)), the coefficient of the normalised recursion in the degree."""
    return math.sqrt((degree**2 - order**2) / (4 * degree**2 - 1))
