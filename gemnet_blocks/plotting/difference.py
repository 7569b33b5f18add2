"""Differences between two specs and between their architectures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gemnet_blocks.plotting.architecture import Architecture, Node
from gemnet_blocks.spec.resolve import Spec

Mark = Literal["removed", "added", "changed", "resized"]
"""Change of a part; a resized part differs in its number of parameters only."""

ABSENT = "–"
"""The value of a missing field."""


@dataclass(frozen=True, slots=True)
class Change:
    """A field of a spec that differs.

    Attributes:
        path: dotted path of the field.
        old: old value as in a spec file; – if the field is missing.
        new: new value as in a spec file; – if the field is missing.
    """

    path: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.path}: {self.old} → {self.new}"


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between two architectures.

    Attributes:
        nodes: nodes of the new architecture, and removed nodes at their old places.
        marks: changes by the key of the node, without nodes that do not differ.
        before: nodes of the old architecture by key.
        changes: fields that differ.
    """

    nodes: tuple[Node, ...]
    marks: Mapping[str, Mark]
    before: Mapping[str, Node]
    changes: tuple[Change, ...]


def compare(old: Spec, new: Spec) -> list[Change]:
    """List the fields in which two specs differ, in the order of the specs; a whole section counts as one change."""
    return list(_compared(old.to_dict(), new.to_dict(), ""))


def difference(old: Architecture, new: Architecture, changes: list[Change]) -> Difference:
    """Combine and mark the nodes of both architectures."""
    before, after = ({node.key: node for node in architecture.nodes} for architecture in (old, new))
    nodes = _together(old.nodes, new.nodes)
    marks: dict[str, Mark] = {}
    for node in nodes:
        mark = _mark(before.get(node.key), after.get(node.key))
        if mark is not None:
            marks[node.key] = mark
    return Difference(nodes, marks, before, tuple(changes))


def _mark(old: Node | None, new: Node | None) -> Mark | None:
    if old is None:
        return "added"
    if new is None:
        return "removed"
    if (old.title, old.details, old.used) != (new.title, new.details, new.used):
        return "changed"
    return "resized" if old.parameters != new.parameters else None


def _together(old: tuple[Node, ...], new: tuple[Node, ...]) -> tuple[Node, ...]:
    """Merge removed nodes into the new ones, each after the node that preceded it."""
    kept = {node.key for node in new}
    behind: dict[str | None, list[Node]] = {}
    last: str | None = None
    for node in old:
        if node.key in kept:
            last = node.key
        else:
            behind.setdefault(last, []).append(node)
    found = behind.get(None, [])
    for node in new:
        found = [*found, node, *behind.get(node.key, [])]
    order = list(dict.fromkeys(node.section for node in new))  # a removed node stays in its section
    return tuple(sorted(found, key=lambda node: order.index(node.section)))


def _compared(old: Any, new: Any, path: str) -> list[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in dict.fromkeys((*old, *new)):
            inner = f"{path}.{key}" if path else str(key)
            if key in old and key in new:
                found += _compared(old[key], new[key], inner)
            else:
                found.append(Change(inner, _shown(old, key), _shown(new, key)))
        return found
    return [] if old == new else [Change(path, _flow(old), _flow(new))]


def _shown(fields: Mapping[str, Any], key: str) -> str:
    return _flow(fields[key]) if key in fields else ABSENT


def _flow(value: Any) -> str:
    """Format a value on one line as in a spec file, without fields that are null."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        inner = (f"{key}: {_flow(entry)}" for key, entry in value.items() if entry is not None)
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value)
