"""Readout of the final embeddings of atoms, for models without edge embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, final

from torch import nn
from typing_extensions import override

from gemnet_blocks.interactions.interaction import Embeddings
from gemnet_blocks.layers.dense import Dense
from gemnet_blocks.model.geometry_encoder import Geometry
from gemnet_blocks.model.readout import (
    Contributions,
    LastLinear,
    Output,
    OutputBlock,
    Readout,
    ReadoutContext,
    ReadoutOptions,
)
from gemnet_blocks.options import Count, Size


class AtomReadoutOptions(ReadoutOptions):
    """Options of the readout of the final embeddings of atoms."""

    type: Literal["atoms"] = "atoms"
    """The kind of readout."""
    layers: Count = 1
    """The number of dense layers before the last linear map."""
    size: Size | None = None
    """Features of these layers, such as 64; null: sizes.atom."""


@final
class AtomOutputBlock(OutputBlock):
    """Output block that passes on the embeddings of atoms."""

    @override
    def forward(self, embeddings: Embeddings, geometry: Geometry) -> Output:
        return Output(embeddings.atoms, None)


@final
class AtomReadout(Readout):
    """The readout of SchNet, PaiNN and NequIP: e_a = lin(layers(h_a)) with the embeddings after the last block.

    It reads no edges, so that forces must be the gradient of the energy.

    Args:
        layers: the layers before the last linear map.
        last: the last linear map.
    """

    Options = AtomReadoutOptions
    reads_edges = False

    def __init__(self, layers: nn.Module, last: LastLinear) -> None:
        super().__init__()
        self.layers = layers
        self.last = last

    @classmethod
    @override
    def output_block(cls, options: AtomReadoutOptions, context: ReadoutContext) -> AtomOutputBlock:
        return AtomOutputBlock()

    @classmethod
    @override
    def from_options(cls, options: AtomReadoutOptions, context: ReadoutContext) -> AtomReadout:
        sizes = [context.sizes.atom, *[options.size or context.sizes.atom] * options.layers]
        layers = [Dense(size, next_size, context.activation) for size, next_size in pairwise(sizes)]
        return cls(nn.Sequential(*layers), LastLinear(sizes[-1], options.initialization))

    @override
    def forward(self, outputs: Sequence[Output]) -> Contributions:
        return Contributions(self.last(self.layers(outputs[-1].atoms)), None)
