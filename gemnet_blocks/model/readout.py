"""Readouts: one number per atom and per edge from the results of all output blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.geometry.edges import SymmetricEdges
from gemnet_blocks.interactions.interaction import Embeddings, Sizes
from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.dense import Dense, linear, skip
from gemnet_blocks.layers.initialization import OutputInitialization, initialize_output_
from gemnet_blocks.layers.residual import residuals
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.block import AtomUpdate, Projection, stack
from gemnet_blocks.model.geometry_encoder import Geometry
from gemnet_blocks.options import Count, Options


class ReadoutOptions(Options):
    """Base class of the options of readouts."""

    type: str
    """The kind of readout."""
    initialization: OutputInitialization = "he_orthogonal"
    """Initial weights of the last layers."""


@dataclass(frozen=True, slots=True)
class ReadoutContext:
    """The parts of a spec that readouts need besides their options.

    Attributes:
        sizes: widths of the embeddings.
        activation: the activation of all layers.
        output_count: the number of output blocks: one before the first block and one after each.
        edges: whether edges are read, too, for direct forces.
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
class BackboneOutput:
    """The output of the backbone.

    Attributes:
        main: the edges that carry embeddings.
        outputs: the result of every output block.
        embeddings: the embeddings after the last block.
        radial: projected radial functions of the main edges for output blocks, which vanish at the cutoff.
    """

    main: SymmetricEdges
    outputs: tuple[Output, ...]
    embeddings: Embeddings
    radial: Float[Tensor, "edges radial_size"]


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """The input of the heads.

    Attributes:
        atoms: one number per atom.
        edges: one number per main edge; None without direct forces.
    """

    atoms: Float[Tensor, " atoms"]
    edges: Float[Tensor, " edges"] | None


class OutputBlock(nn.Module, ABC):
    """Base class of output blocks, which read the embeddings before the first block or after a block."""

    @abstractmethod
    def forward(self, embeddings: Embeddings, geometry: Geometry) -> Output:
        """Compute features of atoms, and of edges for direct forces."""


class Readout(nn.Module, ABC):
    """Base class of readouts, which map the results of all output blocks to one number per atom and per edge.

    Attributes:
        Options: the class of its options.
        reads_edges: whether it reads embeddings and radial functions of edges; if not, forces cannot be direct.
    """

    Options: ClassVar[type[ReadoutOptions]]
    reads_edges: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def output_block(cls, options: Any, context: ReadoutContext) -> OutputBlock:
        """Make one output block."""

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any, context: ReadoutContext) -> Readout:
        """Make the readout."""

    @abstractmethod
    def forward(self, outputs: Sequence[Output]) -> Contributions:
        """Compute the input of the heads."""


class ConcatenatedOptions(ReadoutOptions):
    """Options of the readout that concatenates the results of all output blocks."""

    type: Literal["concatenated"] = "concatenated"
    """The kind of readout."""
    layers: Count
    """Residual layers of each output block, on atoms and on edges."""
    after_atom: Count
    """Residual layers of each output block after the sum with the atom embedding; 0 leaves the sum out."""
    network: Count = 2
    """Residual layers of the network that reads all results."""


@final
class ConcatenatedOutputBlock(OutputBlock):
    """Output block with an atom update for atoms and separate layers for edges.

    x_a = layers(scale · Σ_{c→a} m_ca ⊙ lin(rad_ca)), then layers((x_a + h_a)/√2);
    x_ca = scale · (layers(m_ca) ⊙ lin(rad_ca)).

    Args:
        update: the sum over edges and the first layers.
        after_atom: the layers after the sum with the atom embedding; None leaves out both.
        edge_layers: the layers on edges; None if edges are not read.
        edge_size: features of edge embeddings.
        radial_size: features of projected radial functions.
    """

    def __init__(
        self,
        update: AtomUpdate,
        after_atom: nn.Module | None,
        edge_layers: nn.Module | None,
        edge_size: int,
        radial_size: int,
    ) -> None:
        super().__init__()
        self.update = update
        self.after_atom = after_atom
        self.edge_layers = edge_layers
        if edge_layers is not None:
            self.edge_radial = linear(radial_size, edge_size)
            self.edge_scale = ScaleFactor()

    def forward(self, embeddings: Embeddings, geometry: Geometry) -> Output:
        edges = geometry.main.edges
        x = self.update(embeddings.edges, geometry.output_radial, edges.target, edges.atom_count)
        if self.after_atom is not None:
            x = self.after_atom(skip(x, embeddings.atoms))
        if self.edge_layers is None:
            return Output(x, None)
        y = self.edge_layers(embeddings.edges)
        return Output(x, self.edge_scale.of_product(y, self.edge_radial, geometry.output_radial))


