"""The rows that sums over neighbors gather, which published models fit scale factors over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from gemnet_blocks.graph.builder import Graphs
from gemnet_blocks.interactions.interaction import InteractionGeometry
from gemnet_blocks.interactions.message import Contraction
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.geometry_encoder import GeometryEncoder


class GatheredRows:
    """How often the sums of a model gather each row of their values: a row once per triplet or quadruplet it is in.

    Args:
        model: any module; the contractions of its blocks are found, whatever else it contains.
    """

    def __init__(self, model: nn.Module) -> None:
        encoders = [part for part in model.modules() if isinstance(part, GeometryEncoder)]
        blocks = [part for part in model.modules() if isinstance(part, Block)]
        self._encoder = encoders[0] if encoders else None
        self._graphs: Graphs | None = None
        self._interaction = {
            part.scale: name
            for block in blocks
            for name, interaction in block.interactions.items()
            for part in interaction.modules()
            if isinstance(part, Contraction)
        }

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, the graphs that the model computes are those that `counts` is about."""
        if self._encoder is None:
            yield
            return

        def note(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            self._graphs = arguments[0]

        handle = self._encoder.register_forward_pre_hook(note)
        try:
            yield
        finally:
            handle.remove()
            self._graphs = None

    def counts(self, scale: ScaleFactor, row_count: int) -> Int[Tensor, " rows"] | None:
        """How often each row of the reference of a scale factor is gathered; None where rows are not gathered."""
        name = self._interaction.get(scale)
        if name is None or self._encoder is None or self._graphs is None:
            return None
        shared = self._encoder.interactions[name]
        assert isinstance(shared, InteractionGeometry)
        rows = shared.gathered(self._graphs)
        return None if rows is None else torch.bincount(rows, minlength=row_count)
