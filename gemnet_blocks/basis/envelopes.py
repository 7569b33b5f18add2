"""Envelopes: smooth functions that bring every radial basis to zero at the cutoff."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from gemnet_blocks.options import Options, whole_number


class Envelope(nn.Module, ABC):
    """Base class of envelopes: functions u(x) of the scaled distance x = d/cutoff.

    An envelope decreases from u(0) = 1 to u(1) = 0 and is zero beyond the cutoff, so that the energy does not jump when
    an atom crosses it. Subclasses are final and implement `from_options` and `forward`. The first and second
    derivatives must be finite for all x ≥ 0.
    """

    Options: ClassVar[type[Options]]
    """The class of the options that `from_options` takes."""

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any) -> "Envelope":
        """Construct the envelope from its options."""

    @abstractmethod
    def forward(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Evaluate u(x) elementwise.

        Args:
            scaled_distance: x = d/cutoff ≥ 0, dimensionless.
        """


class PolynomialOptions(Options):
    """Options of a polynomial envelope."""

    type: Literal["polynomial"] = "polynomial"
    """The kind of envelope."""
    exponent: int = Field(default=5, gt=0)
    """p: the envelope is 1 - O(x^p) near the atom. Larger values keep it near 1 up to larger distances and make it fall
    more steeply; GemNet uses 5, DimeNet 6."""


@final
class Polynomial(Envelope):
    r"""Polynomial of the lowest degree with u = 1 - O(x^p) at the atom and a triple zero at the cutoff.

    $$u(x) = 1 - \tfrac{(p+1)(p+2)}{2} x^p + p(p+2) x^{p+1} - \tfrac{p(p+1)}{2} x^{p+2}
    = (1-x)^3 \sum_{k<p} \tbinom{k+2}{2} x^k \quad (x < 1),\qquad u(x) = 0 \quad (x \ge 1).$$

    Value, slope and curvature are continuous at the cutoff. The second form is the one that is evaluated, because it
    neither loses digits by cancellation nor becomes negative near the cutoff.

    Gasteiger et al., NeurIPS 2021, arXiv 2106.08903; first used in DimeNet, ICLR 2020, arXiv 2003.03123, equation 8.

    Args:
        exponent: p ≥ 1; typical values are 5 and 6. Larger values keep the envelope near 1 up to larger distances.

    Raises:
        ValueError: `exponent` is not an integer of at least 1.
    """

    Options: ClassVar[type[PolynomialOptions]] = PolynomialOptions

    def __init__(self, exponent: int = 5) -> None:
        super().__init__()
        self.exponent = whole_number("Polynomial", "exponent", exponent, least=1)

    @classmethod
    @override
    def from_options(cls, options: PolynomialOptions) -> "Polynomial":
        return cls(options.exponent)

    @override
    def forward(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        x = scaled_distance.clamp(max=1)  # beyond the triple zero at 1, value and two derivatives are zero
        total = torch.full_like(x, math.comb(self.exponent + 1, 2))
        for power in reversed(range(self.exponent - 1)):
            total = total * x + math.comb(power + 2, 2)
        rest = 1 - x
        return rest * rest * rest * total

    @override
    def extra_repr(self) -> str:
        return f"exponent={self.exponent}"


class ExponentialOptions(Options):
    """Options of an exponential envelope."""

    type: Literal["exponential"] = "exponential"
    """The kind of envelope."""


@final
class Exponential(Envelope):
    r"""Envelope with continuous derivatives of all orders.

    $$u(x) = \exp\!\left(-\frac{x^2}{(1-x)(1+x)}\right) \quad (x < 1),\qquad u(x) = 0 \quad (x \ge 1).$$

    Near the cutoff, where u is smaller than the smallest normal number of the floating-point type, value and
    derivatives are exactly zero.

    Gasteiger et al., TMLR 2022, arXiv 2204.02782; introduced with SpookyNet, Unke et al. 2021, arXiv 2105.00304.
    """

    Options: ClassVar[type[ExponentialOptions]] = ExponentialOptions

    @classmethod
    @override
    def from_options(cls, options: ExponentialOptions) -> "Exponential":
        return cls()

    @override
    def forward(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        x = scaled_distance
        # x²/(1 - x²) = t where exp(-t) is the smallest normal number. Beyond this x, the value rounds to zero, but the
        # derivatives of the quotient grow without bound, and 0 times infinity would make the gradient NaN. Therefore
        # these points are replaced before the evaluation as well as after it.
        t = -math.log(torch.finfo(x.dtype).tiny)
        outside = x.abs() >= math.sqrt(t / (1 + t))  # false for NaN, which stays NaN
        zero = torch.zeros_like(x)
        safe = torch.where(outside, zero, x)
        return torch.where(outside, zero, torch.exp(-safe * safe / ((1 - safe) * (1 + safe))))
