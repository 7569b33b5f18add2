"""The contract of every interaction: what it reads, what it writes, and how a spec makes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.aggregation.angular_sum import AngularPlan, Method
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.spherical import SphericalBasis
from gemnet_blocks.geometry.angles import CollinearRule
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.graph.index_sets import IndexRequest
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.projection import RadialValues, ScaledBasis
from gemnet_blocks.options import Options, Size

GeometryValue = TypeVar("GeometryValue")


class Sizes(Options):
    """Widths that all layers share."""

    atom: Size
    """Atom embeddings h."""
    edge: Size
    """Edge embeddings m."""
    radial: Size
    """Projections of radial functions."""
    circular: Size
    """Projections of radial × circular functions."""
    spherical: Size
    """Projections of radial × spherical functions."""


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The state that blocks update.

    Attributes:
        atoms: h, one row per atom.
        edges: m, one row per main edge.
    """

    atoms: Float[Tensor, "atoms atom_size"]
    edges: Float[Tensor, "edges edge_size"]


class BuildContext(ABC):
    """What a spec says outside of an interaction's own options, for those who build interactions."""

    sizes: Sizes
    activation: Activation
    radial_count: int
    """Functions of the radial basis that is read on its own."""
    angular_radial_count: int
    """Functions of the radial basis that is multiplied with circular and spherical functions."""
    collinear: CollinearRule
    """What dihedral angles are where atoms come to lie on a line."""
    sums: Sums
    angular: AngularPlan
    """How the interaction's sums over triplets and quadruplets are computed."""

    @abstractmethod
    def circular_basis(self) -> CircularBasis | ScaledBasis:
        """A new circular basis."""

    @abstractmethod
    def spherical_basis(self) -> SphericalBasis | ScaledBasis:
        """A new spherical basis."""

    @property
    @abstractmethod
    def circular_count(self) -> int:
        """Functions of the circular basis."""

    @property
    @abstractmethod
    def spherical_count(self) -> int:
        """Functions of the spherical basis."""


class InteractionOptions(Options):
    """What a spec says of one interaction; the base of every interaction's own options."""

    type: str
    """The kind of interaction; in a spec, the interaction's name where it is not given."""

    def edge_sets(self) -> dict[str, str]:
        """The edge sets that the options name, by field, for checking that they exist."""
        return {}


class InteractionGeometry(nn.Module, ABC, Generic[GeometryValue]):
    """The part of an interaction that its blocks share: made once, called once per forward pass.

    It turns graphs and radial functions into what the interaction's blocks read. What it needs of them it declares,
    and nothing else is built.

    Attributes:
        edge_sets: edge sets that must be measured.
        requests: index sets that must be listed.
        radial_on: edge sets whose radial functions it reads on their own.
        angular_radial_on: edge sets whose radial functions it multiplies with angular ones.
        method: how sums over triplets or quadruplets are computed; None where there are none.
    """

    edge_sets: tuple[str, ...] = ()
    requests: tuple[IndexRequest, ...] = ()
    radial_on: tuple[str, ...] = ()
    angular_radial_on: tuple[str, ...] = ()
    method: Method | None = None
    plan: AngularPlan | None = None

    @abstractmethod
    def forward(self, graphs: Graphs, radial: RadialValues) -> GeometryValue:
        """What the interaction's blocks read, with gradients to the positions."""

    def gathered(self, topology: Topology) -> Int[Tensor, " terms"] | None:
        """Which row of the summed values each term of the sum reads; None where nothing is summed over neighbors."""
        return None


class Interaction(nn.Module, ABC, Generic[GeometryValue]):
    """One message to edges or atoms, computed in every block from the embeddings and the shared geometry.

    To write your own: options (a subclass of `InteractionOptions`), a constructor, `forward`, and the two class methods
    that make it from options. Pass it to `spec.build(spec, extra={"name": YourInteraction})`.
    """

    Options: ClassVar[type[InteractionOptions]]
    writes: ClassVar[Literal["edges", "atoms"]]
    reads: ClassVar[str]
    """What it reads, for tables."""
    in_steps: ClassVar[bool] = False
    """Whether it is made of layers and sums of this library alone, each of which keeps little where memory is short.
    Otherwise `forward` is computed again in the backward pass, as a whole."""

    @classmethod
    @abstractmethod
    def shared_geometry(cls, options: Any, context: BuildContext) -> InteractionGeometry[Any]:
        """Make the part that all blocks share."""

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any, context: BuildContext) -> Interaction[Any]:
        """Make the interaction of one block."""

    @abstractmethod
    def forward(self, embeddings: Embeddings, geometry: GeometryValue) -> Float[Tensor, "rows size"]:
        """The message: one row per main edge or per atom, as `writes` says."""
