"""Comparisons of two ways to compute the same: values, and gradients to everything that they depend on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

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


Function = Tensor | Callable[..., Tensor]
"""A result, or what makes it of the inputs."""


def assert_close(
    fast: Tensor,
    slow: Tensor,
    tolerance: Tolerance | float | None = None,
    name: str = "values",
    quantity: Quantity = "values",
) -> None:
    """Equal shapes and types, finite, and equal values up to a tolerance.

    Args:
        fast: what is tested.
        slow: what it must be.
        tolerance: relative to the largest |number| of `slow`, or one number: relative, absolute if that is below 1;
            None: what its type allows.
        name: what is compared, for the message.
        quantity: which tolerance holds where none is given.

    Raises:
        AssertionError: says which of it is wrong, where and by how much.
    """
    if fast.shape != slow.shape:
        raise AssertionError(f"{name}: shape {tuple(fast.shape)}, but {tuple(slow.shape)} is needed")
    if fast.dtype != slow.dtype:
        raise AssertionError(f"{name}: of type {fast.dtype}, but {slow.dtype} is needed")
    if not fast.numel():
        return
    _assert_finite(fast, name)
    _assert_finite(slow, f"{name} to compare with")
    if not fast.is_floating_point():
        fast, slow = fast.double(), slow.double()
    fast, slow = fast.detach(), slow.detach()
    deviation = (fast - slow).abs()
    error, size = float(deviation.max()), float(slow.abs().max())
    limit = as_tolerance(tolerance, quantity, fast.dtype).limit(size)
    if error > limit:
        place = position_of_largest(deviation)
        raise AssertionError(
            f"{name}: differ by {error:.2e} at {list(place)}, {float(fast[place]):.10g} instead of "
            f"{float(slow[place]):.10g}; allowed are {limit:.2e}, with {size:.2e} the largest of {fast.numel()} numbers"
        )


def assert_same_function(
    fast: Function,
    slow: Function,
    inputs: Sequence[Tensor],
    tolerance: Tolerance | float | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Equal values, and equal gradients to all inputs that require any.

    Of functions with many values, the gradients of one weighted sum with random weights are compared: equal sums of all
    gradients would not do, as errors can cancel in them.

    Args:
        fast: the result that is tested, or a function of all inputs that makes it.
        slow: what it must be, likewise.
        inputs: what both were computed from; those that require no gradient are compared no gradients of.
        tolerance: as of `assert_close`; None: what the type allows, a digit more of gradients than of values.
        names: of the inputs, for messages.

    Raises:
        AssertionError: says whether the values or which gradient is wrong, where and by how much.
    """
    fast = fast if isinstance(fast, Tensor) else fast(*inputs)
    slow = slow if isinstance(slow, Tensor) else slow(*inputs)
    assert_close(fast, slow, tolerance)
    labels = [f"input {index}" for index in range(len(inputs))] if names is None else list(names)
    wanted = [(x, label) for x, label in zip(inputs, labels, strict=True) if x.requires_grad]
    generator = torch.Generator().manual_seed(fast.numel())
    weights = torch.randn(fast.shape, generator=generator, dtype=torch.float64) / math.sqrt(max(1, fast.numel()))
    weights = weights.to(fast)
    tensors = [x for x, _ in wanted]
    pairs = zip(gradients(fast, tensors, weights), gradients(slow, tensors, weights), strict=True)
    for (one, other), (_, label) in zip(pairs, wanted, strict=True):
        assert_close(one, other, tolerance, f"gradients to {label}", "gradients")


def gradients(
    output: Float[Tensor, "*shape"], inputs: Sequence[Tensor], weights: Float[Tensor, "*shape"]
) -> list[Tensor]:
    """The gradients of a weighted sum of outputs; zero to what the output does not depend on."""
    if not output.requires_grad or not inputs:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad((output * weights).sum(), inputs, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(x) if grad is None else grad for grad, x in zip(found, inputs, strict=True)]


def position_of_largest(deviation: Tensor) -> tuple[Any, ...]:
    """The index of the largest element."""
    return tuple(int(i) for i in torch.unravel_index(deviation.argmax(), deviation.shape))


def _assert_finite(values: Tensor, name: str) -> None:
    broken = ~values.detach().isfinite()
    if bool(broken.any()):
        place = position_of_largest(broken.to(torch.uint8))
        raise AssertionError(
            f"{name}: {int(broken.sum())} of {values.numel()} numbers are NaN or infinite, the first {list(place)}"
        )
