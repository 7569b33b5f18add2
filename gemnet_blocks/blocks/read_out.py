"""The contract of reading out: output blocks between the interactions, and what is made of their results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.interactions.interaction import Embeddings, Sizes
from gemnet_blocks.layers.dense import Activation
from gemnet_blocks.layers.initialization import OutputInitialization
from gemnet_blocks.model.geometry_encoder import Geometry
from gemnet_blocks.options import Options


class ReadOutOptions(Options):
    """What a spec says of reading out; the base of every kind's own options."""

    type: str
    """The kind of reading out."""
    initialization: OutputInitialization = "he_orthogonal"
    """Initial weights of the last layers."""


@dataclass(frozen=True, slots=True)
class ReadOutContext:
    """What a spec says outside of the read-out's options.

    Attributes:
        sizes: widths.
        activation: of all layers.
        output_count: output blocks: one before the first block and one behind each.
        edges: whether edges are read out too, for direct forces.
        sums: how sums are computed.
    """

    sizes: Sizes
    activation: Activation
    output_count: int
    edges: bool
    sums: Sums


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """The result of one output block.

    Attributes:
        atoms: features of each atom.
        edges: features of each main edge; None without direct forces.
    """

    atoms: Float[Tensor, "atoms atom_out"]
    edges: Float[Tensor, "edges edge_out"] | None


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """What heads read.

    Attributes:
        atoms: one number per atom.
        edges: one number per main edge; None without direct forces.
    """

    atoms: Float[Tensor, " atoms"]
    edges: Float[Tensor, " edges"] | None


class OutputBlock(nn.Module, ABC):
    """Reads the embeddings before the first block or behind a block."""

    @abstractmethod
    def forward(self, embeddings: Embeddings, geometry: Geometry) -> Output:
        """What is read of the embeddings."""


class ReadOut(nn.Module, ABC):
    """Makes one number per atom, and per edge for direct forces, of the results of all output blocks."""

    Options: ClassVar[type[ReadOutOptions]]

    @classmethod
    @abstractmethod
    def output_block(cls, options: Any, context: ReadOutContext) -> OutputBlock:
        """Make one output block."""

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any, context: ReadOutContext) -> ReadOut:
        """Make the read-out."""

    @abstractmethod
    def forward(self, outputs: Sequence[Output]) -> Contributions:
        """The numbers that heads read."""
