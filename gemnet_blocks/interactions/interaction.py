"""Base classes of interactions: options, shared geometry, and the message of each block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, TypeVar

from jaxtyping import Float, Int
from pydantic import BeforeValidator
from torch import Tensor, nn
from typing_extensions import override

from gemnet_blocks.aggregation.method import AngularPlan, Method
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.spherical import SphericalBasis
from gemnet_blocks.errors import SpecError
from gemnet_blocks.geometry.angles import CollinearRule
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.graph.index_sets import IndexRequest
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.interactions.bases import InteractionBases
from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.irreps import Stream
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.layers.radial_bases import RadialValues
from gemnet_blocks.layers.scaled_basis import ScaledBasis
from gemnet_blocks.options import Options, Size
from gemnet_blocks.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

GeometryValue = TypeVar("GeometryValue")


class Sizes(Options):
    """Widths of the embeddings and of the projected bases."""

    atom: Size
    """Features of atom embeddings h, such as 256."""
    edge: Size
    """Features of edge embeddings m, such as 512."""
    radial: Size
    """Features of projected radial functions, such as 16."""
    circular: Size
    """Features of projected radial × circular functions, such as 16."""
    spherical: Size
    """Features of projected radial × spherical functions, such as 32."""


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The embeddings that blocks update.

    Attributes:
        atoms: h, a row for each atom.
        edges: m, a row for each main edge; without features in models without edge embeddings.
        streams: the other feature streams by their name in the spec, a row for each atom, main edge or structure.
    """

    atoms: Float[Tensor, "atoms atom_size"]
    edges: Float[Tensor, "edges edge_size"]
    streams: Mapping[str, Float[Tensor, "rows features"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "streams", MappingProxyType(dict(self.streams)))

    def __getitem__(self, stream: str) -> Tensor:
        """Return the features of a stream by name: atoms, edges or another stream."""
        return {"atoms": self.atoms, "edges": self.edges, **self.streams}[stream]


class BuildContext(ABC):
    """The parts of a spec that interactions need besides their options."""

    sizes: Sizes
    activation: Activation
    radial_count: int
    """The number of functions of the radial basis of distances alone."""
    angular_radial_count: int
    """The number of functions, for each degree if they depend on it, of the radial basis that is multiplied by circular
    and spherical functions."""
    degree_count: int | None = None
    """The number of degrees of that basis; None if it does not depend on the degree."""
    collinear: CollinearRule
    """The dihedral angle of collinear atoms."""
    sums: Sums
    angular: AngularPlan
    """How the sums over triplets and quadruplets are computed."""
    streams: Mapping[str, Stream] = MappingProxyType({})
    """The feature streams of the spec by name, besides the embeddings of atoms and edges."""

    @abstractmethod
    def reaches_beyond_main(self, edge_set: str) -> bool:
        """Return whether an edge set may have longer edges than `main`, whose edges carry the embeddings."""

    @abstractmethod
    def circular_basis(self) -> CircularBasis | ScaledBasis:
        """Make a circular basis."""

    @abstractmethod
    def spherical_basis(self) -> SphericalBasis | ScaledBasis:
        """Make a spherical basis."""

    @property
    @abstractmethod
    def circular_count(self) -> int:
        """The number of functions of the circular basis."""

    @property
    @abstractmethod
    def spherical_count(self) -> int:
        """The number of functions of the spherical basis."""

    @property
    def circular_degrees(self) -> tuple[int, ...] | None:
        """The degree of each circular function; None if the functions do not have a degree."""
        return None

    @property
    def spherical_degrees(self) -> tuple[int, ...] | None:
        """The degree of each spherical function; None if the functions do not have a degree."""
        return None

    def circular_projection(self) -> RadialAngularProjection:
        """Make the projection of radial × circular functions.

        Raises:
            SpecError: the radial basis depends on the degree, and the circular functions do not have one.
        """
        return self._projection("circular", self.circular_count, self.circular_degrees)

    def spherical_projection(self) -> RadialAngularProjection:
        """Make the projection of radial × spherical functions.

        Raises:
            SpecError: the radial basis depends on the degree, and the spherical functions do not have one.
        """
        return self._projection("spherical", self.spherical_count, self.spherical_degrees)

    def _projection(self, kind: str, count: int, degrees: tuple[int, ...] | None) -> RadialAngularProjection:
        size = getattr(self.sizes, kind)
        if self.degree_count is None:
            return RadialAngularProjection(self.angular_radial_count, count, size)
        if degrees is None:
            raise SpecError(
                f"bases.angular_radial depends on the degree of the function beside it, and the functions of "
                f"bases.{kind} do not have a degree: choose another type for one of them"
            )
        return RadialAngularProjection(self.angular_radial_count, count, size, degrees, self.degree_count)


def _check_blocks(value: Any) -> Any:
    """Check a selection of blocks, with one error for all of its forms."""
    numbers = isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)
    if value not in ("all", "first", "last") and not (numbers and value):
        raise ValueError(f"expected all, first, last, or a list of block numbers from 0 such as [0, 2], got {value!r}")
    return value


