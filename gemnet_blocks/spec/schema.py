"""The spec: everything that defines an architecture, every field documented once, here or at the part it sets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, field_validator, model_validator
from typing_extensions import Self

from gemnet_blocks.geometry.angles import RightAngleOptions, SmoothCollinearOptions
from gemnet_blocks.graph.builder import MAIN, EdgeSetOptions
from gemnet_blocks.graph.max_neighbors import CapRule
from gemnet_blocks.interactions.interaction import InteractionOptions, Sizes
from gemnet_blocks.interactions.triplet import TripletOptions
from gemnet_blocks.layers.dense import Activation
from gemnet_blocks.layers.embeddings import ElementEmbeddingOptions
from gemnet_blocks.model.block import BlockOptions
from gemnet_blocks.model.heads import DirectForcesOptions, EnergyOptions, GradientForcesOptions
from gemnet_blocks.options import Options, Size
from gemnet_blocks.spec.catalog import (
    ATOM_EMBEDDING,
    BUILT_IN,
    CIRCULAR,
    ENVELOPE,
    INTERACTION,
    RADIAL,
    READOUT,
    SPHERICAL,
    Catalog,
)
from gemnet_blocks.spec.document import Document, Route, dump
from gemnet_blocks.spec.part import PartOf


class NeighborOptions(Options):
    """Rules that hold for all edge sets."""

    ties: CapRule = "inclusive"
    """What becomes of neighbors at the same distance as the last one that a cap admits. strict: exactly as many as
    the cap says; inclusive: all within the tolerance; inclusive_next: all within the tolerance of the first one
    excluded, as published models count without strict caps. With these three, the energy jumps where neighbors change
    places at a cap. smooth: the farthest neighbors fade out, so that it does not."""
    tie_tolerance: Annotated[float, Field(ge=0)] = 0.01
    """Distances that differ by no more are the same, in Å (with inclusive_next, in Å² for edge sets within no
    other)."""
    fade_width: Annotated[float, Field(gt=0)] = 0.5
    """Over what distance neighbors fade out where ties are smooth, in Å."""
    periodic: bool = True
    """Whether structures repeat where they say so; false treats all as isolated."""


class BasisOptions(Options):
    """The basis functions of distances and angles."""

    radial: Annotated[Options, PartOf(RADIAL)]
    """Of distances, read on their own."""
    angular_radial: Annotated[Options, PartOf(RADIAL)] | None = None
    """Of distances, multiplied with functions of angles; null: the same kind as `radial`."""
    envelope: Annotated[Options, PartOf(ENVELOPE)]
    """What every radial function is multiplied by."""
    circular: Annotated[Options, PartOf(CIRCULAR)]
    """Of angles between two edges."""
    spherical: Annotated[Options, PartOf(SPHERICAL)] | None = None
    """Of an angle and a dihedral angle; needed by quadruplets."""
    collinear: Annotated[SmoothCollinearOptions | RightAngleOptions, Field(discriminator="type")] = (
        SmoothCollinearOptions()
    )
    """What the dihedral angle is where atoms come to lie on a line and there is none."""
    scale: bool = False
    """Whether each basis has a fitted scale factor."""


class HeadOptions(Options):
    """What a model predicts."""

    energy: EnergyOptions = EnergyOptions()
    """How energies of atoms make the energy of a structure."""
    forces: Annotated[DirectForcesOptions | GradientForcesOptions, Field(discriminator="type")] | None
    """How forces come about; null: no forces."""


class SpecFields(Options):
    """The fields of a spec, and what follows from them; `Spec` adds reading and patching."""

    elements: Size = 83
    """The greatest atomic number that the model knows."""
    sizes: Sizes
    """Widths that all layers share."""
    activation: Activation = "silu"
    """The activation of all layers: silu, siqu or identity."""
    neighbors: NeighborOptions = NeighborOptions()
    """Rules that hold for all edge sets."""
    graphs: dict[str, EdgeSetOptions]
    """Edge sets by name; `main` carries edge embeddings."""
    bases: BasisOptions
    """The basis functions of distances and angles."""
    atom_embedding: Annotated[Options, PartOf(ATOM_EMBEDDING)] = ElementEmbeddingOptions()
    """What atoms are before the first block."""
    blocks: BlockOptions
    """How many blocks, and the layers of each besides its interactions."""
    interactions: dict[str, Annotated[Options, PartOf(INTERACTION)]]
    """The interactions of every block by name; `type` is the name where it is not given. The same kind may appear twice
    under two names, each with weights of its own, on edge sets of its own where it names any."""
    readout: Annotated[Options, PartOf(READOUT)]
    """How the embeddings before the first block and after each block become one number per atom and per edge."""
    heads: HeadOptions
    """What the model predicts."""

    _catalog: Catalog = PrivateAttr(default_factory=Catalog)
    _places: Mapping[Route, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _types_are_names(cls, data: Any) -> Any:
        """Fill in the type of interactions whose name says it."""
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
        """Put each edge set after the one that it is within, and say how `main` is symmetrized."""
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
        """Order interactions by kind and name, so that no weight drawn from a seed depends on how a spec is written."""
        kinds = list(BUILT_IN[INTERACTION])

        def rank(name: str) -> tuple[int, str]:
            kind = interactions[name].type  # type: ignore[attr-defined]
            return kinds.index(kind) if kind in kinds else len(kinds), name

        return {name: interactions[name] for name in sorted(interactions, key=rank)}

    def model_post_init(self, context: Any) -> None:
        """Remember the classes that the spec was read with, and where it is written, for `patch` and `build`."""
        self._catalog = (context or {}).get("catalog") or Catalog()
        self._places = (context or {}).get("places") or {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpecFields) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(self.content_hash)

    @property
    def read_out(self) -> Options:
        """The earlier name of `readout`."""
        return self.readout

    @property
    def catalog(self) -> Catalog:
        """The parts that the spec was read with: the built-in ones, and those that the caller passed."""
        return self._catalog

    def document(self) -> Document:
        """Plain data that make the same spec again, and where each entry was written."""
        return Document(self.to_dict(), self._places)

    def placed(self, places: Mapping[Route, str]) -> Self:
        """The same spec, of which errors say that its entries were written there."""
        copy = self.model_copy()
        copy._places = places
        return copy

    def to_dict(self) -> dict[str, Any]:
        """Plain mappings, lists and numbers that make the same spec again."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """A YAML document that makes the same spec again."""
        return dump(self.to_dict())

    @property
    def content_hash(self) -> str:
        """A name of the architecture: equal for specs that build the same model, however they were written.

        The order of entries, defaults that are spelled out and edge sets that nothing uses do not count; nor does, with
        strict ties, among which other edges an edge set is selected, as long as the same edges result. A part whose
        class is not known yet counts as it was written.
        """
        content = self.to_dict()
        content["graphs"] = self._selections()
        content["bases"]["angular_radial"] = content["bases"]["angular_radial"] or content["bases"]["radial"]
        if self.neighbors.ties in ("strict", "smooth"):
            del content["neighbors"]["tie_tolerance"]
        if self.neighbors.ties != "smooth":
            del content["neighbors"]["fade_width"]
        if isinstance(self.atom_embedding, ElementEmbeddingOptions):
            del content["atom_embedding"]  # specs had no such field once, and keep their names
        content["read_out"] = content.pop("readout")  # the key in the hashes of earlier versions
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def graphs_in_use(self) -> set[str]:
        """The edge sets that an interaction names or that another one in use is within.

        All of them where an interaction does not say which it reads.
        """
        return {link for name in self._graphs_read() for link in _with_parents(name, self.graphs)}

    def _graphs_read(self) -> set[str]:
        read = {MAIN}
        for options in self.interactions.values():
            named = options.edge_sets() if isinstance(options, InteractionOptions) else {}
            if not named and not isinstance(options, TripletOptions):
                return set(self.graphs)
            read.update(named.values())
        return read

    def _selections(self) -> dict[str, Any]:
        """How the edges of each set in use are selected, in a form that is equal for equal edges."""
        chains = {
            name: [self.graphs[link] for link in _with_parents(name, self.graphs)] for name in self._graphs_read()
        }
        nested = self.neighbors.ties != "strict" or any(rule.tags for chain in chains.values() for rule in chain[1:])
        if nested:
            chains = {name: [self.graphs[name]] for name in self.graphs_in_use()}
        return {
            name: {
                "cutoff": chain[0].cutoff,  # of the bases, too
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


def _with_parents(name: str, graphs: Mapping[str, EdgeSetOptions]) -> list[str]:
    """An edge set, the one that it is within, and so on."""
    chain = [name] if name in graphs else []
    while chain and (parent := graphs[chain[-1]].within) in graphs and parent not in chain:
        chain.append(str(parent))
    return chain
