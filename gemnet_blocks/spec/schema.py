"""The fields of a spec, which define an architecture. Parts document their own fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, PrivateAttr, Tag, field_validator, model_validator
from typing_extensions import Self

from gemnet_blocks.geometry.angles import RightAngleOptions, SmoothCollinearOptions
from gemnet_blocks.graph.builder import MAIN, EdgeSetOptions
from gemnet_blocks.graph.max_neighbors import CapRule
from gemnet_blocks.interactions.bases import InteractionBases
from gemnet_blocks.interactions.interaction import EdgeMessageOptions, InteractionOptions, MessageOptions, Sizes
from gemnet_blocks.interactions.triplet import EdgeAtomOptions, TripletOptions
from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.embeddings import AtomEmbeddingOptions, ElementEmbeddingOptions
from gemnet_blocks.layers.irreps import StreamPlace, irreps
from gemnet_blocks.layers.stream_updates import NoUpdateOptions
from gemnet_blocks.model.block import BlockDivisors, BlockLayers, BlockOptions, RepeatedBlock
from gemnet_blocks.model.heads import DirectForcesOptions, EnergyOptions, GradientForcesOptions, StressHeadOptions
from gemnet_blocks.model.property_heads import PropertyHeadOptions
from gemnet_blocks.model.streams import Combination
from gemnet_blocks.options import Options, Size
from gemnet_blocks.spec.catalog import (
    ATOM_EMBEDDING,
    BUILT_IN,
    CIRCULAR,
    ENVELOPE,
    HEAD,
    INTERACTION,
    RADIAL,
    READOUT,
    SPHERICAL,
    STREAM_UPDATE,
    Catalog,
)
from gemnet_blocks.spec.document import Document, Route, dump
from gemnet_blocks.spec.part import PartOf
from gemnet_blocks.spec.versions import VERSION
from gemnet_blocks.structures import PropertyKind
from gemnet_blocks.util.charges import QUANTITIES, Quantity


class NeighborOptions(Options):
    """Rules for all edge sets."""

    ties: CapRule = "inclusive"
    """Handling of neighbors at the same distance as the farthest of `max_neighbors`. strict: keep exactly
    `max_neighbors`; inclusive: also keep all within the tolerance of the farthest; inclusive_next: keep all within the
    tolerance of the first excluded one, as published models without strict limits do. In these three, the energy jumps
    when two neighbors exchange ranks at the limit. smooth: the farthest neighbors fade out, and the energy is
    continuous."""
    tie_tolerance: Annotated[float, Field(ge=0)] = 0.01
    """Distances that differ by at most this count as equal, in Å (with inclusive_next, in Å² for edge sets that are
    not within another one)."""
    fade_width: Annotated[float, Field(gt=0)] = 0.5
    """Distance over which neighbors fade out with smooth ties, in Å."""
    periodic: bool = True
    """Whether to use the periodicity of structures; false treats all structures as isolated."""


class BasisOptions(Options):
    """The basis functions of distances and angles."""

    radial: Annotated[Options, PartOf(RADIAL)]
    """Radial basis of distances alone."""
    angular_radial: Annotated[Options, PartOf(RADIAL)] | None = None
    """Radial basis that is multiplied by functions of angles; null: the same as `radial`."""
    envelope: Annotated[Options, PartOf(ENVELOPE)]
    """Factor of all radial functions that vanishes smoothly at the cutoff."""
    circular: Annotated[Options, PartOf(CIRCULAR)]
    """Basis of angles between two edges."""
    spherical: Annotated[Options, PartOf(SPHERICAL)] | None = None
    """Basis of an angle and a dihedral angle, needed by quadruplets."""
    collinear: Annotated[SmoothCollinearOptions | RightAngleOptions, Field(discriminator="type")] = (
        SmoothCollinearOptions()
    )
    """Handling of dihedral angles of collinear atoms, which are undefined."""
    scale: bool = False
    """Whether each basis has a fitted scale factor."""

    @property
    def next_to_angles(self) -> Options:
        """The radial basis that is multiplied by functions of angles."""
        return self.radial if self.angular_radial is None else self.angular_radial

    def resolved(self) -> dict[str, Any]:
        """Return the options as plain data, in which the radial basis next to angles is always given."""
        return {**self.model_dump(mode="json"), "angular_radial": self.next_to_angles.model_dump(mode="json")}


class StreamOptions(Options):
    """A feature stream that interactions read and write, besides the embeddings of atoms and edges."""

    on: StreamPlace = "atoms"
    """The rows: atoms, edges (of the edge set `main`) or structures, which receive the mean of messages over atoms."""
    irreps: str
    """How the features transform under rotations and reflections, in the notation of e3nn: 64x0e are 64 scalars, 32x1o
    are 32 vectors, and 16x0e+8x1o are both."""
    initial: Literal["zeros", "embedding"] = "zeros"
    """Values before the first block. zeros; embedding: a linear map of the initial embeddings of the same atoms or
    edges, or of the mean over the atoms of a structure, for scalars alone."""
    combine: Combination = "add"
    """How messages are combined with the stream. add: x + Σ messages; skip: (x + Σ messages)/√n with n terms."""
    update: Annotated[Options, PartOf(STREAM_UPDATE)] = NoUpdateOptions()
    """Layers on the stream at the end of each block."""

    @field_validator("irreps")
    @classmethod
    def _simplified(cls, text: str) -> str:
        return str(irreps(text))

    @field_validator("update", mode="before")
    @classmethod
    def _none_is_a_type(cls, value: Any) -> Any:
        return {"type": "none"} if value is None else value

    @model_validator(mode="after")
    def _embeddings_are_scalars(self) -> Self:
        if self.initial == "embedding" and any(str(irrep) != "0e" for _, irrep in irreps(self.irreps)):
            raise ValueError(
                f"initial: embedding is for scalars such as 64x0e, not for the irreps {self.irreps}: choose zeros"
            )
        return self


class HeadOptions(Options):
    """Predicted quantities: energy, forces, stress, and further properties by name.

    A further entry such as `dipole: {type: property, shape: vector}` is a property head; its name is that of its label,
    its loss, its errors and its prediction.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[Options, PartOf(HEAD)]]

    energy: EnergyOptions = EnergyOptions()
    """Reduction of atomic energies to the energy of a structure, and repulsion at short range."""
    forces: Annotated[DirectForcesOptions | GradientForcesOptions, Field(discriminator="type")] | None
    """Direct forces, or gradient forces, which conserve energy; null: no forces."""
    stress: StressHeadOptions | None = None
    """Stresses with every prediction for periodic structures, from gradient forces; null: stresses are computed on
    request."""

    @model_validator(mode="before")
    @classmethod
    def _in_one_order(cls, data: Any) -> Any:
        """Sort further heads by name, so that initial weights do not depend on the order in the file."""
        if not isinstance(data, Mapping):
            return data
        fixed = {name: data[name] for name in cls.model_fields if name in data}
        return {**fixed, **{name: data[name] for name in sorted(data.keys() - fixed.keys())}}

    @model_validator(mode="after")
    def _stress_needs_gradients(self) -> Self:
        if self.stress is not None and not isinstance(self.forces, GradientForcesOptions):
            found = "no forces" if self.forces is None else "direct forces"
            raise ValueError(
                f"stress needs gradient forces, got {found}: set forces to {{type: gradient}}, or remove stress"
            )
        return self

    @model_validator(mode="after")
    def _repulsion_is_part_of_all_outputs(self) -> Self:
        if self.energy.short_range is None:
            return self
        if self.energy.reduce == "mean":
            raise ValueError(
                "energy.short_range: the repulsion is a sum over atoms, got reduce: mean: set energy.reduce to sum, or "
                "remove energy.short_range"
            )
        if isinstance(self.forces, DirectForcesOptions):
            raise ValueError(
                "energy.short_range: direct forces would not contain the repulsion: set forces to {type: gradient}, or "
                "remove energy.short_range"
            )
        return self

    @property
    def properties(self) -> dict[str, Options]:
        """The options of the further heads, by name."""
        return dict(self.__pydantic_extra__ or {})

    def kinds(self) -> dict[str, PropertyKind]:
        """Return the kinds of the properties of the further heads, by name; custom heads must be known."""
        heads = self.properties.items()
        return {name: options.kind for name, options in heads if isinstance(options, PropertyHeadOptions)}


