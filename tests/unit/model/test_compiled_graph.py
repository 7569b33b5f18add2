"""Derivatives of graphs of operations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from gemnet_blocks.model.compiled_graph import Code, Differentiable, differentiated, interpreted, traced


def converted(positions: Tensor, weights: Tensor) -> list[Tensor]:
    """A function in single precision of positions in double precision, as in training."""
    return [(positions.float() @ weights).sin()]


def saved(functions: Differentiable, inputs: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
    """The intermediate values that the gradients of the function read."""
    results = Code(functions.forward)({}, inputs)
    return [results[i] if i >= 0 else gradients[~i] for i in functions.saved]


def test_conversions_between_precisions_are_differentiated_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(3, 2, dtype=torch.float64, generator=generator), torch.randn(2, 2, generator=generator)]
    given = torch.randn(3, 2, generator=generator, requires_grad=True)
    differentiable = [one.clone().requires_grad_() for one in inputs]
    expected = torch.autograd.grad(converted(*differentiable), differentiable, given, create_graph=True)

    mode = FakeTensorMode(shape_env=ShapeEnv())
    fakes = [mode.from_tensor(one, static_shapes=True) for one in inputs]
    once = differentiated(traced(converted, fakes, mode, interpreted), [True, True])
    values = saved(once, inputs, [given.detach()])
    found = list(Code(once.backward)({}, values))
    torch.testing.assert_close(found, [one.detach() for one in expected])

    twice = differentiated(once.backward, [True] * len(values))
    weighting = [torch.ones_like(one) for one in found]
    second = Code(twice.backward)({}, saved(twice, values, weighting))
    (by_gradient,) = torch.autograd.grad(expected, [given], weighting)
    torch.testing.assert_close(second[twice.inputs.index(once.saved.index(~0))], by_gradient)
