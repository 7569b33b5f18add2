"""Circular bases: functions of the angle between two edges, given as its cosine."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.basis.legendre import LegendrePolynomials
from gemnet_blocks.options import Options, whole_number
from gemnet_blocks.util.precision import SinglePrecisionModule


class CircularBasis(SinglePrecisionModule, ABC):
    """Base class of circular bases: L functions of z = cos φ.

    Subclasses are final and implement `from_options` and `forward`.

    Args:
        count: L, the number of functions.

    Raises:
        ValueError: `count` is not an integer of at least 1.
    """

    Options: ClassVar[type[Options]]
    """The class of the options that `from_options` takes."""

    count: int
    degrees: tuple[int, ...] | None = None
    """The degree of each function; None if the functions do not have a degree."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = whole_number(type(self).__name__, "count", count, least=1)

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any) -> "CircularBasis":
        """Construct the basis from its options."""

    @abstractmethod
    def forward(self, cos_angle: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        """Evaluate the L functions.

        Args:
            cos_angle: z = cos φ in [-1, 1]; values that rounding has moved slightly outside are valid.
        """

    @override
    def extra_repr(self) -> str:
        return f"count={self.count}"


class LegendreOptions(Options):
    """Options of a circular basis of Legendre polynomials."""

    type: Literal["legendre"] = "legendre"
    """The kind of circular basis."""
    count: int = Field(ge=1)
    """L: the number of polynomials, of degrees 0 to L - 1. GemNet and GemNet-OC use 7."""


@final
class Legendre(CircularBasis):
    r"""Legendre polynomials, normalized as the spherical harmonics of order 0.

    $$Y_{l0}(z) = \sqrt{\frac{2l+1}{4\pi}}\, P_l(z), \qquad z = \cos\varphi, \quad 0 \le l < L.$$

    They are orthonormal on the unit sphere. A larger L resolves finer differences of angles; typical values are 5 to 7.

    Gasteiger et al., NeurIPS 2021, arXiv 2106.08903.

    Args:
        count: L ≥ 1, the number of polynomials.

    Raises:
        ValueError: `count` is not an integer of at least 1.
    """

    Options: ClassVar[type[LegendreOptions]] = LegendreOptions

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.degrees = tuple(range(self.count))
        self._polynomials = LegendrePolynomials(self.count)

    @classmethod
    @override
    def from_options(cls, options: LegendreOptions) -> "Legendre":
        return cls(options.count)

    @override
    def forward(self, cos_angle: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        return self._polynomials(cos_angle).movedim(0, -1)


class GaussianOptions(Options):
    """Options of a circular basis of Gaussians."""

    type: Literal["gaussian"] = "gaussian"
    """The kind of circular basis."""
    count: int = Field(ge=2)
    """L: the number of Gaussians, typically 5 to 10."""


@final
class Gaussian(CircularBasis):
    r"""Gaussians of the cosine, with equally spaced centers and a width equal to the spacing.

    $$g_k(z) = \exp\!\left(-\frac{(z-\mu_k)^2}{2\sigma^2}\right), \qquad \mu_k = -1 + \frac{2k}{L-1}, \quad
    \sigma = \frac{2}{L-1}, \quad 0 \le k < L.$$

    Gasteiger et al., TMLR 2022, arXiv 2204.02782.

    Args:
        count: L ≥ 2, the number of Gaussians; typical values are 5 to 10.

    Attributes:
        centers: μ, shape (L,); a buffer in double precision.

    Raises:
        ValueError: `count` is not an integer of at least 2.
    """

    Options: ClassVar[type[GaussianOptions]] = GaussianOptions

    centers: Tensor

    def __init__(self, count: int) -> None:
        super().__init__(whole_number("Gaussian", "count", count, least=2))
        self.register_buffer("centers", torch.linspace(-1, 1, self.count, dtype=torch.float64))

    @classmethod
    @override
    def from_options(cls, options: GaussianOptions) -> "Gaussian":
        return cls(options.count)

    @override
    def forward(self, cos_angle: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape count"]:
        offsets = (cos_angle[..., None] - self.centers.to(cos_angle.dtype)) * ((self.count - 1) / 2)
        return torch.exp(-0.5 * offsets * offsets)
