"""Less memory for more time: making things anew in the backward pass instead of keeping them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

Result = TypeVar("Result")


def remade(lean: bool, function: Callable[..., Result], *arguments: Any) -> Result:
    """The function's result; where `lean`, the backward pass computes what it needs from the arguments again."""
    if not lean or not torch.is_grad_enabled():
        return function(*arguments)
    result: Result = checkpoint(function, *arguments, use_reentrant=False)
    return result


@contextmanager
def fixed(module: nn.Module) -> Iterator[None]:
    """No gradients to the module's parameters inside: what only they would need is not kept."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def without_fragments(lean: bool) -> Iterator[None]:
    """Where `lean`, arrays that are free go back to the system at once; with gradients from here on, as backward passes
    come later.

    The allocator of Linux keeps free arrays of up to 32 MB for others. With many that come and go, what is free in
    pieces adds up to several times what is in use. Elsewhere than on Linux this does nothing.
    """
    if not lean or not sys.platform.startswith("linux"):
        yield
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", lambda *_: None)  # other C libraries have none
    threshold = -3  # M_MMAP_THRESHOLD: the size from which an array has pages of its own
    stays = torch.is_grad_enabled()
    # new pages take time; without a graph that keeps arrays, there are few pieces
    set_option(threshold, 2**20 if stays else 2**23)
    try:
        yield
    finally:
        if not stays:
            set_option(threshold, 2**25)
