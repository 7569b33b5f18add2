"""Comparison of two implementations of the same function: values and gradients, within tolerances."""

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
    "symmetry of streams",
    "symmetry of properties",
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
"""Quantities that have a tolerance."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A tolerance of deviations: the larger one of `absolute` and `relative` times the size of the quantity.

    Attributes:
        relative: relative tolerance.
        absolute: absolute tolerance in the unit of the quantity.
    """

    relative: float
    absolute: float

    def limit(self, size: float) -> float:
        """Return the largest deviation that is tolerated for numbers of a size."""
        return max(self.absolute, self.relative * size)


TOLERANCES: Mapping[Quantity, Mapping[torch.dtype, Tolerance]] = {
    # The documented limits of relative spreads of energies, also for degenerate structures: sums of about a thousand
    # terms with a few roundings each, of distances that are rounded when the structure moves.
    "symmetry of energies": {torch.float64: Tolerance(1e-12, 1e-12), torch.float32: Tolerance(2e-6, 2e-6)},
    # The same roundings times the slopes of bases and angles, which are up to 10⁴ for nearly collinear atoms.
    "symmetry of forces": {torch.float64: Tolerance(1e-8, 1e-9), torch.float32: Tolerance(2e-3, 2e-4)},
    # The same roundings; directions of atoms that are close to each other are the least exact.
    "symmetry of streams": {torch.float64: Tolerance(1e-8, 1e-9), torch.float32: Tolerance(2e-3, 2e-4)},
    # The same for sums of charges times positions and of such directions.
    "symmetry of properties": {torch.float64: Tolerance(1e-8, 1e-9), torch.float32: Tolerance(2e-3, 2e-4)},
    # Two points 10⁻¹⁰ Å apart: roundings, and bends with slopes up to 10³ energies per Å; the mean change of the
    # neighboring intervals is subtracted.
    "jumps of energies": {torch.float64: Tolerance(1e-7, 1e-10), torch.float32: Tolerance(1e-5, 1e-5)},
    # Forces may bend sharply, for example for nearly collinear atoms.
    "jumps of forces": {torch.float64: Tolerance(1e-5, 1e-8), torch.float32: Tolerance(5e-3, 1e-3)},
    # Extrapolated central differences with the best of several steps: rounding of energies divided by the step.
    "finite differences": {torch.float64: Tolerance(1e-6, 1e-8), torch.float32: Tolerance(1e-2, 2e-3)},
    # Sums of forces that cancel in pairs up to rounding. The absolute part is for perfect crystals, where the force on
    # each atom is itself such a sum.
    "balance": {torch.float64: Tolerance(1e-10, 1e-10), torch.float32: Tolerance(1e-4, 1e-4)},
    # Some tens of layers in single precision compared to double precision. Models that lose more digits subtract large
    # numbers.
    "single precision energies": {torch.float32: Tolerance(2e-5, 2e-5)},
    "single precision forces": {torch.float32: Tolerance(2e-3, 1e-3)},
    # Basis functions are sines and exponentials of rounded arguments of up to 100.
    "single precision functions": {torch.float32: Tolerance(1e-4, 1e-6)},
    # Sums of some hundred terms in different order.
    "values": {torch.float64: Tolerance(1e-12, 1e-12), torch.float32: Tolerance(2e-5, 2e-5)},
    # The same sums after differentiation.
    "gradients": {torch.float64: Tolerance(1e-11, 1e-11), torch.float32: Tolerance(1e-4, 1e-4)},
}
"""The tolerance of each quantity by the floating-point type of the model."""


def tolerance_of(quantity: Quantity, dtype: torch.dtype) -> Tolerance:
    """Return the tolerance of a quantity in a floating-point type.

    Types that are not in `TOLERANCES`, such as bfloat16, have the tolerance of float32 times the ratio of their
    machine precisions.

    Raises:
        TypeError: the type is not a floating-point type.
    """
    if not dtype.is_floating_point:
        raise TypeError(f"tolerances need a floating-point type, got {dtype}")
    table = TOLERANCES[quantity]
    if dtype in table:
        return table[dtype]
    ratio = torch.finfo(dtype).eps / torch.finfo(torch.float32).eps
    single = table[torch.float32]
    return Tolerance(single.relative * ratio, single.absolute * ratio)


def as_tolerance(tolerance: Tolerance | float | None, quantity: Quantity, dtype: torch.dtype) -> Tolerance:
    """Convert an argument to a tolerance: a number is both relative and absolute, None is the default."""
    if tolerance is None:
        return tolerance_of(quantity, dtype)
    return tolerance if isinstance(tolerance, Tolerance) else Tolerance(tolerance, tolerance)


Function = Tensor | Callable[..., Tensor]
"""A result, or a function of the inputs that returns it."""


def assert_close(
    fast: Tensor,
    slow: Tensor,
    tolerance: Tolerance | float | None = None,
    name: str = "values",
    quantity: Quantity = "values",
) -> None:
    """Assert that two tensors have the same shape and type, and finite values that agree within a tolerance.

    Args:
        fast: tensor under test.
        slow: expected tensor.
        tolerance: tolerance relative to the largest |number| of `slow`, or one number that is both the relative and
            the absolute tolerance; None: the tolerance of its type.
        name: name of the values in errors.
        quantity: quantity whose tolerance applies if `tolerance` is None.

    Raises:
        AssertionError: shapes, types or values differ, or a value is NaN or infinite.
    """
    if fast.shape != slow.shape:
        raise AssertionError(f"{name}: expected the shape {tuple(slow.shape)}, found {tuple(fast.shape)}")
    if fast.dtype != slow.dtype:
        raise AssertionError(f"{name}: expected the type {slow.dtype}, found {fast.dtype}")
    if not fast.numel():
        return
    _assert_finite(fast, name)
    _assert_finite(slow, f"expected {name}")
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
            f"{float(slow[place]):.10g}; the tolerance is {limit:.2e}, the largest of {fast.numel()} numbers {size:.2e}"
        )


def assert_same_function(
    fast: Function,
    slow: Function,
    inputs: Sequence[Tensor],
    tolerance: Tolerance | float | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Assert that two functions have equal values and equal gradients with respect to their inputs.

    The gradients are those of a sum of all values with random weights; in a sum without weights, errors could cancel.

    Args:
        fast: result under test, or a function of all inputs that returns it.
        slow: expected result, or a function of all inputs that returns it.
        inputs: inputs of both; gradients are compared for inputs that require gradients.
        tolerance: see `assert_close`; None: the tolerance of the type, which is larger for gradients than for values.
        names: names of the inputs in errors.

    Raises:
        AssertionError: values or gradients differ.
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
    """Compute the gradients of a weighted sum of outputs; zero for inputs without influence."""
    if not output.requires_grad or not inputs:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad((output * weights).sum(), inputs, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(x) if grad is None else grad for grad, x in zip(found, inputs, strict=True)]


def position_of_largest(deviation: Tensor) -> tuple[Any, ...]:
    """Return the index of the largest element."""
    return tuple(int(i) for i in torch.unravel_index(deviation.argmax(), deviation.shape))


def _assert_finite(values: Tensor, name: str) -> None:
    broken = ~values.detach().isfinite()
    if bool(broken.any()):
        place = position_of_largest(broken.to(torch.uint8))
        raise AssertionError(
            f"{name}: {int(broken.sum())} of {values.numel()} numbers are NaN or infinite, the first {list(place)}"
        )
