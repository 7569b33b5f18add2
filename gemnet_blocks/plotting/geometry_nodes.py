"""The nodes in front of the blocks: edge sets, bases and shared projections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.spherical import SphericalBasis
from gemnet_blocks.graph.builder import EdgeSetOptions
from gemnet_blocks.interactions.interaction import InteractionGeometry
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.summary import parameter_count
from gemnet_blocks.options import Options
from gemnet_blocks.plotting.architecture import Node
from gemnet_blocks.plotting.text import clean
from gemnet_blocks.spec.schema import Spec

STRUCTURES, RADIAL, ANGULAR, CIRCULAR, SPHERICAL = "structures", "radial", "angular radial", "circular", "spherical"
"""Wires in front of the blocks."""


def options_text(options: Options | dict[str, Any], without: Sequence[str] = ("type",)) -> str:
    """Options in words: `down 64, up 64`; those that are null or false are left out."""
    values = options if isinstance(options, dict) else options.model_dump(mode="json")
    shown = []
    for name, value in values.items():
        if name in without or value is None or value is False:
            continue
        if isinstance(value, dict):
            value = f"({options_text(value, ())})"
        label = clean(name).replace("_", " ")
        shown.append(label if value is True else f"{label} {clean(_plain(value))}")
    return ", ".join(shown)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(map(_plain, value)) if isinstance(value, list) else str(value)


def wire_of(edge_set: str) -> str:
    """The wire of an edge set."""
    return f"edges of {edge_set}"


def edge_set_nodes(spec: Spec, model: GemNet) -> Iterator[Node]:
    """The edge sets, also those that nothing reads."""
    graphs = model.trunk.graphs
    for name, rule in spec.graphs.items():
        used = name in graphs.rules
        reads = STRUCTURES if rule.within is None else wire_of(rule.within)
        details = [_rule(rule)]
        if not used:
            details.append("nothing reads it")
        elif name not in graphs.measured:
            details.append("only selected from")
        if rule.within is not None:
            details.append(f"within {clean(rule.within)}")
        writes = (wire_of(name),) if used else ()
        yield Node(
            f"graphs.{name}", "edge sets", clean(name), tuple(details), (reads,) if used else (), writes, used=used
        )


def _rule(rule: EdgeSetOptions) -> str:
    """What belongs to an edge set, in words."""
    parts = [f"up to {rule.cutoff:g} Å"]
    if rule.max_neighbors is not None:
        parts.append(f"the nearest {rule.max_neighbors}")
    if rule.tags is not None:
        parts.append(f"tags {', '.join(map(str, rule.tags))}")
    if rule.symmetrize is not None:
        parts.append(f"symmetrized by {rule.symmetrize}")
    return ", ".join(parts)


def _of(edge_sets: Sequence[str]) -> str:
    return f"of {', '.join(map(clean, edge_sets))}"


def basis_nodes(spec: Spec, model: GemNet) -> Iterator[Node]:
    """The bases that something reads."""
    bases, made = spec.bases, model.trunk.geometry.bases
    envelope = f"times a {kind_of(bases.envelope)} envelope"
    if text := options_text(bases.envelope):
        envelope += f" ({text})"
    scaled = ("with a fitted scale factor",) if bases.scale else ()
    next_to_angles = bases.angular_radial if bases.angular_radial is not None else bases.radial
    for wire, key, title, options, sets in (
        (RADIAL, "radial", "radial", bases.radial, made.radial),
        (ANGULAR, "angular_radial", "radial × angles", next_to_angles, made.angular),
    ):
        if len(sets):
            yield Node(
                f"bases.{key}",
                "bases",
                f"{title}: {kind_of(options)}",
                (options_text(options), _of(list(sets)), envelope, *scaled),
                tuple(map(wire_of, sets)),
                (wire,),
                parameter_count(sets),
            )
    shared = list(_shared(model).values())
    for wire, circular in ((CIRCULAR, True), (SPHERICAL, False)):
        readers = [part for part in shared if _angular_bases(part)[0 if circular else 1]]
        angle_options = bases.circular if circular else bases.spherical
        if readers and angle_options is not None:
            sets_read = dict.fromkeys(name for part in readers for name in _requested(part, spec))
            angles = "angles between edges" if circular else "angles and dihedral angles between edges"
            yield Node(
                f"bases.{wire}",
                "bases",
                f"{wire}: {kind_of(angle_options)}",
                (options_text(angle_options), f"{angles} {_of(list(sets_read))}", *scaled),
                tuple(map(wire_of, sets_read)),
                (wire,),
            )


def kind_of(options: Any) -> str:
    """The kind of part that options are of."""
    return clean(options.type)


def _shared(model: GemNet) -> dict[str, InteractionGeometry[Any]]:
    found = model.trunk.geometry.interactions.items()
    return {name: shared for name, shared in found if isinstance(shared, InteractionGeometry)}


def _angular_bases(shared: nn.Module) -> tuple[bool, bool]:
    """Whether there is a circular and a spherical basis in it; those that a spherical one is made of do not count."""
    if isinstance(shared, CircularBasis | SphericalBasis):
        return isinstance(shared, CircularBasis), isinstance(shared, SphericalBasis)
    inner = [_angular_bases(child) for child in shared.children()]
    return any(circular for circular, _ in inner), any(spherical for _, spherical in inner)


def _requested(shared: InteractionGeometry[Any], spec: Spec) -> list[str]:
    """The edge sets between which it needs angles."""
    named = [getattr(request, name, None) for request in shared.requests for name in ("outer", "inner", "middle")]
    return [name for name in dict.fromkeys(named) if name in spec.graphs]


def projection_nodes(spec: Spec, model: GemNet) -> Iterator[Node]:
    """What is made of the bases once, for all blocks."""
    geometry = model.trunk.geometry
    for name, layer in (("update", geometry.update_radial), ("output", geometry.output_radial)):
        details: tuple[str, ...] = (f"radial of main → {spec.sizes.radial}",)
        wires = (RADIAL,), (f"projection of layer {name}",)
        yield Node(f"projections.{name}", "shared projections", name, details, *wires, parameter_count(layer))
    for name, shared in _shared(model).items():
        circular, spherical = _angular_bases(shared)
        bases = {
            RADIAL: bool(shared.radial_on),
            ANGULAR: bool(shared.angular_radial_on),
            CIRCULAR: circular,
            SPHERICAL: spherical,
        }
        sets = dict.fromkeys((*shared.edge_sets, *_requested(shared, spec)))
        sets |= dict.fromkeys((*shared.radial_on, *shared.angular_radial_on))
        details = tuple(
            f"{text} {_of(edge_sets)}"
            for text, edge_sets in (
                ("radial", shared.radial_on),
                ("radial × angles" if circular or spherical else "radial, next to angles,", shared.angular_radial_on),
            )
            if edge_sets
        )
        yield Node(
            f"projections of interactions.{name}",
            "shared projections",
            clean(name),
            details,
            (*map(wire_of, sets), *(wire for wire, read in bases.items() if read)),
            (f"projection of interaction {name}",),
            parameter_count(shared),
        )
