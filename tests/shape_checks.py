"""Checks of the shapes that annotations promise, for the import hook of conftest.py.

A module of its own, because it must be importable while gemnet_blocks itself is being imported.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

import jaxtyping
from beartype import beartype
from jaxtyping import AbstractArray, jaxtyped
from jaxtyping._import_hook import JaxtypingTransformer

CALLS_PER_TEST = 2
"""How many calls of each function one test checks; loops call the same function thousands of times."""


class Checked:
    """The test whose calls are checked, if any."""

    test = 0
    enabled = False

    @classmethod
    def begin(cls, enabled: bool) -> None:
        """Start another test, with checks enabled or disabled."""
        cls.test += 1
        cls.enabled = enabled


def first_calls(function: Callable[..., Any], checked: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes the place of another, and checks its first calls in each test."""
    test, calls = 0, 0

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal test, calls
        if not Checked.enabled:
            return function(*args, **kwargs)
        if test != Checked.test:
            test, calls = Checked.test, 0
        calls += 1
        return (checked if calls <= CALLS_PER_TEST else function)(*args, **kwargs)

    return called


def check_first_calls(*, typechecker: Any) -> Callable[[Any], Any]:
    """Decorate functions and constructors of dataclasses as `jaxtyped` does, to check the first calls in each test."""

    def decorate(decorated: Any) -> Any:
        if not isinstance(decorated, type):
            return first_calls(decorated, jaxtyped(decorated, typechecker=typechecker))
        if "__init__" in vars(decorated) and is_dataclass(decorated):
            initialize = decorated.__init__
            jaxtyped(decorated, typechecker=typechecker)
            decorated.__init__ = first_calls(initialize, decorated.__init__)
        return decorated

    return decorate


SHAPE = re.compile(r"\b(Bool|Float|Int|Num|Shaped)\[")
"""The annotations of tensors in the source of the library."""


def decorate_functions_with_shapes() -> None:
    """Make the import hook decorate only functions whose annotations hold a shape, and no nested function.

    A nested function would be decorated again whenever the outer one is called. That takes milliseconds, even while
    checks are disabled. Each function checks its first calls in each test.
    """
    jaxtyping.jaxtyped = check_first_calls
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
    return beartype(function)


def is_shape(hint: Any) -> bool:
    """Whether a type is a tensor of some shape, or such a tensor or None.

    Not those inside a mapping or sequence: there, an axis of the same name may have another size in every tensor.
    """
    if get_origin(hint) in (Union, UnionType):
        return any(is_shape(part) for part in get_args(hint))
    return isinstance(hint, type) and issubclass(hint, AbstractArray)
