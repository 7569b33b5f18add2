"""Checks of the shapes that annotations promise, for the import hook of conftest.py.

A module of its own, because it must be importable while gemnet_blocks itself is being imported.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable
from types import UnionType
from typing import Any, Union, get_args, get_origin

from beartype import beartype
from jaxtyping import AbstractArray
from jaxtyping import config as shape_checking
from jaxtyping._import_hook import JaxtypingTransformer

CALLS_PER_TEST = 1000
"""How many calls one test checks; loops call the same functions so often that checks would take most of the time."""


class Checked:
    """Counter of the calls checked since the current test began."""

    calls = 0

    @classmethod
    def begin(cls, enabled: bool) -> None:
        """Start counting for a test, with checks enabled or disabled."""
        cls.calls = 0
        shape_checking.update("jaxtyping_disable", not enabled)

    @classmethod
    def count(cls) -> None:
        """Count a call; disable checks once a test has had enough of them."""
        cls.calls += 1
        if cls.calls >= CALLS_PER_TEST:
            shape_checking.update("jaxtyping_disable", True)


SHAPE = re.compile(r"\b(Bool|Float|Int|Num|Shaped)\[")
"""The annotations of tensors in the source of the library."""


def decorate_functions_with_shapes() -> None:
    """Make the import hook decorate only functions whose annotations hold a shape, and no nested function.

    A nested function would be decorated again whenever the outer one is called. That takes milliseconds, even while
    checks are disabled.
    """
    decorate = JaxtypingTransformer.visit_FunctionDef

    def visit(self: JaxtypingTransformer, function: ast.FunctionDef) -> ast.FunctionDef:
        if getattr(self, "nested", False) or not SHAPE.search(_signature(function)):
            return function
        self.nested = True
        decorated = decorate(self, function)
        self.nested = False
        return decorated

    JaxtypingTransformer.visit_FunctionDef = visit


def _signature(function: ast.FunctionDef) -> str:
    return ast.unparse(function.args) + (ast.unparse(function.returns) if function.returns else "")


def check_annotated_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the tensors that go into and come out of a function; other types are mypy's task."""
    function.__annotations__ = {
        name: hint if is_shape(hint) else Any for name, hint in function.__annotations__.items()
    }
    checked = beartype(function)

    @functools.wraps(checked)
    def counted(*args: Any, **kwargs: Any) -> Any:
        Checked.count()
        return checked(*args, **kwargs)

    return counted


def is_shape(hint: Any) -> bool:
    """Whether a type is a tensor of some shape, or such a tensor or None.

    Not those inside a mapping or sequence: there, an axis of the same name may have another size in every tensor.
    """
    if get_origin(hint) in (Union, UnionType):
        return any(is_shape(part) for part in get_args(hint))
    return isinstance(hint, type) and issubclass(hint, AbstractArray)
