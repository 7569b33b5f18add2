"""Differences between two specs and between their architectures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gemnet_blocks.plotting.architecture import Architecture, Node
from gemnet_blocks.spec.difference import Change, compare

__all__ = ["Change", "Difference", "Mark", "compare", "difference"]

Mark = Literal["removed", "added", "changed", "resized"]
"""Change of a part; a resized part differs in its number of parameters only."""


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