Blocks = Annotated[
    Annotated[BlockOptions, Tag("equal")]
    | Annotated[tuple[RepeatedBlock, ...], Field(strict=False, min_length=1), Tag("differing")],
    Discriminator(lambda value: "differing" if isinstance(value, (list, tuple)) else "equal"),
]
"""One description of all blocks, or a list of differing ones in the order of computation."""


class SpecFields(Options):
    """The fields of a spec, and properties that derive from them; `Spec` adds reading and patching."""

    elements: Size = 83
    """The largest atomic number that the model supports."""
    sizes: Sizes
    """Embedding sizes shared by all layers."""
    activation: Activation = "silu"
    """Activation function of all layers: silu, siqu or identity."""
    neighbors: NeighborOptions = NeighborOptions()
    """Rules for all edge sets."""
    graphs: dict[str, EdgeSetOptions]
    """Edge sets by name; the edges of `main` have embeddings."""
    bases: BasisOptions
    """The basis functions of distances and angles."""
    atom_embedding: Annotated[Options, PartOf(ATOM_EMBEDDING)] = ElementEmbeddingOptions()
    """Initial embedding of atoms."""
    edge_embedding: Literal["radial"] | None = "radial"
    """Initial embedding of main edges. radial: m = act(W [h_s, h_t, rad]) with the radial functions of the distance;
    null: edges have no embeddings, and blocks no layers on edges, as in PaiNN and NequIP."""
    streams: dict[str, StreamOptions] = Field(default_factory=dict)
    """Feature streams by name, besides the embeddings `atoms` and `edges`."""
    blocks: Blocks
    """Layers of the blocks besides the interactions: one description with the number of blocks as `count`; or a list of
    differing descriptions, each of which may `repeat`."""
    interactions: dict[str, Annotated[Options, PartOf(INTERACTION)]]
    """Interactions of every block by name. The default `type` is the name; two interactions of one type under two names
    have separate weights and may read different edge sets."""
    readout: Annotated[Options, PartOf(READOUT)]
    """How the embeddings before the first block and after each block become one number per atom and per edge."""
    heads: HeadOptions
    """Predicted quantities."""

    _catalog: Catalog = PrivateAttr(default_factory=Catalog)
    _places: Mapping[Route, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _types_are_names(cls, data: Any) -> Any:
        """Fill in the types of interactions that are named after their type."""
        if isinstance(data, Mapping) and isinstance(data.get("interactions"), Mapping):
            interactions = {
                name: {"type": name, **entry} if isinstance(entry, Mapping) else entry
                for name, entry in data["interactions"].items()
            }
            return {**data, "interactions": interactions}
        return data

    @field_validator("graphs")
    @classmethod
    def _parents_first(cls, graphs: dict[str, EdgeSetOptions]) -> dict[str, EdgeSetOptions]:
        """Sort edge sets so that each follows the one that it is within, and symmetrize `main` by default."""
        if MAIN in graphs and graphs[MAIN].symmetrize is None:
            graphs = graphs | {MAIN: graphs[MAIN].model_copy(update={"symmetrize": "union"})}
        ordered: dict[str, EdgeSetOptions] = {}
        for name in graphs:
            chain = _with_parents(name, graphs)
            ordered |= {link: graphs[link] for link in reversed(chain) if link not in ordered}
        return ordered

    @field_validator("interactions")
    @classmethod
    def _in_one_order(cls, interactions: dict[str, Options]) -> dict[str, Options]:
        """Sort interactions by type and name, so that initial weights do not depend on the order in the file."""
        kinds = list(BUILT_IN[INTERACTION])

        def rank(name: str) -> tuple[int, str]:
            kind = interactions[name].type  # type: ignore[attr-defined]
            return kinds.index(kind) if kind in kinds else len(kinds), name

        return {name: interactions[name] for name in sorted(interactions, key=rank)}

    def model_post_init(self, context: Any) -> None:
        """Keep the catalog and the places of entries for `patch` and `build`."""
        self._catalog = (context or {}).get("catalog") or Catalog()
        self._places = (context or {}).get("places") or {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpecFields) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(self.content_hash)

    @property
    def reads(self) -> frozenset[Quantity]:
        """Whichever of the total charge and spin of structures the model reads."""
        options = self.atom_embedding
        return options.reads if isinstance(options, AtomEmbeddingOptions) else frozenset()

    @property
    def read_out(self) -> Options:
        """The earlier name of `readout`."""
        return self.readout

    @property
    def catalog(self) -> Catalog:
        """The built-in and custom parts with which the spec was read."""
        return self._catalog

    def bases_of(self, interaction: str) -> BasisOptions:
        """Return the bases of an interaction: its own ones, and the shared ones for the rest."""
        own = getattr(self.interactions[interaction], "bases", None)
        return self.bases.model_copy(update=own.given()) if isinstance(own, InteractionBases) else self.bases

    def document(self) -> Document:
        """Return the spec as plain data with the place of each entry."""
        return Document(self.to_dict(), self._places)

    def placed(self, places: Mapping[Route, str]) -> Self:
        """Return a copy whose errors name these places."""
        copy = self.model_copy()
        copy._places = places
        return copy

    def to_dict(self) -> dict[str, Any]:
        """Convert the spec to plain mappings, lists and numbers."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Convert the spec to a YAML document, which `from_yaml` reads."""
        return dump({"version": VERSION, **self.to_dict()})

    @property
    def content_hash(self) -> str:
        """A hash of the architecture, equal for all specs that build the same model.

        It ignores the order of entries, explicit default values, unused edge sets and, with strict ties, the nesting of
        edge sets as long as the same edges result. Parts of unknown classes are hashed as written.
        """
        content = self.to_dict()
        content["graphs"] = self._selections()
        content["bases"] = self.bases.resolved()
        if self.neighbors.ties in ("strict", "smooth"):
            del content["neighbors"]["tie_tolerance"]
        if self.neighbors.ties != "smooth":
            del content["neighbors"]["fade_width"]
        if isinstance(self.atom_embedding, AtomEmbeddingOptions):  # earlier versions read neither charge nor spin
            unread = [name for name in QUANTITIES if name not in self.reads]
            content["atom_embedding"] = {k: v for k, v in content["atom_embedding"].items() if k not in unread}
        if content["atom_embedding"] == {"type": "element"}:
            del content["atom_embedding"]  # earlier versions without this field had the same hash
        if self.edge_embedding == "radial":
            del content["edge_embedding"]
        content["streams"] = {name: stream.model_dump(mode="json") for name, stream in self.all_streams().items()}
        if not content["streams"]:
            del content["streams"]
        content["blocks"] = self._blocks_content()
        for name, options in self.interactions.items():
            if isinstance(options, InteractionOptions):
                content["interactions"][name] = self._hashed(name, options, content["interactions"][name])
        if self.heads.stress is None:
            del content["heads"]["stress"]  # earlier versions had no such head
        if self.heads.energy.short_range is None:
            del content["heads"]["energy"]["short_range"]
        content["read_out"] = content.pop("readout")  # the key in the hashes of earlier versions
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def all_streams(self) -> dict[str, StreamOptions]:
        """Return the feature streams that the spec declares, and those that interactions add to them, by name."""
        streams = dict(self.streams)
        for options in self.interactions.values():
            if isinstance(options, InteractionOptions):
                for name, text in options.implied_streams(self.sizes).items():
                    streams.setdefault(name, StreamOptions(irreps=text))
        return dict(sorted(streams.items()))

    @property
    def block_layers(self) -> tuple[BlockLayers, ...]:
        """The layers of each block, in the order of computation."""
        if isinstance(self.blocks, BlockOptions):
            return (self.blocks,) * self.blocks.count
        return tuple(block for block in self.blocks for _ in range(block.repeat))

    def _blocks_content(self) -> dict[str, Any]:
        """Describe the layers of all blocks, equal if a list repeats one description or equal blocks."""
        if isinstance(self.blocks, BlockOptions):
            return {"count": self.blocks.count, **_layers_content(self.blocks)}
        each = [_layers_content(block) for block in self.block_layers]
        same = all(block == each[0] for block in each)
        return {"count": len(each), **each[0]} if same else {"each": each}

    def _hashed(self, name: str, options: InteractionOptions, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of an interaction as they enter the hash."""
        count, shared = len(self.block_layers), self.bases.resolved()
        numbers = options.block_numbers(count)
        own = {field: basis for field, basis in self.bases_of(name).resolved().items() if basis != shared[field]}
        left_out = {
            "blocks",
            *unset_fields(options),
            *(["bases"] if isinstance(options.bases, InteractionBases) else []),
        }
        kept = {field: value for field, value in entry.items() if field not in left_out}
        selected = {} if numbers == list(range(count)) else {"blocks": numbers}
        return kept | selected | ({"bases": own} if own else {})

    def graphs_in_use(self) -> set[str]:
        """Return the edge sets that interactions read, and those that these are within.

        If an interaction does not declare its edge sets, all edge sets are in use.
        """
        return {link for name in self._graphs_read() for link in _with_parents(name, self.graphs)}

    def _graphs_read(self) -> set[str]:
        read = {MAIN}
        for options in self.interactions.values():
            named = options.edge_sets() if isinstance(options, InteractionOptions) else {}
            if not named:
                return set(self.graphs)
            read.update(named.values())
        return read

    def _selections(self) -> dict[str, Any]:
        """Describe the selection rules of the edge sets in use, equal if they select the same edges."""
        chains = {
            name: [self.graphs[link] for link in _with_parents(name, self.graphs)] for name in self._graphs_read()
        }
        nested = self.neighbors.ties != "strict" or any(rule.tags for chain in chains.values() for rule in chain[1:])
        if nested:
            chains = {name: [self.graphs[name]] for name in self.graphs_in_use()}
        return {
            name: {
                "cutoff": chain[0].cutoff,  # also the cutoff of the bases
                "reach": min(rule.cutoff for rule in chain),
                # the nearest k among the nearest n are the nearest min(k, n)
                "max_neighbors": min(
                    (rule.max_neighbors for rule in chain if rule.max_neighbors is not None), default=None
                ),
                "tags": chain[0].tags and sorted(set(chain[0].tags)),
                "within": chain[0].within if nested else None,
                "symmetrize": chain[0].symmetrize,
            }
            for name, chain in chains.items()
        }


_LATER_FIELDS: tuple[tuple[type[InteractionOptions], str], ...] = (
    (InteractionOptions, "blocks"),
    (InteractionOptions, "bases"),
    (TripletOptions, "graph"),
    (EdgeAtomOptions, "senders"),
    (MessageOptions, "scale_factor"),
    (EdgeMessageOptions, "symmetric"),
)
"""Fields of interactions that earlier versions did not have."""


def unset_fields(options: Options) -> set[str]:
    """Return the fields of an interaction that earlier versions did not have and that have their defaults.

    Hashes and drawings leave them out, as before these fields existed.
    """
    return {
        field
        for kind, field in _LATER_FIELDS
        if isinstance(options, kind) and getattr(options, field) == kind.model_fields[field].default
    }


def _layers_content(block: BlockLayers) -> dict[str, Any]:
    """Describe the layers of a block as in the hashes of earlier versions, which combined all messages by `skip`."""
    left_out = {"repeat", "count", *(["combine"] if block.combine == "skip" else [])}
    left_out |= {"divisors"} if block.divisors in (None, BlockDivisors()) else set()
    return block.model_dump(mode="json", exclude=left_out)


def _with_parents(name: str, graphs: Mapping[str, EdgeSetOptions]) -> list[str]:
    """Return an edge set, the edge set that it is within, and so on."""
    chain = [name] if name in graphs else []
    while chain and (parent := graphs[chain[-1]].within) in graphs and parent not in chain:
        chain.append(str(parent))
    return chain
