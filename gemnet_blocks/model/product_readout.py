"""The readout of GemNet of 2021, whose atoms and direct forces read the same products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

from torch import nn

from gemnet_blocks.interactions.interaction import Embeddings
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.block import AtomUpdate, stack
from gemnet_blocks.model.geometry_encoder import Geometry
from gemnet_blocks.model.readout import (
    Contributions,
    LastLinear,
    Output,
    OutputBlock,
    Readout,
    ReadoutContext,
    SummedOptions,
    SummedOutputBlock,
    SummedReadout,
)


class SummedProductOptions(SummedOptions):
    """Options of the readout that sums the numbers of all output blocks, which are read from products."""

    type: Literal["summed_product"] = "summed_product"  # type: ignore[assignment]
    """The kind of readout. It differs from `summed` for direct forces only: the layers on edges read the product that
    is summed at atoms, instead of multiplying their result by radial functions with weights of their own."""


@final
class ProductOutputBlock(OutputBlock):
    """Output block whose layers on atoms and on edges read the same product p_ca = m_ca ⊙ lin(rad_ca).

    x_a = layers(scale · Σ_{c→a} p_ca), x_ca = layers(scale · p_ca).

    Args:
        update: the sum over edges and the layers on atoms.
        edge_layers: the layers on edges.
    """

    def __init__(self, update: AtomUpdate, edge_layers: nn.Module) -> None:
        super().__init__()
        self.update = update
        self.edge_layers = edge_layers
        self.edge_scale = ScaleFactor()

    def forward(self, embeddings: Embeddings, geometry: Geometry) -> Output:
        edges, m = geometry.main.edges, embeddings.edges
        product = m * self.update.radial(geometry.output_radial)
        x = self.update.of_product(product, m, edges.target, edges.atom_count)
        return Output(x, self.edge_layers(self.edge_scale(product, m)))


@final
class SummedProductReadout(Readout):
    """The readout of GemNet-Q, -dQ, -T and -dT of 2021: `SummedReadout` with `ProductOutputBlock` for direct forces.

    GemNet (Gasteiger et al., NeurIPS 2021, arXiv 2106.08903).
    """

    Options = SummedProductOptions

    def __init__(self) -> None:
        super().__init__()
        self.summed = SummedReadout()

    @classmethod
    def output_block(cls, options: SummedProductOptions, context: ReadoutContext) -> SummedOutputBlock:
        if not context.edges:
            return SummedReadout.output_block(options, context)
        sizes, activation, layers, projection = context.sizes, context.activation, options.layers, options.projection
        edge_layers = stack(sizes.edge, sizes.edge, layers, activation, projection)
        update = AtomUpdate(sizes.edge, sizes.atom, sizes.radial, layers, context.sums, activation, projection)
        return SummedOutputBlock(
            ProductOutputBlock(update, edge_layers),
            LastLinear(sizes.atom, options.initialization),
            LastLinear(sizes.edge, options.initialization),
        )

    @classmethod
    def from_options(cls, options: SummedProductOptions, context: ReadoutContext) -> SummedProductReadout:
        return cls()

    def forward(self, outputs: Sequence[Output]) -> Contributions:
        result: Contributions = self.summed(outputs)
        return result
