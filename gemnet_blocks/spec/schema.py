"""The spec: everything that defines an architecture, every field documented once, here or at the part it sets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

import yaml
from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from gemnet_blocks.blocks.block import BlockOptions
from gemnet_blocks.blocks.dense import Activation
from gemnet_blocks.blocks.interaction import InteractionOptions, Sizes
from gemnet_blocks.graph.caps import Ties
from gemnet_blocks.graph.edge_sets import MAIN, EdgeSetOptions
from gemnet_blocks.heads import DirectForcesOptions, EnergyOptions, GradientForcesOptions
from gemnet_blocks.options import Options, Size
from gemnet_blocks.spec.catalog import (
    CIRCULAR,
    ENVELOPE,
    INTERACTION,
    RADIAL,
    READ_OUT,
    SPHERICAL,
    did_you_mean,
)
from gemnet_blocks.spec.part import PartOf, Unresolved


class NeighborOptions(Options):
    """Rules that hold for all edge sets."""

    ties: Ties = "inclusive"
    """What becomes of neighbors at the same distance as the last one that a cap admits. strict: exactly as many as
    the cap says; inclusive: all within the tolerance; inclusive_next: all within the tolerance of the first one
    excluded, as published models count without strict caps."""
    tie_tolerance: Annotated[float, Field(ge=0)] = 0.01
    """Distances that differ by no more are the same, in Å (with inclusive_next, in Å² for edge sets within no
    other)."""
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
    scale: bool = False
    """Whether each basis has a fitted scale factor."""


class HeadOptions(Options):
    """What a model predicts."""

    energy: EnergyOptions = EnergyOptions()
    """How energies of atoms make the energy of a structure."""
    forces: Annotated[DirectForcesOptions | GradientForcesOptions, Field(discriminator="type")] | None
    """How forces come about; null: no forces."""


class Spec(Options):
    """A declarative description of an architecture.

    Read it from a file with `load_spec`, change it with `patch`, turn it into a model with `build`.
    """

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
    blocks: BlockOptions
    """How many blocks, and the layers of each besides its interactions."""
    interactions: dict[str, Annotated[Options, PartOf(INTERACTION)]]
    """The interactions of every block by name; `type` is the name where it is not given."""
    read_out: Annotated[Options, PartOf(READ_OUT)]
    """What is made of the embeddings before the first block and behind each."""
    heads: HeadOptions
    """What the model predicts."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        """Drop what is ablated and fill in what names imply."""
        if not isinstance(data, Mapping):
            return data
        data = dict(data)
        for section in ("graphs", "interactions"):
            if isinstance(data.get(section), Mapping):
                data[section] = {name: entry for name, entry in data[section].items() if entry is not None}
        if isinstance(data.get("interactions"), Mapping):
            data["interactions"] = {
                name: {"type": name, **entry} if isinstance(entry, Mapping) else entry
                for name, entry in data["interactions"].items()
            }
        return data

    @field_validator("interactions", "graphs")
    @classmethod
    def _names_are_identifiers(cls, entries: dict[str, Any]) -> dict[str, Any]:
        for name in entries:
            if not name.isidentifier():
                raise ValueError(f"{name!r} is no name: use letters, digits and underscores")
        return entries

    @field_validator("graphs")
    @classmethod
    def _graphs_fit(cls, graphs: dict[str, EdgeSetOptions]) -> dict[str, EdgeSetOptions]:
        """Check that names refer to edge sets, and put each one after the one that it is within."""
        if MAIN not in graphs:
            raise ValueError(
                f"there is no edge set {MAIN!r}, which carries edge embeddings{did_you_mean(MAIN, graphs)}"
            )
        if graphs[MAIN].symmetrize is None:
            graphs = graphs | {MAIN: graphs[MAIN].model_copy(update={"symmetrize": "union"})}
        ordered: dict[str, EdgeSetOptions] = {}
        for name, rule in graphs.items():
            if name != MAIN and rule.symmetrize is not None:
                raise ValueError(f"{name}.symmetrize: only {MAIN!r} is symmetrized; remove the field")
            chain = [name]
            while (parent := graphs[chain[-1]].within) is not None:
                if parent not in graphs:
                    raise ValueError(f"{chain[-1]}.within: unknown edge set {parent!r}{did_you_mean(parent, graphs)}")
                if parent in chain:
                    raise ValueError(f"{name}.within: edge sets are within each other in a circle: {', '.join(chain)}")
                chain.append(parent)
            ordered |= {link: graphs[link] for link in reversed(chain) if link not in ordered}
        return ordered

    @model_validator(mode="after")
    def _interactions_fit(self) -> Self:
        for name, options in self.interactions.items():
            named = options.edge_sets() if isinstance(options, InteractionOptions) else {}
            for field, edge_set in named.items():
                if edge_set not in self.graphs:
                    raise ValueError(
                        f"interactions.{name}.{field}: unknown edge set {edge_set!r}"
                        f"{did_you_mean(edge_set, self.graphs)}"
                    )
            if options.type == "quadruplet" and self.bases.spherical is None:  # type: ignore[attr-defined]
                raise ValueError(f"interactions.{name}: quadruplets need bases.spherical, which is not given")
        return self

    def patch(self, changes: Mapping[str, Any] | None = None, **more: Any) -> Spec:
        """A copy with differences: `spec.patch({"interactions.quadruplet": None, "sizes": {"edge": 256}})`.

        Keys may be dotted paths; mappings are merged, everything else replaces what was there. None removes an
        interaction or edge set, and is the value null elsewhere.

        Raises:
            SpecError: a path does not exist or the result is no valid spec.
        """
        from gemnet_blocks.spec.resolve import patched

        return patched(self, {**(changes or {}), **more})

    def to_dict(self) -> dict[str, Any]:
        """Plain mappings, lists and numbers that make the same spec again."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """A YAML document that makes the same spec again."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    @property
    def content_hash(self) -> str:
        """A name of the architecture: equal for specs that build the same model, however they were written."""
        content = self.to_dict()
        content["graphs"] = {name: rule for name, rule in content["graphs"].items() if name in self.graphs_in_use()}
        content["bases"]["angular_radial"] = content["bases"]["angular_radial"] or content["bases"]["radial"]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def graphs_in_use(self) -> set[str]:
        """The edge sets that an interaction names or that another one in use is within."""
        in_use: set[str] = set()
        for options in self.interactions.values():
            if isinstance(options, Unresolved):
                return set(self.graphs)
        named = [
            edge_set
            for options in self.interactions.values()
            if isinstance(options, InteractionOptions)
            for edge_set in options.edge_sets().values()
        ]
        for name in (MAIN, *named):
            link: str | None = name
            while link is not None and link not in in_use:
                in_use.add(link)
                link = self.graphs[link].within
        return in_use


def json_schema() -> dict[str, Any]:
    """The JSON Schema of spec files, for completion in editors; `extends` names the file that a spec changes."""
    schema = Spec.model_json_schema()
    schema["properties"]["extends"] = {"type": "string", "description": "The spec file that this one changes."}
    # a file that extends another says only what differs
    schema["anyOf"] = [{"required": ["extends"]}, {"required": schema.pop("required")}]
    return schema
