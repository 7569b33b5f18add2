"""Support and checks for the modes of differentiation of torch besides reverse mode."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C import _get_dispatch_mode, _TorchDispatchModeKey
from torch._subclasses import FakeTensor
from torch.autograd import forward_ad

SUPPORTED = (
    "differentiate with torch.autograd.grad, backward() or torch.autograd.functional (jvp, jacobian, hessian, ...), or "
    "in forward mode with torch.autograd.forward_ad"
)
"""The end of errors about unsupported modes of differentiation."""


def in_forward_mode() -> bool:
    """Return True inside a level of forward-mode differentiation, in which tensors may carry tangents."""
    return forward_ad._current_level >= 0


def transforms_are_active() -> bool:
    """Return True in forward mode and under torch.func, which support only the operations of torch."""
    return in_forward_mode() or torch._C._are_functorch_transforms_active()


def check_graphs_can_be_built(positions: Tensor, cells: Tensor) -> None:
    """Check that the values of positions and cells, which graphs depend on, can be read.

    Transforms of torch.func and tracing hide them, except for `vmap` over weights alone.

    Raises:
        NotImplementedError: the values are hidden; the message names the supported modes of differentiation.
    """
    if _are_traced(positions, cells) or _are_transformed(positions, cells):
        raise NotImplementedError(
            "torch.func (grad, jvp, linearize, vmap, jacrev, hessian, ...), make_fx and fake tensors do not support "
            f"graphs, which depend on the values of positions: {SUPPORTED}"
        )


def _are_traced(*tensors: Tensor) -> bool:
    """Return True if operations are traced, as in torch.func.linearize, or tensors are fake."""
    modes = (_TorchDispatchModeKey.PROXY, _TorchDispatchModeKey.FAKE)
    return any(_get_dispatch_mode(mode) is not None for mode in modes) or any(
        isinstance(one, FakeTensor) for one in tensors
    )


def is_traced(tensor: Tensor) -> bool:
    """Return True if operations on the tensor are traced, so that its values, and sizes that follow from them, are
    hidden."""
    return isinstance(tensor, FakeTensor)


def is_known_to_be_empty(tensor: Tensor) -> bool:
    """Return True for a tensor without rows; False while operations are traced for any number of rows."""
    rows = tensor.shape[0]
    return isinstance(rows, int) and rows == 0


def _are_transformed(positions: Tensor, cells: Tensor) -> bool:
    """Return True if a transform of torch.func wraps positions, cells, or everything computed from them."""
    if not torch._C._are_functorch_transforms_active():
        return False
    return torch._C._functorch.is_functorch_wrapped_tensor(positions.sum() + cells.sum())


def check_gradient_forces_can_be_computed() -> None:
    """Check that torch.autograd.grad can differentiate the energy inside a model.

    Raises:
        NotImplementedError: torch.func transforms the model, so that torch.autograd.grad would miss derivatives; the
            message names the supported modes of differentiation.
    """
    if torch._C._are_functorch_transforms_active():
        raise NotImplementedError(
            "torch.func (grad, jvp, vmap, jacrev, hessian, ...) does not support models with gradient forces, which "
            f"torch.autograd.grad computes: {SUPPORTED}"
        )


def check_not_in_forward_mode() -> None:
    """Check that a compiled model is not differentiated in forward mode.

    Raises:
        NotImplementedError: torch.autograd.forward_ad is active.
    """
    if in_forward_mode():
        raise NotImplementedError(
            "compiled models cannot be differentiated in forward mode (torch.autograd.forward_ad): build the model "
            "without `compile`, or use torch.autograd.grad"
        )


def without_graph(value: Tensor) -> Tensor:
    """Detach a tensor from the graph of reverse mode, but keep its tangent of forward mode."""
    if not in_forward_mode():
        return value.detach()
    primal, tangent = forward_ad.unpack_dual(value)
    return primal.detach() if tangent is None else forward_ad.make_dual(primal.detach(), tangent.detach())
