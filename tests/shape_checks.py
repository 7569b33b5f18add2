"""Checks of the shapes that annotations promise, for the import hook of conftest.py.

A module of its own, because it must be importable while gemnet_blocks itself is being imported.
"""

from __future__ import annotations

from collections.abc import Callable
from types import UnionType
from typing import Any, Union, get_args, get_origin

from beartype import beartype
from jaxtyping import AbstractArray


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the tensors that go into and come out of a function; other types are mypy's task."""
    function.__annotations__ = {
        name: hint if is_shape(hint) else Any for name, hint in function.__annotations__.items()
    }
    return beartype(function)


def is_shape(hint: Any) -> bool:
    """Whether a type is a tensor of some shape, or such a tensor or None.

    Not those inside a mapping or sequence: there, an axis of the same name may have another size in every tensor.
    """
    if get_origin(hint) in (Union, UnionType):
        return any(is_shape(part) for part in get_args(hint))
    return isinstance(hint, type) and issubclass(hint, AbstractArray)
