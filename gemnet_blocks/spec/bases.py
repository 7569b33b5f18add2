"""The radial bases of a model: those that interactions share, and those of single interactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gemnet_blocks.basis.fourier_bessel import DegreeRadialBasis
from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.interactions.interaction import InteractionGeometry
from gemnet_blocks.layers.radial_bases import RadialNames, own_name
from gemnet_blocks.options import Options
from gemnet_blocks.spec.catalog import RADIAL, Catalog
from gemnet_blocks.spec.schema import BasisOptions, SpecFields


@dataclass(frozen=True, slots=True)
class RadialPlan:
    """The radial bases for one use, alone or next to angles; equal bases of equal edge sets are one.

    Attributes:
        owner: by name, the interaction by whose options a basis is built; None for those of all interactions.
        names: by interaction and edge set, the name of the basis.
    """

    owner: Mapping[str, str | None]
    names: Mapping[str, Mapping[str, str]]


def radial_plan(spec: SpecFields, shared: Mapping[str, InteractionGeometry[Any]], angular: bool) -> RadialPlan:
    """Find the radial bases that interactions use.

    Args:
        spec: the architecture.
        shared: the shared geometry of each interaction, which names the edge sets.
        angular: True for the functions that are multiplied by functions of angles.
    """

    def functions(bases: BasisOptions) -> tuple[object, ...]:
        radial = bases.next_to_angles if angular else bases.radial
        beside = (bases.circular, bases.spherical) if depends_on_degree(radial, spec.catalog) else ()
        return radial, bases.envelope, *beside

    owner: dict[str, str | None] = {} if angular else {MAIN: None}  # edges are embedded with the shared basis of main
    names: dict[str, dict[str, str]] = {}
    for interaction, part in shared.items():
        wanted = functions(spec.bases_of(interaction))
        # the first interaction with these functions owns them
        first = next((one for one in names if functions(spec.bases_of(one)) == wanted), interaction)
        names[interaction] = {}
        for edge_set in part.angular_radial_on if angular else part.radial_on:
            of_all = wanted == functions(spec.bases)
            name = edge_set if of_all else own_name(first, edge_set)
            names[interaction][edge_set] = name
            owner.setdefault(name, None if of_all else first)
    return RadialPlan(owner, names)


def depends_on_degree(radial: Options, catalog: Catalog) -> bool:
    """Return whether the functions of a radial basis depend on the degree of the angular function beside them."""
    part = catalog.find(RADIAL, radial.type)  # type: ignore[attr-defined]
    return part is not None and issubclass(part, DegreeRadialBasis)


def own_names(radial: RadialPlan, angular: RadialPlan) -> dict[str, RadialNames]:
    """Return the names of the radial bases of each interaction that does not use shared ones alone."""
    both = {name: RadialNames(radial.names[name], angular.names[name]) for name in radial.names}

    def shared(names: RadialNames) -> bool:
        return all(edge_set == name for part in (names.radial, names.angular) for edge_set, name in part.items())

    return {name: names for name, names in both.items() if not shared(names)}


def place_of(spec: SpecFields, interaction: str | None, field: str) -> str:
    """Return the path of the options of a basis of an interaction; None for those of all interactions."""
    own = interaction and getattr(spec.bases_of(interaction), field) is not getattr(spec.bases, field)
    return f"interactions.{interaction}.bases.{field}" if own else f"bases.{field}"
