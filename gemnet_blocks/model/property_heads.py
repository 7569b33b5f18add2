"""Heads of properties besides energy and forces: any scalar, vector or tensor of a structure or of its atoms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor, nn

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.interactions.interaction import Sizes
from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.dense import linear
from gemnet_blocks.layers.initialization import OutputInitialization
from gemnet_blocks.layers.irreps import Stream
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.block import stack
from gemnet_blocks.model.readout import BackboneOutput, LastLinear
from gemnet_blocks.model.stream_values import StreamValues
from gemnet_blocks.options import Count, Options
from gemnet_blocks.structures import PropertyKind, PropertyOwner, PropertyShape, Structures

EMBEDDINGS = ("atoms", "edges")
"""What heads read besides feature streams."""


class PropertyHeadOptions(Options):
    """Base class of the options of property heads, which declare what is predicted."""

    type: str
    """The kind of head."""
    per: PropertyOwner = "structure"
    """structure: one value per structure, such as a band gap; atom: one value per atom, such as a charge."""
    shape: PropertyShape = "scalar"
    """scalar: a number; vector: three components; tensor: a symmetric 3 × 3 matrix."""

    @property
    def kind(self) -> PropertyKind:
        """The kind of the property, by which labels are read and predictions are normalized."""
        return PropertyKind(self.per, self.shape)


@dataclass(frozen=True, slots=True)
class HeadContext:
    """The parts of a spec that property heads need besides their options.

    Attributes:
        sizes: widths of the embeddings.
        activation: the activation of all layers.
        sums: how sums are computed.
        streams: the feature streams by name.
    """

    sizes: Sizes
    activation: Activation
    sums: Sums
    streams: Mapping[str, Stream] = field(default_factory=dict)


class PropertyHead(nn.Module, ABC):
    """Base class of property heads, which read the output of the backbone.

    A custom head has options (a subclass of `PropertyHeadOptions`), a constructor, `from_options` and `forward`. Pass
    it to `spec.build(spec, extra={"name": YourHead})`, or name it in a spec as `type: module:YourHead`.

    Args:
        kind: the kind of the property, usually `options.kind`.

    Attributes:
        Options: the class of its options.
        reads: its inputs, for tables and drawings.
    """

    Options: ClassVar[type[PropertyHeadOptions]]
    reads: str = "atoms, edges, directions"

    def __init__(self, kind: PropertyKind) -> None:
        super().__init__()
        self.kind = kind

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any, context: HeadContext) -> PropertyHead:
        """Build the head from its options."""

    @abstractmethod
    def forward(self, features: BackboneOutput, structures: Structures) -> Float[Tensor, "rows *shape"]:
        """Compute the property: a row for each structure or each atom, as `kind.per` says, of the shape `kind.size`.

        Args:
            features: the embeddings after the last block, the main edges, and the results of all output blocks.
            structures: the batch, with positions that gradients may be computed for.
        """


class LearnedHeadOptions(PropertyHeadOptions):
    """Base class of the options of the built-in heads, which consist of networks on the final embeddings."""

    reads: str = "atoms"
    """The embeddings after the last block that are read: atoms or edges; or the name of a feature stream on atoms, such
    as vectors, from which a `property` is computed without sums over edges."""
    layers: Count = 2
    """Residual layers of each network on embeddings of atoms or edges."""
    initialization: OutputInitialization = "he_orthogonal"
    """Initial weights of the last layers."""


class PropertyOptions(LearnedHeadOptions):
    """Options of a head for any property."""

    type: Literal["property"] = "property"
    """The kind of head."""
    reduce: Literal["sum", "mean"] = "sum"
    """sum: the value of a structure is the sum over its atoms (extensive), such as a polarizability; mean: their mean
    (intensive), such as a band gap. Only for `per: structure`."""

    @model_validator(mode="after")
    def _only_structures_reduce(self) -> PropertyOptions:
        if self.per == "atom" and self.reduce == "mean":
            raise ValueError("reduce: mean is for properties per structure: remove reduce, or set per: structure")
        return self

    @property
    def kind(self) -> PropertyKind:
        return PropertyKind(self.per, self.shape, extensive=self.per == "structure" and self.reduce == "sum")


class DipoleOptions(LearnedHeadOptions):
    """Options of a head for the dipole moment of a molecule, from charges and dipoles of its atoms."""

    type: Literal["dipole"] = "dipole"
    """The kind of head."""
    per: Literal["structure"] = "structure"
    """Dipoles are properties of structures."""
    shape: Literal["vector"] = "vector"
    """Dipoles are vectors."""
    atomic: bool = True
    """Whether dipoles of atoms are added to the dipole of their charges."""

    @property
    def kind(self) -> PropertyKind:
        return PropertyKind(self.per, self.shape, molecular=True)


def _stream(name: str, context: HeadContext) -> Stream:
    """Find the stream that a head reads.

    Raises:
        ValueError: it does not exist.
    """
    if name not in context.streams:
        known = ", ".join((*EMBEDDINGS, *context.streams))
        raise ValueError(f"reads: unknown stream {name!r}; known: {known}")
    return context.streams[name]


@final
class AtomNumbers(nn.Module):
    """A number per atom, t_a = lin(layers(h_a)).

    Args:
        options: the number of layers and the initial weights of the last one.
        context: sizes and activation of the model.
    """

    def __init__(self, options: LearnedHeadOptions, context: HeadContext) -> None:
        super().__init__()
        size = context.sizes.atom
        self.layers = stack(size, size, options.layers, context.activation, "always")
        self.last = LastLinear(size, options.initialization)

    def forward(self, features: BackboneOutput) -> Float[Tensor, " atoms"]:
        return self.last(self.layers(features.embeddings.atoms))


@final
class EdgeNumbers(nn.Module):
    """A number per edge that vanishes at the cutoff, f_ca = lin(scale · (layers(x_ca) ⊙ lin(rad_ca))).

    The features x_ca are the edge embeddings m_ca, or the embeddings h_c of the source atoms.

    Args:
        options: the embeddings that are read, the number of layers, and the initial weights of the last one.
        context: sizes and activation of the model.
    """

    def __init__(self, options: LearnedHeadOptions, context: HeadContext) -> None:
        super().__init__()
        self.reads_edges = options.reads == "edges"
        size = context.sizes.edge if self.reads_edges else context.sizes.atom
        self.layers = stack(size, size, options.layers, context.activation, "always")
        self.radial = linear(context.sizes.radial, size)
        self.scale = ScaleFactor()
        self.last = LastLinear(size, options.initialization)

    def forward(self, features: BackboneOutput) -> Float[Tensor, " edges"]:
        if self.reads_edges:
            x = self.layers(features.embeddings.edges)
        else:  # the layers are evaluated once per atom, not once per edge
            x = self.layers(features.embeddings.atoms).index_select(0, features.main.edges.source)
        return self.last(self.scale.of_product(x, self.radial, features.radial))


@final
class Property(PropertyHead):
    """A head for any property, which is invariant or equivariant by construction.

    The value of an atom is computed from numbers t_a of atoms and f_ca, t_ca of edges c→a, whose unit vectors are u_ca:

        scalar: p_a = t_a
        vector: p_a = Σ_{c→a} f_ca u_ca
        tensor: p_a = t_a·1 + Σ_{c→a} f_ca u_ca u_caᵀ

    with t_a = Σ_{c→a} t_ca if the head reads edges. If it reads a feature stream, see `StreamValues`. The value of a
    structure is the sum or mean over its atoms, and 0 without atoms.

    Args:
        options: what is predicted, and from which embeddings.
        context: sizes, activation and sums of the model.
    """

    Options = PropertyOptions

    def __init__(self, options: PropertyOptions, context: HeadContext) -> None:
        super().__init__(options.kind)
        self.reduce = options.reduce
        self.sums = context.sums
        self.isotropic: AtomNumbers | EdgeNumbers | None = None
        self.directed: EdgeNumbers | None = None
        self.of_stream: StreamValues | None = None
        self.reads = options.reads
        if options.reads not in EMBEDDINGS:
            self.of_stream = StreamValues(
                _stream(options.reads, context),
                options.shape,
                context.sizes.atom,
                context.activation,
                options.initialization,
            )
            return
        if options.shape != "vector":
            numbers = EdgeNumbers if options.reads == "edges" else AtomNumbers
            self.isotropic = numbers(options, context)
        if options.shape != "scalar":
            self.directed = EdgeNumbers(options, context)
            self.reads = f"{options.reads}, directions"

    @classmethod
    def from_options(cls, options: PropertyOptions, context: HeadContext) -> Property:
        return cls(options, context)

    def forward(self, features: BackboneOutput, structures: Structures) -> Float[Tensor, "rows *shape"]:
        values = self._of_atoms(features)
        if self.kind.per == "atom":
            return values
        summed = self.sums.by_index if self.reduce == "sum" else self.sums.mean_by_index
        return summed(values, structures.structure, structures.count)

    def _of_atoms(self, features: BackboneOutput) -> Float[Tensor, "atoms *shape"]:
        if self.of_stream is not None:
            return self.of_stream(features)
        u, values = features.main.edges.direction, []
        if self.directed is not None:
            f = self.directed(features)
            rows = f[:, None] * u if self.kind.shape == "vector" else f[:, None, None] * u[:, :, None] * u[:, None, :]
            values.append(_to_atoms(rows, features, self.sums))
        if self.isotropic is not None:
            t = self.isotropic(features)
            t = _to_atoms(t, features, self.sums) if isinstance(self.isotropic, EdgeNumbers) else t
            values.append(
                t if self.kind.shape == "scalar" else t[:, None, None] * torch.eye(3, dtype=t.dtype, device=t.device)
            )
        return sum(values[1:], start=values[0])


@final
class Dipole(PropertyHead):
    """The dipole moment of a molecule from charges q_a and dipoles of its atoms.

    μ = Σ_a q_a (r_a - r̄) + Σ_a Σ_{c→a} f_ca u_ca, where r̄ is the mean position of the atoms of the molecule

    It depends on the positions themselves, so that it is not defined for periodic structures; use a `Property` there.
    Veit et al., J. Chem. Phys. 153, 024113 (2020), arXiv 2003.12437.

    Args:
        options: whether atoms have dipoles, and from which embeddings these are computed.
        context: sizes, activation and sums of the model.
    """

    Options = DipoleOptions

    def __init__(self, options: DipoleOptions, context: HeadContext) -> None:
        super().__init__(options.kind)
        self.sums = context.sums
        if options.reads not in EMBEDDINGS:
            raise ValueError(
                f"reads: a dipole is computed from embeddings of atoms or edges, not from {options.reads!r}: "
                "write {type: property, shape: vector, reads: ...}"
            )
        self.charges = AtomNumbers(options, context)
        self.directed = EdgeNumbers(options, context) if options.atomic else None

    @classmethod
    def from_options(cls, options: DipoleOptions, context: HeadContext) -> Dipole:
        return cls(options, context)

    def forward(self, features: BackboneOutput, structures: Structures) -> Float[Tensor, "structures 3"]:
        index, count = structures.structure, structures.count
        q = self.charges(features)
        positions = structures.positions
        center = self.sums.mean_by_index(positions, index, count)
        values = q[:, None] * (positions - center.index_select(0, index)).to(q.dtype)
        if self.directed is not None:
            u = features.main.edges.direction
            values = values + _to_atoms(self.directed(features)[:, None] * u, features, self.sums)
        return self.sums.by_index(values, index, count)


def _to_atoms(values: Float[Tensor, "edges *shape"], features: BackboneOutput, sums: Sums) -> Tensor:
    """Add the values of the edges into each atom."""
    edges = features.main.edges
    return sums.by_index(values, edges.target, edges.atom_count)
