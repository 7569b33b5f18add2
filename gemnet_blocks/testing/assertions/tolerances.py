"""How far numbers that ought to be equal may be apart, and why: every tolerance of the assertions, in one place.

A deviation is measured against a size of the same unit: energies against the largest |energy| compared, forces against
the largest |force|, sums of forces against the sum of their lengths. Against the energies of single atoms, whose
rounding errors the sum inherits, they would be measured better; but a model that is any callable does not tell them.
The absolute part takes their place where terms cancel: it is what sums of terms of size one leave behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

Quantity = Literal[
    "symmetry of energies",
    "symmetry of forces",
    "jumps of energies",
    "jumps of forces",
    "finite differences",
    "balance",
    "single precision energies",
    "single precision forces",
    "single precision functions",
    "values",
    "gradients",
]
"""What is compared."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A deviation is allowed up to `relative` times a size, and always up to `absolute`.

    Attributes:
        relative: without unit.
        absolute: in the unit of what is compared.
    """

    relative: float
    absolute: float

    def limit(self, size: float) -> float:
        """The greatest deviation that is allowed of numbers of that size."""
        return max(self.absolute, self.relative * size)


TOLERANCES: Mapping[Quantity, Mapping[torch.dtype, Tolerance]] = {
    # The limits that the library publishes for relative spreads of energies, on degenerate structures too: sums of
    # some thousand terms, each with a few roundings, of distances that were rounded when the structure was moved.
    "symmetry of energies": {
        torch.float64: Tolerance(1e-12, 1e-12),
        torch.float32: Tolerance(2e-6, 2e-6),
    },
    # Derivatives: the same roundings times what bases and angles are steep by. Where directions fade out next to a
    # line, within 10⁻⁴, that is four digits.
    "symmetry of forces": {
        torch.float64: Tolerance(1e-8, 1e-9),
        torch.float32: Tolerance(2e-3, 2e-4),
    },
    # Two points 10⁻¹⁰ Å apart: roundings, and bends with slopes up to 10³ energies per Å; the change that both
    # neighboring pairs show too is subtracted.
    "jumps of energies": {
        torch.float64: Tolerance(1e-7, 1e-10),
        torch.float32: Tolerance(1e-5, 1e-5),
    },
    # Forces may bend sharply, as in the fading out of directions: their second derivative times the square of 10⁻¹⁰ Å.
    "jumps of forces": {
        torch.float64: Tolerance(1e-5, 1e-8),
        torch.float32: Tolerance(5e-3, 1e-3),
    },
    # Extrapolated central differences, with the best of several steps: rounding of energies divided by the step.
    "finite differences": {
        torch.float64: Tolerance(1e-6, 1e-8),
        torch.float32: Tolerance(1e-2, 2e-3),
    },
    # Sums over atoms of forces whose terms, pair by pair, cancel exactly but for rounding. The absolute part is for
    # perfect crystals, where the force on each atom is itself such a sum.
    "balance": {
        torch.float64: Tolerance(1e-10, 1e-10),
        torch.float32: Tolerance(1e-4, 1e-4),
    },
    # A few tens of layers in single precision against double precision, by the type computed in. Models that lose more
    # subtract large numbers somewhere.
    "single precision energies": {torch.float32: Tolerance(2e-5, 2e-5)},
    "single precision forces": {torch.float32: Tolerance(2e-3, 1e-3)},
    # Of basis functions, whose argument times 10 to 100 is rounded before it goes into a sine or an exponential.
    "single precision functions": {torch.float32: Tolerance(1e-4, 1e-6)},
    # Two ways to the same sum of some hundred terms.
    "values": {
        torch.float64: Tolerance(1e-12, 1e-12),
        torch.float32: Tolerance(2e-5, 2e-5),
    },
    # … and the sums that differentiation makes of each of its steps.
    "gradients": {
        torch.float64: Tolerance(1e-11, 1e-11),
        torch.float32: Tolerance(1e-4, 1e-4),
    },
}
"""What is allowed of each quantity, by the floating-point type of the model."""


def tolerance_of(quantity: Quantity, dtype: torch.dtype) -> Tolerance:
    """What is allowed of a quantity in a floating-point type.

    Types that the table does not list, such as bfloat16, get what single precision is allowed times the ratio of their
    roundings.

    Raises:
        TypeError: the type is no floating-point type.
    """
    if not dtype.is_floating_point:
        raise TypeError(f"there is no tolerance for {dtype}: predictions are floating-point numbers")
    table = TOLERANCES[quantity]
    if dtype in table:
        return table[dtype]
    ratio = torch.finfo(dtype).eps / torch.finfo(torch.float32).eps
    single = table[torch.float32]
    return Tolerance(single.relative * ratio, single.absolute * ratio)


def as_tolerance(tolerance: Tolerance | float | None, quantity: Quantity, dtype: torch.dtype) -> Tolerance:
    """A tolerance as callers give it: in full, as one number (relative, absolute below size 1), or by default."""
    if tolerance is None:
        return tolerance_of(quantity, dtype)
    return tolerance if isinstance(tolerance, Tolerance) else Tolerance(tolerance, tolerance)
