"""The radial bases of a model: those that interactions share, and those of single interactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gemnet_blocks.layers.radial_bases import RadialNames, own_name
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


def radial_plan(
    spec: SpecFields, edge_sets: Mapping[str, Sequence[str]], always: Sequence[str], angular: bool
) -> RadialPlan:
    """Find the radial bases that interactions use.

    Args:
        spec: the architecture.
        edge_sets: by interaction, the edge sets whose radial functions it uses.
        always: the edge sets whose shared radial basis is needed in any case.
        angular: True for the functions that are multiplied by functions of angles.
    """

    def functions(bases: BasisOptions) -> tuple[object, object]:
        return (bases.next_to_angles if angular else bases.radial), bases.envelope

    owner: dict[str, str | None] = dict.fromkeys(always)
    names: dict[str, dict[str, str]] = {}
    for interaction, read in edge_sets.items():
        wanted = functions(spec.bases_of(interaction))
        names[interaction] = {}
        for edge_set in read:
            equal = (
                name
                for name, known in owner.items()
                if known is not None
                and names[known].get(edge_set) == name
                and functions(spec.bases_of(known)) == wanted
            )
            shared = wanted == functions(spec.bases)
            name = edge_set if shared else next(equal, own_name(interaction, edge_set))
            names[interaction][edge_set] = name
            owner.setdefault(name, None if shared else interaction)
    return RadialPlan(owner, names)


def own_names(radial: RadialPlan, angular: RadialPlan) -> dict[str, RadialNames]:
    """Return the names of the radial bases of each interaction that does not use shared ones alone."""
    both = {name: RadialNames(radial.names[name], angular.names[name]) for name in radial.names}

    def shared(names: RadialNames) -> bool:
        return all(edge_set == name for part in (names.radial, names.angular) for edge_set, name in part.items())

    return {name: names for name, names in both.items() if not shared(names)}
