"""Less memory for more time: making things anew in the backward pass instead of keeping them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Result = TypeVar("Result")

VALUES_AT_ONCE = 2**19
"""How large arrays are that rows are mapped in: small enough for a cache, and for their memory to be used again."""

_MMAP_THRESHOLD = -3
"""The option of `mallopt`: the size from which an array has pages of its own."""

_TRIM_THRESHOLD = -1
"""Likewise: how much memory may be free behind the last array before it goes back, to be asked for again soon."""

_lean: ContextVar[bool] = ContextVar("lean", default=False)


@contextmanager
def lean(wanted: bool = True) -> Iterator[None]:
    """Inside, `remade` and `by_rows` keep less for the backward pass, if that is wanted."""
    token = _lean.set(wanted)
    try:
        yield
    finally:
        _lean.reset(token)


def is_lean() -> bool:
    """Whether the backward pass is to make intermediate results anew."""
    return _lean.get()


def remade(function: Callable[..., Result], *arguments: Any) -> Result:
    """The function's result; where lean, the backward pass computes what it needs from the arguments again.

    Once: what is remade inside the function is not made anew a second time.
    """
    if not is_lean() or not torch.is_grad_enabled():
        return function(*arguments)

    def plain(*arguments: Any) -> Result:
        with lean(False):
            return function(*arguments)

    result: Result = checkpoint(plain, *arguments, use_reentrant=False)
    return result


def rows_at_once(width: int) -> int:
    """How many rows of so many values make an array that stays in a cache."""
    return max(1, VALUES_AT_ONCE // max(1, width))


def by_rows(function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """A function that maps every row by itself; where lean, of some rows at a time, each `remade`.

    Args:
        function: from tensors with equally many rows to one with as many.
        rows: these tensors.
    """
    at_once = rows_at_once(max(tensor[:1].numel() for tensor in rows))
    if not is_lean() or len(rows[0]) <= at_once:
        return remade(function, *rows)
    parts = zip(*(tensor.split(at_once) for tensor in rows), strict=True)
    return torch.cat([remade(function, *part) for part in parts])


def tidied(result: Tensor) -> Tensor:
    """The result; where lean, memory that is free around it goes back to the system, and again in the backward pass.

    The allocator of Linux needs more for an aligned array than the array itself: the piece that one leaves is too small
    for the next, and such pieces add up.
    """
    if is_lean():
        _return_free_pieces()
        if result.requires_grad:
            result.register_hook(lambda _: _return_free_pieces())
    return result


def _return_free_pieces() -> None:
    _allocator("malloc_trim")(0)


def _allocator(function: str) -> Callable[..., Any]:
    """A function of the allocator of Linux; elsewhere, and in C libraries that lack it, one that does nothing."""
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    return getattr(library, function, lambda *_: None)


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
def without_fragments(wanted: bool) -> Iterator[None]:
    """Where wanted, arrays that are free go back to the system at once; with gradients from here on, as backward passes
    come later.

    The allocator of Linux keeps free arrays of up to 32 MB for others. With many that come and go, what is free in
    pieces adds up to several times what is in use. Elsewhere than on Linux this does nothing.
    """
    if not wanted:
        yield
        return
    set_option = _allocator("mallopt")
    stays = torch.is_grad_enabled()
    # new pages take time; without a graph that keeps arrays, there are few pieces
    set_option(_MMAP_THRESHOLD, 2**20 if stays else 2**23)
    set_option(_TRIM_THRESHOLD, 2**28)
    try:
        yield
    finally:
        if not stays:
            set_option(_MMAP_THRESHOLD, 2**25)
