"""Radial bases whose functions depend on the degree of the angular function beside them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Literal, cast, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from typing_extensions import Self, override

from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.envelopes import Envelope
from gemnet_blocks.basis.radial import RadialBasis, spherical_bessel_zeros
from gemnet_blocks.basis.spherical import SphericalBasis
from gemnet_blocks.options import Options, whole_number

Zeros = Literal["exact", "float32"]
"""exact: zeros in double precision; float32: rounded to single precision, as in published models."""

SERIES_BELOW = 0.8
"""The argument y/(l + 1) of j_l below which the ascending series is more precise than the recurrence."""


class DegreeRadialBasis(RadialBasis, ABC):
    """Base class of radial bases with N functions for each degree l, which stand beside angular functions of degree l.

    They multiply circular and spherical bases whose functions have a degree, and cannot be used by themselves.
    Subclasses are final and implement `from_options` and `raw`.

    Args:
        cutoff: d_cut in Å.
        count: N, the number of functions of each degree.
        degree_count: the number of degrees l = 0, 1, …; that of the angular basis.
        envelope: u; None for `Polynomial(exponent=5)`.

    Raises:
        ValueError: `cutoff` is not positive and finite, or `count` or `degree_count` is below 1.
        TypeError: `envelope` is not an `Envelope`.
    """

    degree_count: int

    def __init__(self, cutoff: float, count: int, degree_count: int, envelope: Envelope | None = None) -> None:
        super().__init__(cutoff, count, envelope)
        self.degree_count = whole_number(type(self).__name__, "degree_count", degree_count, least=1)

    @classmethod
    @abstractmethod
    @override
    def from_options(
        cls, options: Any, cutoff: float, envelope: Envelope | None = None, degree_count: int = 1
    ) -> "DegreeRadialBasis":
        """Construct the basis from its options, a cutoff in Å, an envelope and the number of degrees."""

    @abstractmethod
    @override
    def raw(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape degrees count"]:
        """Evaluate the functions of all degrees without the envelope.

        Args:
            scaled_distance: x = d/cutoff ≥ 0, dimensionless.
        """

    @override
    def forward(self, distances: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape degrees count"]:
        """Evaluate the basis.

        Args:
            distances: d ≥ 0 in Å.
        """
        x = distances / self.cutoff
        return self.envelope(x)[..., None, None] * self.raw(x)

    @override
    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, degree_count={self.degree_count}"


def degree_count(*bases: CircularBasis | SphericalBasis | None) -> int:
    """Return the number of degrees of the functions of angular bases; 1 if none of them has degrees."""
    degrees = [basis.degrees for basis in bases if basis is not None and basis.degrees is not None]
    return 1 + max((max(one) for one in degrees), default=0)


class FourierBesselOptions(Options):
    """Options of a radial basis of spherical Bessel functions of the degree of the angular function."""

    type: Literal["fourier_bessel"] = "fourier_bessel"
    """The kind of radial basis, only for `angular_radial`."""
    count: int = Field(ge=1, le=256)
    """N: the number of functions of each degree, typically 6; GemNet uses 6."""
    zeros: Zeros = "exact"
    """Zeros of the Bessel functions; exact: in double precision. float32: rounded to single precision, as in published
    weights of GemNet-Q and GemNet-T of 2021, whose energies and forces change by up to 10⁻⁶ otherwise."""


@final
class FourierBessel(DegreeRadialBasis):
    r"""Spherical Bessel functions of degree l with a zero at the cutoff: standing waves of all shapes in a sphere.

    $$R_{ln}(d) = u(x)\, \sqrt{\frac{2}{d_\text{cut}^3}}\, \frac{j_l(z_{ln} x)}{|j_{l+1}(z_{ln})|}, \qquad
    x = d/d_\text{cut}, \quad 0 \le l < L, \quad 1 \le n \le N,$$
    where $z_{ln}$ is the n-th positive zero of $j_l$. Without the envelope, the products $R_{ln} Y_{lm}$ with spherical
    harmonics are orthonormal in the ball of radius d_cut and solve the Schrödinger equation in it. Nothing is
    trainable.

    Gasteiger et al., DimeNet, ICLR 2020, arXiv 2003.03123, equation 6, and GemNet, NeurIPS 2021, arXiv 2106.08903.

    Args:
        cutoff: d_cut in Å.
        count: N ≥ 1, the number of functions of each degree; GemNet uses 6.
        degree_count: L ≥ 1, the number of degrees; GemNet uses 7.
        envelope: u; None for `Polynomial(exponent=5)`.
        zeros: exact, or float32 to round $z_{ln}$ to single precision as in published models.

    Raises:
        ValueError: `cutoff` is not positive and finite, `count` or `degree_count` is below 1, or `zeros` is unknown.
    """

    Options: ClassVar[type[FourierBesselOptions]] = FourierBesselOptions

    _zeros: Tensor
    _amplitudes: Tensor

    def __init__(
        self,
        cutoff: float,
        count: int,
        degree_count: int,
        envelope: Envelope | None = None,
        zeros: Zeros = "exact",
    ) -> None:
        super().__init__(cutoff, count, degree_count, envelope)
        if zeros not in ("exact", "float32"):
            raise ValueError(f"FourierBessel: zeros must be 'exact' or 'float32', got {zeros!r}")
        self.zeros = zeros
        z = _zeros_of_degrees(self.degree_count, self.count)
        if zeros == "float32":
            z = z.astype(np.float32).astype(np.float64)
        amplitudes = math.sqrt(2 / self.cutoff**3) / np.abs(_next_degree(z))
        for name, values in (("_zeros", z), ("_amplitudes", amplitudes)):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    @classmethod
    @override
    def from_options(
        cls, options: FourierBesselOptions, cutoff: float, envelope: Envelope | None = None, degree_count: int = 1
    ) -> "FourierBessel":
        return cls(cutoff, options.count, degree_count, envelope, options.zeros)

    @override
    def raw(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape degrees count"]:
        dtype = scaled_distance.dtype
        values = spherical_bessel(self._zeros.to(dtype) * scaled_distance[..., None, None])
        return self._amplitudes.to(dtype) * values

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # the constants move to other devices but stay in double precision, so that no conversion rounds them
        exact = self._zeros, self._amplitudes
        super()._apply(fn, recurse)
        self._zeros, self._amplitudes = (values.to(self._zeros.device) for values in exact)
        return self


def spherical_bessel(y: Float[Tensor, "*shape degrees count"]) -> Float[Tensor, "*shape degrees count"]:
    r"""Evaluate the spherical Bessel function $j_l$ of degree l = 0, 1, … at row l of y ≥ 0.

    Below y = 0.8 (l + 1), this is an ascending series, and above, the recurrence $j_{l+1} = (2l+1)/y\, j_l - j_{l-1}$.
    The terms of the series cancel each other at large y, and those of the recurrence at small y. Values and derivatives
    of any order are finite.
    """
    bound = SERIES_BELOW * torch.arange(1, y.shape[-2] + 1, dtype=y.dtype, device=y.device)[:, None]
    small = y < bound
    # each form gets harmless arguments where the other one is used, so that the gradients of both are finite
    series = _series(torch.where(small, y, torch.zeros_like(y)))
    return torch.where(small, series, _recurrence(torch.where(small, bound, y)))


def _series(y: Float[Tensor, "*shape degrees count"]) -> Float[Tensor, "*shape degrees count"]:
    r"""Evaluate $\frac{y^l}{(2l+1)!!} \sum_k \frac{(-y^2/2)^k}{k!\, (2l+3)(2l+5)\cdots(2l+2k+1)}$ for small y."""
    degree = torch.arange(y.shape[-2], dtype=y.dtype, device=y.device)[:, None]
    k = torch.arange(_term_count(y.shape[-2] - 1), 0, -1, dtype=y.dtype, device=y.device)[:, None, None]
    square, one = y * y, torch.ones_like(y)
    total = one
    for ratio in (0.5 / (k * (2 * (degree + k) + 1))).unbind(0):
        total = torch.addcmul(one, square * ratio, total, value=-1)
    rows = [total[..., 0, :]]
    for power in range(1, y.shape[-2]):  # rows of smaller degrees are complete
        total = total[..., 1:, :] * y[..., power:, :] / (2 * power + 1)
        rows.append(total[..., 0, :])
    return torch.stack(rows, dim=-2)


def _term_count(degree: int) -> int:
    """Return the number of terms of the series at its largest argument that double precision resolves."""
    count, term = 0, 1.0
    while term > 1e-18:
        count += 1
        term *= (SERIES_BELOW * (degree + 1)) ** 2 / (2 * count * (2 * degree + 2 * count + 1))
    return count


def _recurrence(y: Float[Tensor, "*shape degrees count"]) -> Float[Tensor, "*shape degrees count"]:
    """Evaluate j_l for large y, from j_{-1} = cos(y)/y and j_0 = sin(y)/y upwards."""
    inverse = 1 / y
    before, current = torch.cos(y) * inverse, torch.sin(y) * inverse
    rows = [current[..., 0, :]]
    for degree in range(1, y.shape[-2]):  # rows of smaller degrees are complete
        inverse = inverse[..., 1:, :]
        before, current = current[..., 1:, :], (2 * degree - 1) * inverse * current[..., 1:, :] - before[..., 1:, :]
        rows.append(current[..., 0, :])
    return torch.stack(rows, dim=-2)


@cache
def _zeros_of_degrees(degree_count: int, count: int) -> NDArray[np.float64]:
    """Find the zeros of j_l in row l, which takes a while and is repeated for every edge set of a model."""
    return np.stack([spherical_bessel_zeros(degree, count) for degree in range(degree_count)])


def _next_degree(zeros: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate j_{l+1} at the zeros of j_l in row l."""
    # imported here because scipy accounts for a quarter of the start-up time of a command
    from scipy.special import spherical_jn

    degrees = np.arange(1, len(zeros) + 1)[:, None]
    return cast("NDArray[np.float64]", spherical_jn(degrees, zeros))
