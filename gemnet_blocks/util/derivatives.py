"""Support for the ways of differentiating that torch offers besides reverse mode."""

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
"""The end of errors about what is not supported."""


def in_forward_mode() -> bool:
    """Whether tensors may carry tangents, which torch.autograd.forward_ad differentiates along."""
    return forward_ad._current_level >= 0


def transforms_are_active() -> bool:
    """Whether tensors may carry tangents or are transformed by torch.func: then only torch's own operations will do."""
    return in_forward_mode() or torch._C._are_functorch_transforms_active()


def check_graphs_can_be_built(positions: Tensor, cells: Tensor) -> None:
    """Check that the values of positions and cells can be read.

    Transforms of torch.func and tracing hide them; `vmap` over weights alone does not.

    Raises:
        NotImplementedError: they are hidden; names the supported ways of differentiating.
    """
    if _are_traced(positions, cells) or _are_transformed(positions, cells):
        raise NotImplementedError(
            "torch.func (grad, jvp, linearize, vmap, jacrev, hessian, ...), make_fx and fake tensors cannot go through "
            f"graphs, which are built from the values of positions: {SUPPORTED}"
        )


def _are_traced(*tensors: Tensor) -> bool:
    """Whether operations are recorded instead of computed, as in torch.func.linearize, or tensors have only shapes."""
    modes = (_TorchDispatchModeKey.PROXY, _TorchDispatchModeKey.FAKE)
    return any(_get_dispatch_mode(mode) is not None for mode in modes) or any(
        isinstance(one, FakeTensor) for one in tensors
    )


def _are_transformed(positions: Tensor, cells: Tensor) -> bool:
    """Whether a transform of torch.func wraps positions, cells, or all that is computed from them."""
    if not torch._C._are_functorch_transforms_active():
        return False
    return torch._C._functorch.is_functorch_wrapped_tensor(positions.sum() + cells.sum())


def check_gradient_forces_can_be_computed() -> None:
    """Check that the energy may be differentiated inside a model.

    Raises:
        NotImplementedError: it is called by torch.func, inside of which torch.autograd.grad misses derivatives; names
            the supported ways of differentiating.
    """
    if torch._C._are_functorch_transforms_active():
        raise NotImplementedError(
            "torch.func (grad, jvp, vmap, jacrev, hessian, ...) cannot go through models with gradient forces, which "
            f"torch.autograd.grad computes: {SUPPORTED}"
        )


def check_not_in_forward_mode() -> None:
    """Check that torch.autograd.forward_ad does not pass through compiled layers.

    Raises:
        NotImplementedError: it would.
    """
    if in_forward_mode():
        raise NotImplementedError(
            "compiled layers cannot be differentiated in forward mode (torch.autograd.forward_ad): build the model "
            "without `compile`, or use torch.autograd.grad"
        )


def without_graph(value: Tensor) -> Tensor:
    """The same numbers without the graph of reverse mode; a tangent of forward mode stays."""
    if not in_forward_mode():
        return value.detach()
    primal, tangent = forward_ad.unpack_dual(value)
    return primal.detach() if tangent is None else forward_ad.make_dual(primal.detach(), tangent.detach())
