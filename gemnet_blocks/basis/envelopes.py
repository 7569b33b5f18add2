"""Envelopes: smooth functions that take every radial basis to zero at the cutoff."""

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
    """A function u(x) of the scaled distance x = d/cutoff with u(0) = 1 and u(x) = 0 for x ≥ 1.

    Subclasses are final: write `forward`, elementwise, with finite first and second derivatives for all x ≥ 0.
    """

    Options: ClassVar[type[Options]]
    """The class of the options that `from_options` takes."""

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any) -> "Envelope":
        """Make the envelope that the options describe."""

    @abstractmethod
    def forward(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Evaluate u(x), elementwise.

        Args:
            scaled_distance: x = d/cutoff ≥ 0, without unit; any shape.
        """


class PolynomialOptions(Options):
    """What a spec says of a polynomial envelope."""

    type: Literal["polynomial"] = "polynomial"
    """The kind of envelope."""
    exponent: int = Field(default=5, gt=0)
    """p: the envelope leaves 1 as x^p; larger values keep it near 1 for longer."""


@final
class Polynomial(Envelope):
    r"""The lowest polynomial that leaves 1 as x^p and meets 0 at the cutoff with two continuous derivatives.

    $$u(x) = 1 - \tfrac{(p+1)(p+2)}{2} x^p + p(p+2) x^{p+1} - \tfrac{p(p+1)}{2} x^{p+2}
    = (1-x)^3 \sum_{k<p} \tbinom{k+2}{2} x^k \quad (x < 1),\qquad u(x) = 0 \quad (x \ge 1).$$

    The second form is the one computed: near the cutoff it neither cancels nor becomes negative.

    Gasteiger et al., NeurIPS 2021, arXiv 2106.08903; first used in DimeNet, ICLR 2020, arXiv 2003.03123, equation 8.

    Args:
        exponent: p ≥ 1.

    Raises:
        ValueError: `exponent` is no whole number of at least 1.
    """

    Options: ClassVar[type[PolynomialOptions]] = PolynomialOptions

    def __init__(self, exponent: int = 5) -> None:
        super().__init__()
        self.exponent = whole_number("Polynomial", "exponent", exponent, least=1)

    @classmethod
    @override
    def from_options(cls, options: PolynomialOptions) -> "Polynomial":
        """Make the envelope that the options describe."""
        return cls(options.exponent)

    @override
    def forward(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Evaluate u(x), elementwise.

        Args:
            scaled_distance: x = d/cutoff ≥ 0, without unit; any shape.
        """
        x = scaled_distance.clamp(max=1)  # the triple zero at 1 makes everything beyond it zero, derivatives included
        total = torch.full_like(x, math.comb(self.exponent + 1, 2))
        for power in reversed(range(self.exponent - 1)):
            total = total * x + math.comb(power + 2, 2)
        rest = 1 - x
        return rest * rest * rest * total

    @override
    def extra_repr(self) -> str:
        return f"exponent={self.exponent}"


class ExponentialOptions(Options):
    """What a spec says of an exponential envelope."""

    type: Literal["exponential"] = "exponential"
    """The kind of envelope."""


@final
class Exponential(Envelope):
    r"""An envelope that is infinitely often differentiable everywhere.

    $$u(x) = \exp\!\left(-\frac{x^2}{(1-x)(1+x)}\right) \quad (x < 1),\qquad u(x) = 0 \quad (x \ge 1).$$

    Values below the smallest normal number of the floating-point type are zero, and so are their derivatives.

    Gasteiger et al., TMLR 2022, arXiv 2204.02782; introduced with SpookyNet, Unke et al. 2021, arXiv 2105.00304.
    """

    Options: ClassVar[type[ExponentialOptions]] = ExponentialOptions

    @classmethod
    @override
    def from_options(cls, options: ExponentialOptions) -> "Exponential":
        """Make the envelope that the options describe."""
        return cls()

    @override
    def forward(self, scaled_distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Evaluate u(x), elementwise.

        Args:
            scaled_distance: x = d/cutoff ≥ 0, without unit; any shape.
        """
        x = scaled_distance
        # x²/(1 - x²) = t where exp(-t) is the smallest normal number. Further out the value is zero to rounding, but
        # the derivatives of the quotient grow without bound. Selecting before as well as after the evaluation keeps
        # them out of the gradient: there 0 times infinity would be NaN.
        t = -math.log(torch.finfo(x.dtype).tiny)
        outside = x.abs() >= math.sqrt(t / (1 + t))  # not true of NaN, which stays NaN
        zero = torch.zeros_like(x)
        safe = torch.where(outside, zero, x)
        return torch.where(outside, zero, torch.exp(-safe * safe / ((1 - safe) * (1 + safe))))