@final
class LastLinear(nn.Module):
    """A bias-free linear map to one number, always in float32 or wider, also under autocast.

    Args:
        in_size: features in.
        initialization: initial weights.
    """

    def __init__(self, in_size: int, initialization: OutputInitialization = "he_orthogonal") -> None:
        super().__init__()
        self.linear = nn.Linear(in_size, 1, bias=False)
        initialize_output_(self.linear.weight, initialization)

    def forward(self, x: Float[Tensor, "rows in_size"]) -> Float[Tensor, " rows"]:
        with torch.autocast(x.device.type, enabled=False):
            wide = torch.promote_types(x.dtype, torch.float32)
            return (x.to(wide) @ self.linear.weight.to(wide).T)[:, 0]


@final
class OutputNetwork(nn.Module):
    """The network from concatenated features to one number per row: Dense, residual layers, linear.

    Args:
        in_size: features in.
        size: features of the layers.
        residual_count: residual layers.
        activation: the activation of the layers.
        initialization: initial weights of the last layer.
    """

    def __init__(
        self,
        in_size: int,
        size: int,
        residual_count: int,
        activation: Activation = "silu",
        initialization: OutputInitialization = "he_orthogonal",
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(Dense(in_size, size, activation), *residuals(residual_count, size, activation))
        self.last = LastLinear(size, initialization)

    def forward(self, features: Sequence[Float[Tensor, "rows features"]]) -> Float[Tensor, " rows"]:
        return self.last(self.layers(torch.cat(list(features), dim=-1)))


@final
class ConcatenatedReadout(Readout):
    """The readout of GemNet-OC: one network reads the concatenated results of all output blocks.

    GemNet-OC (arXiv 2204.02782).

    Args:
        atoms: the network for atoms.
        edges: the network for edges; None without direct forces.
    """

    Options = ConcatenatedOptions

    def __init__(self, atoms: OutputNetwork, edges: OutputNetwork | None = None) -> None:
        super().__init__()
        self.atoms = atoms
        self.edges = edges

    @classmethod
    def output_block(cls, options: ConcatenatedOptions, context: ReadoutContext) -> ConcatenatedOutputBlock:
        sizes, activation = context.sizes, context.activation
        return ConcatenatedOutputBlock(
            AtomUpdate(sizes.edge, sizes.atom, sizes.radial, options.layers, context.sums, activation),
            residuals(options.after_atom, sizes.atom, activation) if options.after_atom else None,
            residuals(options.layers, sizes.edge, activation) if context.edges else None,
            sizes.edge,
            sizes.radial,
        )

    @classmethod
    def from_options(cls, options: ConcatenatedOptions, context: ReadoutContext) -> ConcatenatedReadout:
        def network(size: int) -> OutputNetwork:
            return OutputNetwork(
                size * context.output_count, size, options.network, context.activation, options.initialization
            )

        return cls(network(context.sizes.atom), network(context.sizes.edge) if context.edges else None)

    def forward(self, outputs: Sequence[Output]) -> Contributions:
        edges = [output.edges for output in outputs if output.edges is not None]
        return Contributions(
            self.atoms([output.atoms for output in outputs]), None if self.edges is None else self.edges(edges)
        )


class SummedOptions(ReadoutOptions):
    """Options of the readout that sums the numbers of all output blocks."""

    type: Literal["summed"] = "summed"
    """The kind of readout."""
    layers: Count
    """Residual layers of each output block, on atoms and on edges."""
    projection: Projection = "always"
    """always: stacks start with a dense layer; if_needed: only if the width changes."""


@final
class SummedOutputBlock(OutputBlock):
    """Output block with one number per atom, and per edge for direct forces: e_a = lin(x_a), f_ca = lin(x_ca).

    Args:
        features: computes the features x_a and x_ca.
        atoms: the linear map of atoms.
        edges: the linear map of edges; None if edges are not read.
    """

    def __init__(self, features: OutputBlock, atoms: LastLinear, edges: LastLinear | None) -> None:
        super().__init__()
        self.features = features
        self.atoms = atoms
        self.edges = edges

    def forward(self, embeddings: Embeddings, geometry: Geometry) -> Output:
        found = self.features(embeddings, geometry)
        edges = None if self.edges is None else self.edges(found.edges)[:, None]
        return Output(self.atoms(found.atoms)[:, None], edges)


@final
class SummedReadout(Readout):
    """The readout of GemNet: the sum of the numbers of all output blocks, e_a = Σ_i e_a⁽ⁱ⁾, f_ca = Σ_i f_ca⁽ⁱ⁾.

    GemNet (arXiv 2106.08903), as in GemNet-T and GemNet-dT.
    """

    Options = SummedOptions

    @classmethod
    def output_block(cls, options: SummedOptions, context: ReadoutContext) -> SummedOutputBlock:
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
    def from_options(cls, options: SummedOptions, context: ReadoutContext) -> SummedReadout:
        return cls()

    def forward(self, outputs: Sequence[Output]) -> Contributions:
        edges = [output.edges[:, 0] for output in outputs if output.edges is not None]
        return Contributions(
            reduce(add, [output.atoms[:, 0] for output in outputs]), reduce(add, edges) if edges else None
        )
