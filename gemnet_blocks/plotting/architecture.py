"""What reads what in an architecture: its parts as nodes, in the order of computation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gemnet_blocks.model.summary import parameter_count
from gemnet_blocks.spec.build import build_shapes
from gemnet_blocks.spec.schema import Spec

Section = Literal["input", "edge sets", "bases", "shared projections", "embeddings", "block", "read-out", "heads"]
"""Parts of the drawing from top to bottom."""

ATOMS, EDGES = "atoms", "edges"
"""The two embeddings that blocks read and write."""


@dataclass(frozen=True, slots=True)
class Node:
    """One part of an architecture.

    Attributes:
        key: tells it from all others, and is the same in a changed architecture.
        section: where it belongs.
        title: its name and kind.
        details: what there is to say of it.
        reads: the wires that it reads.
        writes: the wires that it writes.
        parameters: of all its occurrences together.
        used: whether anything reads it.
    """

    key: str
    section: Section
    title: str
    details: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    parameters: int = 0
    used: bool = True


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything that is drawn of an architecture.

    Attributes:
        nodes: in the order of computation.
        blocks: how often the nodes of the section `block` follow one another.
        parameters: of the whole model.
        content_hash: its name.
    """

    nodes: tuple[Node, ...]
    blocks: int
    parameters: int
    content_hash: str


def read_architecture(spec: Spec, extra: Mapping[str, type] | None = None, allow_imports: bool = False) -> Architecture:
    """Find what reads what in the model that a spec describes.

    Args:
        spec: the architecture.
        extra: your own parts by the name that `type` gives them.
        allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported.

    Raises:
        SpecError: the model cannot be built.
    """
    from gemnet_blocks.plotting.nodes import all_nodes

    model = build_shapes(spec, extra=extra, allow_imports=allow_imports)
    return Architecture(
        nodes=tuple(all_nodes(spec, model)),
        blocks=len(model.trunk.blocks),
        parameters=parameter_count(model),
        content_hash=spec.content_hash,
    )
