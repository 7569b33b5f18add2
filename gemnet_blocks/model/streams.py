"""Feature streams besides the embeddings of atoms and edges: initial values, messages and updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.interactions.interaction import Embeddings
from gemnet_blocks.layers.dense import linear, skip
from gemnet_blocks.layers.irreps import Stream
from gemnet_blocks.layers.stream_updates import StreamUpdate
from gemnet_blocks.model.geometry_encoder import Geometry

Combination = Literal["add", "skip"]
"""add: x + Σ messages; skip: (x + Σ messages)/√n with n terms, which keeps the variance of independent terms."""


def combined(x: Tensor, messages: Sequence[Tensor], combine: Combination, divisor: float | None = None) -> Tensor:
    """Combine features with messages; the divisor replaces that of `combine`."""
    return skip(x, *messages, divisor=usual_divisor(combine, len(messages)) if divisor is None else divisor)


def usual_divisor(combine: Combination, messages: int) -> float:
    """Return the number by which the sum of features and messages is divided."""
    return math.sqrt(1 + messages) if combine == "skip" else 1.0


@dataclass(frozen=True, slots=True)
class ScalarsOf:
    """Computes the scalars of the rows of streams: embeddings of atoms and edges, and means over structures.

    Attributes:
        sums: how sums are computed.
    """

    sums: Sums

    def rows(self, stream: Stream, embeddings: Embeddings, geometry: Geometry) -> Float[Tensor, "rows scalars"]:
        """Return h for a stream on atoms, m for one on edges, and the mean of h for one on structures."""
        if stream.on == "structures":
            return self.mean(embeddings.atoms, geometry)
        return embeddings.atoms if stream.on == "atoms" else embeddings.edges

    def mean(self, x: Float[Tensor, "atoms features"], geometry: Geometry) -> Float[Tensor, "structures features"]:
        """Compute the mean over the atoms of each structure; zero for structures without atoms."""
        assert geometry.structure is not None
        return self.sums.mean_by_index(x, geometry.structure, geometry.structure_count)


@final
class InitialStream(nn.Module):
    """The values of a stream before the first block: zeros, or a linear map of the embeddings of its rows.

    Args:
        stream: the stream.
        scalar_size: features of the embeddings that are mapped; None: zeros.
        sums: how sums are computed.
    """

    def __init__(self, stream: Stream, scalar_size: int | None, sums: Sums) -> None:
        super().__init__()
        self.stream = stream
        self.size = stream.size
        self.scalars = ScalarsOf(sums)
        self.embedding = None if scalar_size is None else linear(scalar_size, self.size)

    def forward(self, embeddings: Embeddings, geometry: Geometry) -> Float[Tensor, "rows features"]:
        scalars = self.scalars.rows(self.stream, embeddings, geometry)
        if self.embedding is None:
            return scalars.new_zeros(scalars.shape[0], self.size)
        found: Tensor = self.embedding(scalars)
        return found


@final
class StreamLayer(nn.Module):
    """The end of a block for one stream: messages are added, then the stream is updated.

    Args:
        stream: the stream.
        combine: how messages are added.
        update: the update.
        sums: how sums are computed.
        divisor: the divisor of the stream with its messages; None: that of `combine`.
    """

    def __init__(
        self, stream: Stream, combine: Combination, update: StreamUpdate, sums: Sums, divisor: float | None = None
    ) -> None:
        super().__init__()
        self.stream = stream
        self.combine: Combination = combine
        self.divisor = divisor
        self.update = update
        self.scalars = ScalarsOf(sums)

    def forward(
        self,
        x: Float[Tensor, "rows features"],
        messages: Sequence[Tensor],
        embeddings: Embeddings,
        geometry: Geometry,
    ) -> Float[Tensor, "rows features"]:
        """Update the stream; `embeddings` are those after the block."""
        if self.stream.on == "structures":
            messages = [self.scalars.mean(message, geometry) for message in messages]
        total = combined(x, messages, self.combine, self.divisor)
        found: Tensor = self.update(total, self.scalars.rows(self.stream, embeddings, geometry))
        return found
