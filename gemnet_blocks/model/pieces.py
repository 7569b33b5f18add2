"""Division of a traced model into pieces, so that equal blocks share one compiled code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import sympy
import torch
from torch import SymInt, Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.fx.node import map_arg
from torch.utils.hooks import RemovableHandle

from gemnet_blocks.model.compiled_graph import is_size

PIECE = "piece"
"""The key of a node's metadata under which the number of its piece is stored."""


@contextmanager
def marked(starts: Sequence[torch.nn.Module], last: torch.nn.Module) -> Iterator[None]:
    """Number the operations that are traced inside: a piece begins with each module, and one after the last module."""
    number = 0

    def mark(*_: Any) -> None:
        nonlocal number
        mode = get_proxy_mode()
        assert mode is not None
        for node in reversed(mode.tracer.graph.nodes):
            if PIECE in node.meta:
                break
            node.meta[PIECE] = number
        number += 1

    handles: list[RemovableHandle] = [module.register_forward_pre_hook(mark) for module in starts]
    handles.append(last.register_forward_hook(mark))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@final
@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Successive operations of a traced model.

    Attributes:
        nodes: the operations on tensors.
        inputs: the tensors from outside.
        outputs: the tensors that others read, in this piece or in one with equal operations.
        symbols: the symbols in sizes.
        key: equal for pieces with equal operations.
    """

    nodes: Sequence[Node]
    inputs: Sequence[Node]
    outputs: Sequence[Node]
    symbols: Sequence[sympy.Symbol]
    key: Hashable

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        """Compute the outputs; sizes are those of the trace."""
        values: dict[Node, Any] = dict(zip(self.inputs, tensors, strict=True))

        def value_of(node: Node) -> Any:
            return values[node] if node in values else node.meta["val"]

        for node in self.nodes:
            target: Callable[..., Any] = node.target  # type: ignore[assignment]
            values[node] = target(*map_arg(node.args, value_of), **map_arg(node.kwargs, value_of))
        return [values[node] for node in self.outputs]


def divided(module: GraphModule) -> list[Piece]:
    """Divide the operations of a trace by the numbers of `marked`; those behind the last one are the last piece.

    Pieces with equal operations get equal outputs, so that they are equal: the embeddings of the last block are
    outputs, although nothing reads them.
    """
    groups: list[list[Node]] = [[]]
    number = 0
    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        found = node.meta.get(PIECE)
        if found != number:
            groups.append([])
            number = found
        groups[-1].append(node)
    pieces = [_piece(nodes) for nodes in groups if nodes]
    places: dict[Hashable, set[int]] = defaultdict(set)
    for piece in pieces:
        places[piece.key].update(map(piece.nodes.index, piece.outputs))
    return [replace(piece, outputs=[piece.nodes[i] for i in sorted(places[piece.key])]) for piece in pieces]


def _piece(nodes: Sequence[Node]) -> Piece:
    inside = set(nodes)
    tensors = [node for node in nodes if not is_size(node.meta.get("val"))]
    inputs = dict.fromkeys(
        given
        for node in tensors
        for given in node.all_input_nodes
        if given not in inside and not is_size(given.meta.get("val"))
    )
    outputs = [
        node
        for node in tensors
        if isinstance(node.meta.get("val"), Tensor) and any(user not in inside for user in node.users)
    ]
    number = {node: i for i, node in enumerate([*inputs, *tensors])}
    symbols: set[sympy.Symbol] = set()

    def described(value: Any) -> str:
        if isinstance(value, Node):
            return f"%{number[value]}" if value in number else described(value.meta["val"])
        if isinstance(value, SymInt):
            symbols.update(value.node.expr.free_symbols)
            return str(value.node.expr)
        if isinstance(value, Tensor):
            return f"{value.dtype}{value.device}[{','.join(map(described, value.shape))}]"
        if isinstance(value, list | tuple):
            return f"[{','.join(map(described, value))}]"
        if isinstance(value, Mapping):
            return str({key: described(item) for key, item in value.items()})
        return repr(value)

    key = (
        *(described(node.meta["val"]) for node in inputs),
        *(f"{node.target}{described(node.args)}{described(node.kwargs)}" for node in tensors),
    )
    return Piece(tensors, list(inputs), outputs, sorted(symbols, key=str), key)