BlockSelection = Annotated[Literal["all", "first", "last"] | list[int], BeforeValidator(_check_blocks)]
"""all blocks, the first, the last, or a list of their numbers from 0."""


class InteractionOptions(Options):
    """Base class of the options of interactions."""

    type: str
    """The kind of interaction; by default the name of the interaction in the spec."""
    blocks: BlockSelection = "all"
    """The blocks that the interaction takes part in: all, first, last, or a list of block numbers from 0, such as
    [0, 2]."""
    bases: InteractionBases | None = None
    """Bases of this interaction alone, such as `{radial: {type: gaussian, count: 8}}`, in place of those in `bases`."""

    def block_numbers(self, count: int) -> list[int]:
        """List the numbers of the blocks that the interaction takes part in, of `count` blocks."""
        named = {"all": range(count), "first": range(min(1, count)), "last": range(max(0, count - 1), count)}
        return sorted(named[self.blocks] if isinstance(self.blocks, str) else set(self.blocks))

    def edge_sets(self) -> dict[str, str]:
        """List the edge sets that the options name, by field, to check that they exist."""
        return {}

    def stream_names(self) -> dict[str, str]:
        """List the feature streams that the options name, by field, to check that they exist."""
        return {}

    def implied_streams(self, sizes: Sizes) -> dict[str, str]:
        """List the irreps of feature streams on atoms that exist even if the spec does not declare them, by name."""
        return {}


class GraphInteractionOptions(InteractionOptions):
    """Base class of the options of interactions along the edges of one edge set."""

    graph: str
    """The edge set."""

    @override
    def edge_sets(self) -> dict[str, str]:
        return {"graph": self.graph}


class MessageOptions(GraphInteractionOptions):
    """Base class of the options of the built-in interactions."""

    down: Size
    """Features of the messages that are summed over neighbors, triplets or quadruplets, such as 64."""
    up: Size
    """Features after the contraction with the basis, such as 64."""
    scale_factor: bool = True
    """Whether the interaction has fitted scale factors; false: factors of one, which are not fitted."""


class EdgeMessageOptions(MessageOptions):
    """Base class of the options of built-in interactions that write edges."""

    symmetric: bool = True
    """Whether the message to edge c→a also depends on the sum of the opposite edge a→c; false: on its own sum alone."""


