"""PaiNN interaction: messages to scalars and vectors of atoms, and their update within each atom."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, final

import torch
from jaxtyping import Float
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
from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.dense import Dense, linear
from gemnet_blocks.layers.irreps import Stream, irreps
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.options import Size

SMALLEST = 1e-2
"""The number that is added to |V v|². The published implementation adds 1e-8, which leaves a kink of the energy at
structures of high symmetry, in which vectors vanish."""


VECTORS = "vectors"
"""The default name of the stream."""


class PaiNNOptions(GraphInteractionOptions):
    """Options of the PaiNN interaction."""

    type: Literal["painn"] = "painn"
    """The kind of interaction."""
    graph: str = "main"
    """The edge set of the edges b→a."""
    writes: str = VECTORS
    """The stream of the vectors, with irreps such as 32x1o. The interaction also writes the embeddings of atoms. The
    stream `vectors` is added if the spec does not declare it."""
    size: Size | None = None
    """The number of vectors of each atom of a stream that is added, such as 64; null: sizes.atom."""

    @override
    def stream_names(self) -> dict[str, str]:
        return {"writes": self.writes}

    @override
    def implied_streams(self, sizes: Sizes) -> dict[str, str]:
        # another name than the default one is likely to be misspelled if the spec does not declare it
        added = self.writes == VECTORS or self.size is not None
        return {self.writes: f"{self.size or sizes.atom}x1o"} if added else {}


def vector_count(stream: Stream, size: int | None) -> int:
    """Return the number of vectors of a stream that holds vectors of atoms alone.

    Raises:
        ValueError: the stream has other irreps, is not on atoms, or has another number of vectors than `size`.
    """
    found = irreps(stream.irreps)
    if stream.on != "atoms" or len(found) != 1 or str(found[0].ir) != "1o":
        raise ValueError(
            f"expected a stream of vectors on atoms, with irreps such as 32x1o, but the stream {stream.name!r} on "
            f"{stream.on} has the irreps {stream.irreps}: change it, or write another stream with `writes`"
        )
    if size not in (None, found[0].mul):
        raise ValueError(
            f"expected {size} vectors, as `size` says, but the stream {stream.name!r} has the irreps {stream.irreps}: "
            "remove `size`"
        )
    return int(found[0].mul)


@final
class PaiNNInteraction(Interaction[DirectedEdges]):
    r"""PaiNN: equivariant message passing between scalars h and vectors v of atoms.

    The messages along the edges b→a with unit vectors $\hat r_{ba}$, and the update of each atom, are

    $$\Delta h_a = \sum_b φ_s(h_b) ⊙ W_s, \qquad
    \Delta v_a = \sum_b \left[ v_b ⊙ φ_{vv}(h_b) ⊙ W_{vv} + φ_{vs}(h_b) ⊙ W_{vs}\, \hat r_{ba} \right],$$

    $$\Delta' h_a = a_{ss} + a_{sv} ⊙ ⟨U v_a, V v_a⟩, \qquad \Delta' v_a = a_{vv} ⊙ U v_a,$$

    where the filters W are linear in the radial basis, φ and a are networks of one hidden layer, a = a(h_a, |V v_a|),
    and the update reads h and v after the messages. The interaction returns the sums of both changes. The two sums over
    neighbors have scale factors, as all sums in GemNet-OC.
    Schütt et al., arXiv 2102.03150.

    Args:
        stream: the name of the stream of the vectors.
        atom_size: features of atom embeddings.
        vectors: the number of vectors of each atom.
        radial_count: the number of radial functions.
        sums: how sums are computed.
        activation: the activation of the networks.
    """

    Options = PaiNNOptions
    writes = ("atoms", VECTORS)
    reads = "atoms, vectors, their distances, their directions"

    def __init__(
        self,
        stream: str,
        atom_size: int,
        vectors: int,
        radial_count: int,
        sums: Sums,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.writes = ("atoms", stream)
        self.reads = f"atoms, {stream}, their distances, their directions"
        self.stream = stream
        self.sums = sums
        self.sizes = [atom_size, vectors, vectors]
        total = sum(self.sizes)
        self.filters = linear(radial_count, total)
        self.scale_scalars, self.scale_vectors = ScaleFactor(), ScaleFactor()
        self.of_source = nn.Sequential(Dense(atom_size, atom_size, activation), linear(atom_size, total))
        self.u = linear(vectors, vectors)
        self.v = linear(vectors, vectors)
        self.of_atom = nn.Sequential(Dense(atom_size + vectors, atom_size, activation), linear(atom_size, total))
        self.products = nn.Identity() if vectors == atom_size else linear(vectors, atom_size)

    @classmethod
    @override
    def shared_geometry(cls, options: PaiNNOptions, context: BuildContext) -> SharedDirectedEdges:
        return SharedDirectedEdges(options.graph, nn.Identity())

    @classmethod
    @override
    def from_options(cls, options: PaiNNOptions, context: BuildContext) -> PaiNNInteraction:
        vectors = vector_count(context.streams[options.writes], options.size)
        return cls(options.writes, context.sizes.atom, vectors, context.radial_count, context.sums, context.activation)

    @override
    def last_weights(self, streams: Collection[str]) -> Sequence[Tensor]:
        rows = []
        for network in (self.of_source, self.of_atom):
            last = network[-1]
            assert isinstance(last, nn.Linear)
            rows.append(last.weight.split(self.sizes))
        of_source, of_atom = rows
        weights = [] if "atoms" not in streams else [of_source[0], of_atom[0], of_atom[1]]
        return weights if self.stream not in streams else [*weights, of_source[1], of_source[2], of_atom[2]]

    @override
    def forward(self, embeddings: Embeddings, geometry: DirectedEdges) -> dict[str, Tensor]:
        h, flat = embeddings.atoms, embeddings.streams[self.stream]
        v = flat.view(flat.shape[0], self.sizes[-1], 3)
        to_h, to_v = self._messages(h, v, geometry)
        of_h, of_v = self._update(h + to_h, v + to_v)
        return {"atoms": to_h + of_h, self.stream: (to_v + of_v).flatten(1)}

    def _messages(
        self, h: Float[Tensor, "atoms atom_size"], v: Float[Tensor, "atoms vectors 3"], edges: DirectedEdges
    ) -> tuple[Float[Tensor, "atoms atom_size"], Float[Tensor, "atoms vectors 3"]]:
        """Sum the messages of all edges into each atom."""
        filtered = self.of_source(h).index_select(0, edges.source) * self.filters(edges.radial)
        scalars, along, radially = filtered.split(self.sizes, dim=1)
        vectors = v.index_select(0, edges.source) * along[:, :, None] + radially[:, :, None] * edges.angular[:, None, :]
        return (
            self.scale_scalars(self.sums.by_index(scalars, edges.target, edges.atom_count), h),
            self.scale_vectors(self.sums.by_index(vectors, edges.target, edges.atom_count)),
        )

    def _update(
        self, h: Float[Tensor, "atoms atom_size"], v: Float[Tensor, "atoms vectors 3"]
    ) -> tuple[Float[Tensor, "atoms atom_size"], Float[Tensor, "atoms vectors 3"]]:
        """Compute the changes of h and v from both within each atom."""
        by_component = v.transpose(1, 2)
        u, w = self.u(by_component), self.v(by_component)
        squares, products = (w * w).sum(1), (u * w).sum(1)
        lengths = (squares + SMALLEST).sqrt()
        scalars, mixed, scaled = self.of_atom(torch.cat([h, lengths], dim=1)).split(self.sizes, dim=1)
        return scalars + self.products(mixed * products), u.transpose(1, 2) * scaled[:, :, None]
