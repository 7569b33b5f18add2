"""Tensors of nested dataclasses, mappings and tuples."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, get_args, get_type_hints

from torch import Tensor


def items_in(value: Any) -> Mapping[Any, Any]:
    """Return what a mapping, a tuple or a dataclass contains, by key, index or field; nothing for other values."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple):
        return dict(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return {}


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """Replace what a mapping, a tuple or a dataclass contains; the value itself is returned if nothing changes."""
    before = items_in(value)
    items = {name: function(item) for name, item in before.items()}
    if all(items[name] is before[name] for name in items):
        return value
    if isinstance(value, Mapping):
        return items
    if isinstance(value, tuple):
        return tuple(items.values())
    return replace(value, **items)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Return all tensors of nested dataclasses, mappings and tuples."""
    if isinstance(value, Tensor):
        yield value
    for item in items_in(value).values():
        yield from tensors_in(item)


def with_tensors(value: Any, tensors: Iterator[Tensor]) -> Any:
    """Copy a nested value with other tensors, in the order of `tensors_in`."""
    return next(tensors) if isinstance(value, Tensor) else mapped(value, lambda item: with_tensors(item, tensors))


def outline(value: Any) -> Hashable:
    """Describe a nested value by everything but the sizes and values of its tensors."""
    if isinstance(value, Tensor):
        return value.dtype, value.ndim, value.device
    items = items_in(value)
    if items or isinstance(value, Mapping):
        return type(value), *((name, outline(item)) for name, item in items.items())
    known: Hashable = value
    return known


def equal_sizes(value: Any) -> Iterator[list[int]]:
    """Return lists of sizes that are equal: those with one name in the annotated shapes of one dataclass."""
    sizes: dict[str, list[int]] = {}
    kind: type = type(value)
    shapes = _shapes(kind) if is_dataclass(kind) else {}
    for field, item in items_in(value).items():
        yield from equal_sizes(item)
        if isinstance(item, Tensor):
            for name, size in zip(shapes.get(field, ()), item.shape, strict=False):
                sizes.setdefault(name, [int(name)] if name.isdigit() else []).append(size)
    yield from sizes.values()


@cache
def _shapes(kind: type) -> dict[str, list[str]]:
    """Return the annotated shapes of the fields of a dataclass, without those of variable length."""
    names = {**vars(sys.modules[kind.__module__])}
    try:
        hints = get_type_hints(kind, names)
    except NameError:  # a name that is imported for type checkers only
        return {}
    shapes: dict[str, list[str]] = {}
    for field, hint in hints.items():
        for option in (hint, *get_args(hint)):
            shape = getattr(option, "dim_str", "*")
            if "*" not in shape and "." not in shape:
                shapes[field] = shape.split()
    return shapes
