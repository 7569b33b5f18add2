"""GemNet-T's reading out: every output block ends in numbers, which are added up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Literal, final

from torch import nn

from gemnet_blocks.blocks.read_out import (
    Contributions,
    Output,
    OutputBlock,
    ReadOut,
    ReadOutContext,
    ReadOutOptions,
)
from gemnet_blocks.blocks.update import AtomUpdate, Projection, stack
from gemnet_blocks.interactions.interaction import Embeddings
from gemnet_blocks.model.geometry_encoder import Geometry
from gemnet_blocks.model.readout import ConcatenatedOutputBlock, LastLinear
from gemnet_blocks.options import Count


class SummedOptions(ReadOutOptions):
    """One number per atom and edge from every output block, added up."""

    type: Literal["summed"] = "summed"
    """The kind of reading out."""
    layers: Count
    """Residual layers of each output block, on atoms and on edges."""
    projection: Projection = "always"
    """Whether these stacks start with a dense layer even when their input is as wide as they are."""


@final
class SummedOutputBlock(OutputBlock):
    """One number per atom, and per edge for direct forces: e_a = lin(x_a), f_ca = lin(x_ca).

    Args:
        features: makes the features x_a and x_ca.
        atoms: from features of atoms to numbers.
        edges: from features of edges to numbers, or None where edges are not read.
    """

    def __init__(self, features: OutputBlock, atoms: LastLinear, edges: LastLinear | None) -> None:
        super().__init__()
        self.features = features
        self.atoms = atoms
        self.edges = edges

    def forward(self, embeddings: Embeddings, geometry: Geometry) -> Output:
        """The numbers, as features of width one."""
        found = self.features(embeddings, geometry)
        edges = None if self.edges is None else self.edges(found.edges)[:, None]
        return Output(self.atoms(found.atoms)[:, None], edges)


@final
class SummedReadOut(ReadOut):
    """The numbers of all output blocks, added up: e_a = Σ_i e_a⁽ⁱ⁾, f_ca = Σ_i f_ca⁽ⁱ⁾.

    GemNet (arXiv 2106.08903), as in GemNet-T and GemNet-dT.
    """

    Options = SummedOptions

    @classmethod
    def output_block(cls, options: SummedOptions, context: ReadOutContext) -> SummedOutputBlock:
        """Make one output block."""
        sizes, activation, layers, projection = context.sizes, context.activation, options.layers, options.projection
        edge_layers: nn.Module | None = None
        if context.edges:
            edge_layers = stack(sizes.edge, sizes.edge, layers, activation, projection)
        features = ConcatenatedOutputBlock(
            AtomUpdate(sizes.edge, sizes.atom, sizes.radial, layers, context.sums, activation, projection),
            None,
            edge_layers,
            sizes.edge,
            sizes.radial,
        )
        return SummedOutputBlock(
            features,
            LastLinear(sizes.atom, options.initialization),
            LastLinear(sizes.edge, options.initialization) if context.edges else None,
        )

    @classmethod
    def from_options(cls, options: SummedOptions, context: ReadOutContext) -> SummedReadOut:
        """Make the read-out."""
        return cls()

    def forward(self, outputs: Sequence[Output]) -> Contributions:
        """The numbers that heads read."""
        edges = [output.edges[:, 0] for output in outputs if output.edges is not None]
        return Contributions(
            reduce(add, [output.atoms[:, 0] for output in outputs]), reduce(add, edges) if edges else None
        )
