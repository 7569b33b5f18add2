"""Cutoffs and neighbor limits of each edge set by the rules of the published models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemnet_blocks.errors import SpecError


def cutoffs(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Return the cutoffs in Å of the edge sets main, quad, atom_edge and atom.

    The default, also for disabled interactions, is the cutoff of main; for atom, it is the largest of all.

    Raises:
        SpecError: a cutoff exceeds that of the atom set.
    """
    return _per_edge_set(arguments, "cutoff")


def neighbor_caps(arguments: Mapping[str, Any]) -> dict[str, int]:
    """Return the largest number of neighbors in each edge set, by the rules of `cutoffs`; 0 for no limit.

    Raises:
        SpecError: a number exceeds that of the atom set.
    """
    return _per_edge_set(arguments, "max_neighbors")


def neighbor_cap(count: int) -> int | None:
    """Translate a published number of neighbors to specs, in which None means no limit."""
    return count if count > 0 else None


def _per_edge_set(arguments: Mapping[str, Any], name: str) -> dict[str, Any]:
    def given(suffix: str, on: bool) -> Any:
        value = arguments[f"{name}{suffix}"]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise SpecError(f"{name}{suffix} must be a number, got {value!r}")
        return value if on else None

    main = given("", True)
    if main is None:
        raise SpecError(f"{name} must be a number, got None")
    quad = given("_qint", arguments["quad_interaction"])
    atom_edge = given("_aeaint", arguments["atom_edge_interaction"] or arguments["edge_atom_interaction"])
    values = {
        "main": main,
        "quad": main if quad is None else quad,
        "atom_edge": main if atom_edge is None else atom_edge,
    }
    atom = given("_aint", arguments["atom_interaction"])
    widest = max(values.values())
    if atom is not None and 0 < atom < widest:
        suffix = {"main": "", "quad": "_qint", "atom_edge": "_aeaint"}[max(values, key=lambda key: values[key])]
        raise SpecError(
            f"{name}{suffix}={widest} exceeds {name}_aint={atom}: the edges of atom_interaction must include all others"
        )
    return values | {"atom": widest if atom is None else atom}
