"""Comparisons of two ways to compute the same: values, and gradients to everything that they depend on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.testing.assertions.tolerances import Quantity, Tolerance, as_tolerance

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
