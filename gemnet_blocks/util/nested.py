"""Tensors of nested dataclasses, mappings and tuples."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, get_args, get_type_hints

from torch import Tensor


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Return all tensors of nested dataclasses, mappings and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from tensors_in(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name))


def with_tensors(value: Any, tensors: Iterator[Tensor]) -> Any:
    """Copy a nested value with other tensors, in the order of `tensors_in`."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, Mapping):
        return {name: with_tensors(item, tensors) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(with_tensors(item, tensors) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{field.name: with_tensors(getattr(value, field.name), tensors) for field in fields(value)}
        )
    return value


def outline(value: Any) -> Hashable:
    """Describe a nested value by everything but the sizes and values of its tensors."""
    if isinstance(value, Tensor):
        return value.dtype, value.ndim, value.device
    if isinstance(value, Mapping):
        return tuple((name, outline(item)) for name, item in value.items())
    if isinstance(value, tuple):
        return tuple(map(outline, value))
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value), *(outline(getattr(value, field.name)) for field in fields(value)))
    known: Hashable = value
    return known


def equal_sizes(value: Any) -> Iterator[list[int]]:
    """Return lists of sizes that are equal: those with one name in the annotated shapes of one dataclass."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from equal_sizes(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from equal_sizes(item)
    elif is_dataclass(value) and not isinstance(value, type):
        sizes: dict[str, list[int]] = {}
        for field in fields(value):
            item = getattr(value, field.name)
            yield from equal_sizes(item)
            if isinstance(item, Tensor):
                for name, size in zip(_shapes(type(value)).get(field.name, ()), item.shape, strict=False):
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
