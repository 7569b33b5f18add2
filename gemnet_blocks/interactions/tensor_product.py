"""Tensor-product interaction: messages to equivariant features of any degree, as in NequIP."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.interactions.directed_edges import DirectedEdges, SharedDirectedEdges
from gemnet_blocks.interactions.interaction import (
    BuildContext,
    Embeddings,
    GraphInteractionOptions,
    Interaction,
    Sizes,
)
from gemnet_blocks.layers.activations import Activation, activation_module
from gemnet_blocks.layers.dense import Dense, linear
from gemnet_blocks.layers.equivariant import EquivariantLinear, Harmonics, TensorProduct, unreachable
from gemnet_blocks.layers.irreps import MAX_DEGREE, Stream, irreps
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.options import Count, Size

TENSORS = "tensors"
"""The default name of the stream."""


class TensorProductOptions(GraphInteractionOptions):
    """Options of the tensor-product interaction."""

    type: Literal["tensor_product"] = "tensor_product"
    """The kind of interaction."""
    graph: str = "main"
    """The edge set of the edges b→a."""
    writes: str = TENSORS
    """The stream of the equivariant features, with irreps such as 32x1o+32x2e. The interaction also writes the
    embeddings of atoms. The stream `tensors` is added if the spec does not declare it."""
    degree: Annotated[int, Field(ge=1, le=MAX_DEGREE)] = 2
    """The largest degree of the spherical harmonics of directions, such as 1 or 2."""
    size: Size | None = None
    """The number of features of each degree of a stream that is added, such as 32; null: sizes.atom."""
    radial: Size = 64
    """Features of the layers of the network that computes the weights of the paths from the radial basis."""
    radial_layers: Count = 2
    """The number of layers of this network before the last one."""

    @override
    def stream_names(self) -> dict[str, str]:
        return {"writes": self.writes}

    @override
    def implied_streams(self, sizes: Sizes) -> dict[str, str]:
        parts = [f"{self.size or sizes.atom}x{degree}{'eo'[degree % 2]}" for degree in range(1, self.degree + 1)]
        # another name than the default one is likely to be misspelled if the spec does not declare it
        return {self.writes: "+".join(parts)} if self.writes == TENSORS or self.size is not None else {}


@final
class TensorProductInteraction(Interaction[DirectedEdges]):
    r"""NequIP: messages from products of the features of neighbors with spherical harmonics of the directions.

    With the scalars h and the features t of atoms, the messages along the edges b→a are

    $$x_b = \mathrm{lin}_1([h_b, t_b]), \qquad
    [\Delta h_a, \Delta t_a] = \mathrm{lin}_2\Big(s \sum_b x_b ⊗_{w_{ba}} Y(\hat r_{ba})\Big), \qquad
    w_{ba} = \mathrm{network}(rad(d_{ba})),$$

    where ⊗ is the tensor product with a weight for each path, lin are linear maps of each irrep, and s is a scale
    factor. The message to atoms is act(Δh). Batzner et al., arXiv 2101.03164.

    Args:
        stream: the stream of the features t.
        atom_size: features of atom embeddings.
        harmonics: the irreps of the harmonics Y.
        radial_count: the number of radial functions.
        radial_sizes: features of the hidden layers of the network.
        sums: how sums are computed.
        activation: the activation of the network and of the message to atoms.
    """

    Options = TensorProductOptions
    writes = ("atoms", TENSORS)
    reads = "atoms, tensors, their distances, their directions"

    def __init__(
        self,
        stream: Stream,
        atom_size: int,
        harmonics: str,
        radial_count: int,
        radial_sizes: list[int],
        sums: Sums,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.writes = ("atoms", stream.name)
        self.reads = f"atoms, {stream.name}, their distances, their directions"
        self.stream = stream.name
        self.sums = sums
        both = f"{atom_size}x0e+{stream.irreps}"
        self.sizes = [atom_size, stream.size]
        summed = f"{max(part.mul for part in irreps(stream.irreps))}x0e+{stream.irreps}"
        self.before = EquivariantLinear(both, summed)
        self.product = TensorProduct(summed, harmonics, both)
        sizes = [radial_count, *radial_sizes]
        hidden = [Dense(size, next_size, activation) for size, next_size in pairwise(sizes)]
        # without biases, so that the weights vanish with the radial basis at the cutoff
        self.network = nn.Sequential(*hidden, linear(sizes[-1], self.product.weight_count))
        self.scale = ScaleFactor()
        self.after = EquivariantLinear(self.product.irreps_out, both)
        self.activation = activation_module(activation)

    @classmethod
    @override
    def shared_geometry(cls, options: TensorProductOptions, context: BuildContext) -> SharedDirectedEdges:
        return SharedDirectedEdges(options.graph, Harmonics(options.degree))

    @classmethod
    @override
    def from_options(cls, options: TensorProductOptions, context: BuildContext) -> TensorProductInteraction:
        stream = context.streams[options.writes]
        if stream.on != "atoms":
            raise ValueError(f"expected a stream on atoms, but the stream {stream.name!r} is on {stream.on}")
        if options.size is not None and irreps(stream.irreps) != irreps(
            options.implied_streams(context.sizes)[stream.name]
        ):
            raise ValueError(
                f"`size: {options.size}` does not fit the stream {stream.name!r} with the irreps {stream.irreps}: "
                "remove `size`, which is for streams that the spec does not declare"
            )
        if missing := unreachable(stream.irreps, options.degree):
            raise ValueError(
                f"the stream {stream.name!r} has the irreps {', '.join(missing)}, which messages with harmonics up to "
                f"degree {options.degree} never reach: raise `degree`, or remove them from the stream"
            )
        return cls(
            stream,
            context.sizes.atom,
            Harmonics(options.degree).irreps,
            context.radial_count,
            [options.radial] * options.radial_layers,
            context.sums,
            context.activation,
        )

    @override
    def last_weights(self, streams: Collection[str]) -> Sequence[Tensor]:
        # the first irreps of the result are the scalars of atoms
        paths = zip(self.after.weights, self.after.map.instructions, strict=True)
        return [weight for weight, path in paths if ("atoms" if path.i_out == 0 else self.stream) in streams]

    @override
    def forward(self, embeddings: Embeddings, geometry: DirectedEdges) -> dict[str, Tensor]:
        h, t = embeddings.atoms, embeddings.streams[self.stream]
        x = self.before(torch.cat([h, t], dim=1)).index_select(0, geometry.source)
        messages = self.product(x, geometry.angular, self.network(geometry.radial))
        summed = self.sums.by_index(messages, geometry.target, geometry.atom_count)
        scalars, features = self.after(self.scale(summed, h)).split(self.sizes, dim=1)
        return {"atoms": self.activation(scalars), self.stream: features}
