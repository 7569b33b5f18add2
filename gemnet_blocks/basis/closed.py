"""Evaluate sets of functions that are closed under differentiation, with few operations for each derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.util.derivatives import transforms_are_active
from gemnet_blocks.util.precision import without_autocast

Evaluate = Callable[..., Float[Tensor, "functions *shape"]]
"""Evaluates the functions on tensors of equal shape; it may write into its result, which autograd does not see."""


def closed_functions(
    evaluate: Evaluate, plain: Evaluate, derivatives: Float[Tensor, "variables functions functions"], *variables: Tensor
) -> Float[Tensor, "functions *shape"]:
    r"""Evaluate functions whose derivatives are linear combinations of the same functions.

    $$\frac{\partial f_i}{\partial x_v} = \sum_j D_{vij} f_j,$$
    as for polynomials and powers. The derivative is then one product of matrices, of any order, and only the values are
    stored for it.

    Args:
        evaluate: evaluates the functions without derivatives.
        plain: evaluates the functions by operations that torch can differentiate in every mode.
        derivatives: D, in the type of the variables.
        variables: the variables x, of equal shape.
    """
    if torch.compiler.is_compiling() or transforms_are_active():
        return plain(*variables)
    if torch.is_grad_enabled() and any(variable.requires_grad for variable in variables):
        values: Tensor = _Closed.apply(evaluate, derivatives, *variables)
        return values
    return evaluate(*variables)


@final
class _Closed(torch.autograd.Function):
    """The functions; the operations of the backward pass can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, evaluate: Evaluate, derivatives: Tensor, *variables: Tensor) -> Tensor:
        values = evaluate(*variables)
        ctx.save_for_backward(derivatives, values)
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        derivatives, values = ctx.saved_tensors
        with without_autocast(values.device):
            slopes = (derivatives.flatten(0, 1) @ values.flatten(1)).view(len(derivatives), *values.shape)
            return None, None, *(slopes * grad).sum(dim=1).unbind(0)
