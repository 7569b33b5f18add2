"""The code of a user's own parts, so that runs are done anew when it changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from gemnet_blocks.ablation.runs.jobs import imported
from gemnet_blocks.spec.schema import Spec

_CONSTANTS = (bool, int, float, complex, str, bytes, tuple, frozenset, type(None))


def own_parts(spec: Spec) -> Mapping[str, str]:
    """A hash of the code of every part of the user's own that a spec names."""
    content, catalog = spec.to_dict(), spec.catalog
    found = {name: catalog.extra[name] for name in _names(content) if name in catalog.extra}
    if catalog.allow_imports:
        found |= {name: imported(name) for name in _names(content) if ":" in name and name not in found}
    return {name: code_hash(part) for name, part in sorted(found.items())}


def code_hash(part: type) -> str:
    """A hash of what a class does: of its methods, and of the functions, classes and constants that they name.

    Followed are those of the same module or package. Of two versions of Python, compiled code may differ.
    """
    home = part.__module__.partition(".")[0]
    texts: set[str] = set()
    pending: list[Any] = [part]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        place = str(getattr(one, "__module__", "")).partition(".")[0]
        if id(one) in seen or place != home or home == "gemnet_blocks":
            continue
        seen.add(id(one))
        if isinstance(one, type):
            texts |= {f"{one.__qualname__}.{name} = {_text(value)}" for name, value in _constants(vars(one))}
            pending += [*one.__bases__, *map(_unwrapped, vars(one).values())]
        elif isinstance(one, FunctionType):
            named = {name: one.__globals__[name] for name in _globals(one.__code__) if name in one.__globals__}
            texts.add(f"{one.__qualname__}: {_text(one.__code__)} {_text(one.__defaults__)}")
            texts |= {f"{name} = {_text(value)}" for name, value in _constants(named)}
            pending += map(_unwrapped, named.values())
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()


def _names(content: Any) -> Iterator[str]:
    """Everything in a spec that may name a part."""
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        if key == "type" and isinstance(value, str):
            yield value
        if isinstance(value, Mapping):
            yield key  # an interaction without a type is of the type of its name
            yield from _names(value)


def _unwrapped(value: Any) -> Any:
    """The function of a method of a class, of a property or of a decorated function."""
    for name in ("__func__", "fget", "__wrapped__"):
        value = getattr(value, name, value)
    return value


def _constants(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    skipped = ("__module__", "__qualname__", "__doc__", "__firstlineno__", "__static_attributes__", "__name__")
    return ((name, value) for name, value in values.items() if isinstance(value, _CONSTANTS) and name not in skipped)


def _globals(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)


def _text(value: Any) -> str:
    """The same in every process: without addresses, lines and the order of sets."""
    if isinstance(value, CodeType):
        return f"{value.co_code.hex()} {value.co_names} {value.co_varnames} {[_text(one) for one in value.co_consts]}"
    if isinstance(value, frozenset):
        return str(sorted(map(_text, value)))
    return str(list(map(_text, value))) if isinstance(value, tuple) else repr(value)