class InteractionGeometry(nn.Module, ABC, Generic[GeometryValue]):
    """Base class of the part of an interaction that all blocks share, evaluated once per forward pass.

    It maps graphs and radial functions to the geometry that the blocks of the interaction read. The model builds only
    the graphs, index sets and bases that an interaction declares here.

    Attributes:
        edge_sets: the edge sets that are needed.
        requests: the index sets that are needed.
        radial_on: the edge sets whose radial functions are needed.
        angular_radial_on: the edge sets whose radial functions are multiplied by angular ones.
        method: the method of sums over triplets or quadruplets; None without such sums.
        plan: the plan that the method was chosen by.
    """

    edge_sets: tuple[str, ...] = ()
    requests: tuple[IndexRequest, ...] = ()
    radial_on: tuple[str, ...] = ()
    angular_radial_on: tuple[str, ...] = ()
    method: Method | None = None
    plan: AngularPlan | None = None

    @abstractmethod
    def forward(self, graphs: Graphs, radial: RadialValues) -> GeometryValue:
        """Compute the geometry that the blocks read, differentiable with respect to positions."""

    def gathered(self, topology: Topology) -> Int[Tensor, " terms"] | None:
        """Find the row of the summed values that each term of the sum reads; None without a sum over neighbors."""
        return None


def inputs_in(reads: str) -> list[str]:
    """List the inputs that the text `reads` of an interaction or head names."""
    return [part.strip() for part in reads.split(",")]


class Interaction(nn.Module, ABC, Generic[GeometryValue]):
    """Base class of interactions: messages to feature streams in every block, from embeddings and shared geometry.

    A custom interaction has options (a subclass of `InteractionOptions`), a constructor, `forward`, and the two class
    methods that build it from its options. Pass it to `spec.build(spec, extra={"name": YourInteraction})`.

    Attributes:
        Options: the class of its options.
        writes: the feature stream that receives its message: edges, atoms or a stream of the spec; or several of them.
            The constructor may set it for each instance.
        reads: its inputs, separated by commas, for tables.
        in_steps: true if it consists only of layers and sums of this library, each of which recomputes its intermediate
            results if memory is short; false: the whole of `forward` is recomputed.
    """

    Options: ClassVar[type[InteractionOptions]]
    writes: str | tuple[str, ...]
    reads: str
    in_steps: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def shared_geometry(cls, options: Any, context: BuildContext) -> InteractionGeometry[Any]:
        """Build the part that all blocks share."""

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any, context: BuildContext) -> Interaction[Any]:
        """Build the interaction of one block."""

    @classmethod
    def alone(
        cls,
        structures: Structures | Atoms | Sequence[Atoms],
        options: Mapping[str, Any] | InteractionOptions | None = None,
        **arguments: Any,
    ) -> Any:
        """Build the interaction with its bases, the graphs of structures, and random embeddings, without a model.

        Calling the result returns the message. Arguments, result and errors are those of
        `gemnet_blocks.spec.alone.alone`.
        """
        # by name, because it builds models, which need this module
        return import_module("gemnet_blocks.spec.alone").alone(cls, structures, options, **arguments)

    def last_weights(self, streams: Collection[str]) -> Sequence[Tensor]:
        """Return the last weights of the messages to some streams: these messages are zero while the weights are zero.

        Training that starts from the weights of a model without this interaction sets them to zero, so that the
        interaction leaves the function of the model unchanged at first. They may be parts of parameters.

        Args:
            streams: those of the receivers whose messages shall be zero; the interaction may write others, too.

        Raises:
            NotImplementedError: a custom interaction does not tell.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not tell its last weights: implement the method last_weights"
        )

    @property
    def receivers(self) -> tuple[str, ...]:
        """The names of the streams that `writes` names."""
        return (self.writes,) if isinstance(self.writes, str) else tuple(self.writes)

    @abstractmethod
    def forward(
        self, embeddings: Embeddings, geometry: GeometryValue
    ) -> Float[Tensor, "rows size"] | Mapping[str, Float[Tensor, "rows size"]]:
        """Compute the message: a row for each main edge or each atom, as `writes` says.

        An interaction that writes several streams returns a message for each of them by name. A message to a stream on
        structures has a row for each atom; the stream receives their mean.
        """
