"""Spherical bases: functions of the polar angle and the dihedral angle of a quadruplet."""

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
    r"""Expansion of a spherical basis in products of functions of φ and Fourier series of θ.

    $$B_{lN+k}(\varphi, \theta) = p_l(\cos\varphi) \sum_{j=0}^{J-1} C_{jk} \cos j\theta, \qquad 0 \le k < N.$$

    Sums over quadruplets can be factorized for bases of this form.

    Attributes:
        polar: maps cos φ to the functions p.
        coefficients: C, shape (J, N), in double precision or the precision of the basis.
    """

    polar: Callable[[Tensor], Tensor]
    coefficients: Float[Tensor, "multiples functions"]

    @property
    def count(self) -> int:
        """The number J of Fourier terms, including the constant j = 0."""
        return self.coefficients.shape[0]


class SphericalBasis(SinglePrecisionModule, ABC):
    """Base class of spherical bases: L² functions of a polar angle φ and an azimuth θ.

    In quadruplets c→a←b←d, φ is the angle φ_cab and θ is the dihedral angle θ_cabd. Subclasses are final and implement
    `from_options` and `forward`.

    Args:
        count: L, the square root of the number of functions.

    Attributes:
        size: L², the number of functions.

    Raises:
        ValueError: `count` is too small for the basis.
    """

    Options: ClassVar[type[Options]]
    """The class of the options that `from_options` takes."""

    count: int
    size: int
    degrees: tuple[int, ...] | None = None
    """The degree of each function in φ; None if the functions do not have a degree."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = whole_number(type(self).__name__, "count", count, least=1)
        self.size = self.count**2

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any) -> "SphericalBasis":
        """Construct the basis from its options."""

    @abstractmethod
    def forward(
        self, cos_polar: Float[Tensor, "*shape"], azimuth: Azimuth | Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape size"]:
        """Evaluate the L² functions.

        Args:
            cos_polar: cos φ in [-1, 1]; values that rounding has moved slightly outside are valid.
            azimuth: θ in radians, or as a complex number w with |w| ≤ 1, of the same shape; cos mθ is Re w^m, and sin
                mθ is Im w^m.
        """

    def azimuthal_series(self) -> AzimuthalSeries | None:
        """Return the expansion that factorized sums over quadruplets use, or None if the basis does not have one."""
        return None

    @override
    def extra_repr(self) -> str:
        return f"count={self.count}"


class LegendreOuterOptions(Options):
    """Options of a spherical basis of products of Legendre polynomials."""

    type: Literal["legendre_outer"] = "legendre_outer"
    """The kind of spherical basis."""
    count: int = Field(ge=1)
    """L: the number of polynomials of each angle, which gives L² products. GemNet-OC uses 7."""


@final
class LegendreOuter(SphericalBasis):
    r"""Products of two Legendre polynomials, one for each angle.

    $$B_{lL+k}(\varphi, \theta) = Y_{l0}(\cos\varphi)\, Y_{k0}(\cos\theta), \qquad 0 \le l, k < L,$$
    with the normalized polynomials $Y_{l0}$ of `circular.Legendre`.

    The azimuth enters as w with |w| ≤ 1, which is shorter than 1 if dihedral angles of nearly collinear atoms fade out.
    Then Re w^j takes the place of cos jθ in the Fourier series of $Y_{k0}(\cos\theta)$.

    Gasteiger et al., TMLR 2022, arXiv 2204.02782.

    Args:
        count: L ≥ 1, the number of polynomials of each angle; typical values are 5 to 7.

    Attributes:
        circular: the Legendre polynomials of one angle.

    Raises:
        ValueError: `count` is not an integer of at least 1.
    """

    Options: ClassVar[type[LegendreOuterOptions]] = LegendreOuterOptions

    _of_multiples: Tensor

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.circular = Legendre(self.count)
        self.degrees = tuple(degree for degree in range(self.count) for _ in range(self.count))
        self.register_buffer("_of_multiples", _harmonics_of_multiples(self.count), persistent=False)

    @classmethod
    @override
    def from_options(cls, options: LegendreOuterOptions) -> "LegendreOuter":
        return cls(options.count)

    @override
    def forward(
        self, cos_polar: Float[Tensor, "*shape"], azimuth: Azimuth | Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape size"]:
        azimuth = Azimuth.of(azimuth)
        if azimuth.square is None:
            return _outer(self.circular(cos_polar), self.circular(azimuth.cosine))
        multiples = torch.stack(_multiples(azimuth.cosine, azimuth.square, self.count), dim=-1)
        return _outer(self.circular(cos_polar), multiples @ self._of_multiples.to(multiples.dtype))

    @override
    def azimuthal_series(self) -> AzimuthalSeries:
        return AzimuthalSeries(self.circular, self._of_multiples)


class GaussianOuterOptions(Options):
    """Options of a spherical basis of products of Gaussians."""

    type: Literal["gaussian_outer"] = "gaussian_outer"
    """The kind of spherical basis."""
    count: int = Field(ge=2)
    """L: the number of Gaussians of each angle, which gives L² products."""


@final
class GaussianOuter(SphericalBasis):
    r"""Products of two Gaussians, one for each angle.

    $$B_{lL+k}(\varphi, \theta) = g_l(\cos\varphi)\, g_k(\cos\theta), \qquad 0 \le l, k < L,$$
    with the Gaussians $g$ of `circular.Gaussian`. Sums over quadruplets cannot be factorized for this basis.

    Gasteiger et al., TMLR 2022, arXiv 2204.02782.

    Args:
        count: L ≥ 2, the number of Gaussians of each angle; typical values are 5 to 10.

    Attributes:
        circular: the Gaussians of one angle.

    Raises:
        ValueError: `count` is not an integer of at least 2.
    """

    Options: ClassVar[type[GaussianOuterOptions]] = GaussianOuterOptions

    def __init__(self, count: int) -> None:
        super().__init__(whole_number("GaussianOuter", "count", count, least=2))
        self.circular = Gaussian(self.count)

    @classmethod
    @override
    def from_options(cls, options: GaussianOuterOptions) -> "GaussianOuter":
        return cls(options.count)

    @override
    def forward(
        self, cos_polar: Float[Tensor, "*shape"], azimuth: Azimuth | Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape size"]:
        return _outer(self.circular(cos_polar), self.circular(Azimuth.of(azimuth).cosine))


class RealHarmonicsOptions(Options):
    """Options of a spherical basis of real spherical harmonics."""

    type: Literal["real_harmonics"] = "real_harmonics"
    """The kind of spherical basis."""
    count: int = Field(ge=1)
    """L: the number of degrees, from 0 to L - 1, which gives L² harmonics. GemNet uses 7."""


@final
class RealHarmonics(SphericalBasis):
    r"""Real spherical harmonics of all degrees below L.

    $$Y_{lm}(\varphi, \theta) = N_{l|m|} P_l^{|m|}(\cos\varphi) \cdot
    \begin{cases} \sqrt 2 \cos m\theta & m > 0 \\ 1 & m = 0 \\ \sqrt 2 \sin |m|\theta & m < 0 \end{cases}, \qquad
    N_{lm} = \sqrt{\frac{2l+1}{4\pi} \frac{(l-m)!}{(l+m)!}},$$
    with $P_l^m(z) = (1-z^2)^{m/2}\, \mathrm d^m P_l/\mathrm dz^m$ and no Condon–Shortley phase. The harmonics are
    sorted by degree l and, within a degree, in the order m = 0, 1, …, l, -l, …, -1. Sums over quadruplets cannot be
    factorized for this basis.

    At the poles (|cos φ| = 1), the derivative of sin φ with respect to cos φ is infinite. Harmonics of even m contain
    only even powers of sin φ, which are polynomials in cos φ. In harmonics of odd m, the derivatives of sin φ are set
    to zero at the poles and where rounding gives |cos φ| > 1. All first and second derivatives are therefore finite,
    although those of odd m grow near the poles like 1/sin φ and 1/sin³ φ.

    Gasteiger et al., NeurIPS 2021, arXiv 2106.08903.

    Args:
        count: L ≥ 1, the number of degrees; typical values are 5 to 7.

    Raises:
        ValueError: `count` is not an integer of at least 1.
    """

    Options: ClassVar[type[RealHarmonicsOptions]] = RealHarmonicsOptions

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.degrees = tuple(degree for degree in range(self.count) for _ in range(2 * degree + 1))

    @classmethod
    @override
    def from_options(cls, options: RealHarmonicsOptions) -> "RealHarmonics":
        return cls(options.count)

    @override
    def forward(
        self, cos_polar: Float[Tensor, "*shape"], azimuth: Azimuth | Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape size"]:
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
    """Multiply all functions of the polar angle by all functions of the azimuth, which vary fastest."""
    return (polar[..., :, None] * azimuthal[..., None, :]).flatten(-2)


def _multiples(cosine: Tensor, square: Tensor, count: int) -> list[Tensor]:
    """Compute Re w^j for j < count from Re w and |w|² by w^(j+1) = 2 Re(w) w^j - |w|² w^(j-1)."""
    powers = [torch.ones_like(cosine), cosine]
    while len(powers) < count:
        powers.append(2 * cosine * powers[-1] - square * powers[-2])
    return powers[:count]


def _harmonics_of_multiples(count: int) -> Tensor:
    r"""Compute the Fourier coefficients C of Y_k0(cos θ) = Σ_j C[j, k] cos jθ in double precision.

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
    """Compute sin^m φ for m < count: even powers are polynomials in cos φ, odd powers contain one square root."""
    square = (1 - cos_polar) * (1 + cos_polar)
    # The derivative of the square root at zero is infinite; selecting only after the root would make the gradient NaN.
    pole = square <= 0
    root = torch.where(pole, torch.zeros_like(square), torch.where(pole, torch.ones_like(square), square).sqrt())
    powers = [torch.ones_like(cos_polar), root]
    for order in range(2, count):
        powers.append(powers[order - 2] * square)
    return powers


def _polar_polynomials(cos_polar: Tensor, order: int, count: int) -> list[Tensor]:
    r"""Compute $N_{lm} P_l^m(z) / \sin^m\varphi$ of one order m for l = m, …, count - 1, times √2 if m > 0.

    The recursion $(l-m+1) P_{l+1}^m = (2l+1) z P_l^m - (l+m) P_{l-1}^m$ starts from $P_m^m = (2m-1)!!\, \sin^m\varphi$,
    whose normalized square is $N_{mm}^2 ((2m-1)!!)^2 = (2m+1)/4\pi \cdot \binom{2m}{m}/4^m$ times $\sin^{2m}\varphi$.
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
    """√((l² - m²)/(4l² - 1)), the coefficient of the normalized recursion in the degree."""
    return math.sqrt((degree**2 - order**2) / (4 * degree**2 - 1))
