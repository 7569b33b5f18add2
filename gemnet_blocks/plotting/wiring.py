"""Which wire of a drawing runs where: beside the boxes, each in a lane of its own where it meets others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from gemnet_blocks.plotting.architecture import ATOMS, EDGES, Node

Side = Literal["left", "right"]

RIGHT = frozenset((ATOMS, EDGES, "features", "numbers", "energy", "forces"))
"""Wires of embeddings and what is read of them; those of structures, edges and bases run on the left."""


@dataclass(slots=True)
class Wire:
    """Something that one part writes and others read.

    Attributes:
        name: what it is.
        color: the number of its colour.
        writers: the numbers of the nodes that write it.
        readers: the numbers of the nodes that read it.
        lane: how far from the boxes it runs, from 0.
    """

    name: str
    color: int
    writers: list[int] = field(default_factory=list)
    readers: list[int] = field(default_factory=list)
    lane: int = 0

    @property
    def side(self) -> Side:
        """Where it runs."""
        return "right" if self.name in RIGHT else "left"

    @property
    def first(self) -> int:
        """The number of the first node that it meets."""
        return min(self.writers + self.readers)

    @property
    def last(self) -> int:
        """The number of the last node that it meets."""
        return max(self.writers + self.readers)


def wires(nodes: Sequence[Node], colors: int) -> list[Wire]:
    """The wires that something writes and something reads, in lanes; the shortest run next to the boxes."""
    found: dict[str, Wire] = {}
    for number, node in enumerate(nodes):
        for name in dict.fromkeys(node.writes):
            found.setdefault(name, Wire(name, 0)).writers.append(number)
        for name in dict.fromkeys(node.reads):
            found.setdefault(name, Wire(name, 0)).readers.append(number)
    connected = [wire for wire in found.values() if wire.writers and wire.readers]
    for number, wire in enumerate(connected):
        wire.color = number % colors
    taken: dict[tuple[Side, int], list[Wire]] = {}
    for wire in sorted(connected, key=lambda wire: (wire.last - wire.first, wire.first)):
        while any(_meet(wire, other) for other in taken.get((wire.side, wire.lane), [])):
            wire.lane += 1
        taken.setdefault((wire.side, wire.lane), []).append(wire)
    return connected


def _meet(wire: Wire, other: Wire) -> bool:
    return wire.first <= other.last and other.first <= wire.last
