"""The data flow of an architecture: its parts as nodes in the order of computation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.spherical import SphericalBasis
from gemnet_blocks.graph.builder import MAIN, EdgeSetOptions
from gemnet_blocks.interactions.interaction import Interaction, InteractionGeometry, inputs_in
from gemnet_blocks.layers.radial_bases import edge_set_of, owner_of
from gemnet_blocks.layers.stream_updates import NoUpdateOptions
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.heads import DirectForces
from gemnet_blocks.model.property_heads import PropertyHead
from gemnet_blocks.model.streams import InitialStream
from gemnet_blocks.model.summary import parameter_count
from gemnet_blocks.options import Options
from gemnet_blocks.plotting.canvas import clean
from gemnet_blocks.spec.build import build_shapes
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.spec.schema import BasisOptions, unset_fields

Section = Literal["input", "edge sets", "bases", "shared projections", "embeddings", "block", "readout", "heads"]
"""Sections of the drawing from top to bottom."""

ATOMS, EDGES = "atoms", "edges"
"""Wires of the two embeddings that blocks read and write."""


@dataclass(frozen=True, slots=True)
class Node:
    """One part of an architecture.

    `key` identifies the part in changed architectures too; `reads` and `writes` name wires; `parameters` counts all
    occurrences.
    """

    key: str
    section: Section
    title: str
    details: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    parameters: int = 0
    used: bool = True


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture as nodes in the order of computation; the section `block` is repeated `blocks` times."""

    nodes: tuple[Node, ...]
    blocks: int
    parameters: int
    content_hash: str


def read_architecture(spec: Spec, extra: Mapping[str, type] | None = None, allow_imports: bool = False) -> Architecture:
    """Find the data flow of the model of a spec; the arguments are those of `draw_architecture`.

    Raises:
        SpecError: the model cannot be built.
    """
    model = build_shapes(spec, extra=extra, allow_imports=allow_imports)
    return Architecture(
        nodes=tuple(all_nodes(spec, model)),
        blocks=len(model.backbone.blocks),
        parameters=parameter_count(model),
        content_hash=spec.content_hash,
    )


STRUCTURES, RADIAL, ANGULAR, CIRCULAR, SPHERICAL = "structures", "radial", "angular radial", "circular", "spherical"
"""Wires before the blocks."""


def options_text(options: Options | dict[str, Any], without: Sequence[str] = ("type",)) -> str:
    """Describe options in words, such as `down 64, up 64`, without those that are null or false."""
    values = options if isinstance(options, dict) else options.model_dump(mode="json")
    shown = []
    for name, value in values.items():
        if name in without or value is None or value is False:
            continue
        if isinstance(value, dict):
            value = f"({options_text(value, ())})"
        label = clean(name).replace("_", " ")
        shown.append(label if value is True else f"{label} {clean(_value_text(value))}")
    return ", ".join(shown)


def _value_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(map(_value_text, value)) if isinstance(value, list) else str(value)


def wire_of(edge_set: str) -> str:
    """Return the wire of an edge set."""
    return f"edges of {edge_set}"


def edge_set_nodes(spec: Spec, model: GemNet) -> Iterator[Node]:
    """Yield the edge sets, including unused ones."""
    graphs = model.backbone.graphs
    for name, rule in spec.graphs.items():
        used = name in graphs.rules
        reads = STRUCTURES if rule.within is None else wire_of(rule.within)
        details = [_rule(rule)]
        if not used:
            details.append("unused")
        elif name not in graphs.measured:
            details.append("contains other sets only")
        if rule.within is not None:
            details.append(f"within {clean(rule.within)}")
        writes = (wire_of(name),) if used else ()
        yield Node(
            f"graphs.{name}", "edge sets", clean(name), tuple(details), (reads,) if used else (), writes, used=used
        )


def _rule(rule: EdgeSetOptions) -> str:
    """Describe the options of an edge set in words."""
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
    """Yield the bases in use: for each function the shared one, then those of single interactions."""
    made = model.backbone.geometry.bases
    scaled = ("with a fitted scale factor",) if spec.bases.scale else ()
    for wire, field, title, modules in (
        (RADIAL, "radial", "radial", made.radial),
        (ANGULAR, "angular_radial", "radial × angles", made.angular),
    ):
        for owner in sorted(dict.fromkeys(map(owner_of, modules))):
            bases = _bases(spec, owner)
            options = bases.radial if wire == RADIAL else bases.next_to_angles
            envelope = f"times a {kind_of(bases.envelope)} envelope"
            if text := options_text(bases.envelope):
                envelope += f" ({text})"
            sets = {edge_set_of(name): module for name, module in modules.items() if owner_of(name) == owner}
            yield Node(
                _basis_key(field, owner),
                "bases",
                f"{_owned(title, owner)}: {kind_of(options)}",
                (options_text(options), _of(list(sets)), envelope, *scaled),
                tuple(map(wire_of, sets)),
                (_owned(wire, owner),),
                sum(map(parameter_count, sets.values())),
            )
    for wire, circular in ((CIRCULAR, True), (SPHERICAL, False)):
        readers: dict[str, list[InteractionGeometry[Any]]] = {}
        for name, part in _shared(model).items():
            if _angular_bases(part)[0 if circular else 1]:
                readers.setdefault(_owner(spec, name, wire), []).append(part)
        for owner in sorted(readers):
            angle_options = getattr(_bases(spec, owner), wire)
            if angle_options is not None:
                sets_read = dict.fromkeys(name for part in readers[owner] for name in _requested(part, spec))
                angles = "angles between edges" if circular else "angles and dihedral angles between edges"
                yield Node(
                    _basis_key(wire, owner),
                    "bases",
                    f"{_owned(wire, owner)}: {kind_of(angle_options)}",
                    (options_text(angle_options), f"{angles} {_of(list(sets_read))}", *scaled),
                    tuple(map(wire_of, sets_read)),
                    (_owned(wire, owner),),
                )


def _bases(spec: Spec, owner: str) -> BasisOptions:
    return spec.bases_of(owner) if owner else spec.bases


def _owner(spec: Spec, interaction: str, field: str) -> str:
    """Return the interaction if it has its own circular or spherical basis, otherwise nothing."""
    return "" if getattr(spec.bases_of(interaction), field) == getattr(spec.bases, field) else interaction


def _owned(text: str, owner: str) -> str:
    return f"{text} of {clean(owner)}" if owner else text


def _basis_key(field: str, owner: str) -> str:
    return f"interactions.{owner}.bases.{field}" if owner else f"bases.{field}"


def kind_of(options: Any) -> str:
    """Return the `type` of options."""
    return clean(options.type)


def _shared(model: GemNet) -> dict[str, InteractionGeometry[Any]]:
    found = model.backbone.geometry.interactions.items()
    return {name: shared for name, shared in found if isinstance(shared, InteractionGeometry)}


def _angular_bases(shared: nn.Module) -> tuple[bool, bool]:
    """Return two flags: the module has a circular basis outside of spherical bases, and a spherical basis."""
    if isinstance(shared, CircularBasis | SphericalBasis):
        return isinstance(shared, CircularBasis), isinstance(shared, SphericalBasis)
    inner = [_angular_bases(child) for child in shared.children()]
    return any(circular for circular, _ in inner), any(spherical for _, spherical in inner)


def _requested(shared: InteractionGeometry[Any], spec: Spec) -> list[str]:
    """Return the edge sets between which an interaction needs angles."""
    named = [getattr(request, name, None) for request in shared.requests for name in ("outer", "inner", "middle")]
    return [name for name in dict.fromkeys(named) if name in spec.graphs]


def projection_nodes(spec: Spec, model: GemNet) -> Iterator[Node]:
    """Yield the projections of bases that all blocks share."""
    geometry = model.backbone.geometry
    for name, layer in (("update", geometry.update_radial), ("output", geometry.output_radial)):
        if layer is None:
            continue
        details: tuple[str, ...] = (f"radial of main → {spec.sizes.radial}",)
        wires = (RADIAL,), (f"projection of layer {name}",)
        yield Node(f"projections.{name}", "shared projections", name, details, *wires, parameter_count(layer))
    for name, shared in _shared(model).items():
        circular, spherical = _angular_bases(shared)
        own = geometry.own.get(name)
        radial = dict.fromkeys(shared.radial_on) if own is None else own.radial.values()
        angular = dict.fromkeys(shared.angular_radial_on) if own is None else own.angular.values()
        bases = dict.fromkeys(
            (
                *(_owned(RADIAL, owner_of(basis)) for basis in radial),
                *(_owned(ANGULAR, owner_of(basis)) for basis in angular),
                *([_owned(CIRCULAR, _owner(spec, name, CIRCULAR))] if circular else []),
                *([_owned(SPHERICAL, _owner(spec, name, SPHERICAL))] if spherical else []),
            )
        )
        sets = dict.fromkeys((*shared.edge_sets, *_requested(shared, spec)))
        sets |= dict.fromkeys((*shared.radial_on, *shared.angular_radial_on))
        details = tuple(
            f"{text} {_of(edge_sets)}"
            for text, edge_sets in (
                ("radial", shared.radial_on),
                ("radial × angles" if circular or spherical else "radial for angles", shared.angular_radial_on),
            )
            if edge_sets
        )
        yield Node(
            f"projections of interactions.{name}",
            "shared projections",
            clean(name),
            details,
            (*map(wire_of, sets), *bases),
            (f"projection of interaction {name}",),
            parameter_count(shared),
        )


FEATURES, NUMBERS, ENERGY, FORCES = "features", "numbers", "energy", "forces"
"""Wires after the blocks."""


def all_nodes(spec: Spec, model: GemNet) -> Iterator[Node]:
    """Yield the nodes in the order of computation."""
    yield Node(STRUCTURES, "input", "structures", ("positions, atomic numbers, cells, tags",), (), (STRUCTURES,))
    yield from edge_set_nodes(spec, model)
    yield from basis_nodes(spec, model)
    yield from projection_nodes(spec, model)
    yield from _embeddings(spec, model)
    blocks = [block for block in model.backbone.blocks if isinstance(block, Block)]
    yield from _block(spec, blocks)
    yield from _stream_updates(spec, blocks)
    yield from _read_out(spec, model)
    yield from _heads(spec, model)


def _embeddings(spec: Spec, model: GemNet) -> Iterator[Node]:
    backbone, sizes = model.backbone, spec.sizes
    details: tuple[str, ...] = (f"{sizes.atom} numbers for each of {spec.elements} elements",)
    count = parameter_count(backbone.atom_embedding)
    if backbone.state_embedding is not None:
        details = (*details, f"plus numbers for the {' and '.join(sorted(spec.reads))} of the structure")
        count += parameter_count(backbone.state_embedding)
    yield Node("embeddings.atoms", "embeddings", "atoms", details, (STRUCTURES,), (ATOMS,), count)
    if backbone.edge_embedding is not None:
        reads, count = (wire_of(MAIN), RADIAL, ATOMS), parameter_count(backbone.edge_embedding)
        details = (f"{sizes.edge} numbers from both atoms and the radial functions of main",)
        yield Node("embeddings.edges", "embeddings", "edges", details, reads, (EDGES,), count)
    for name, initial in backbone.streams.items():
        assert isinstance(initial, InitialStream)
        stream, embedded = initial.stream, initial.embedding is not None
        yield Node(
            f"streams.{name}",
            "embeddings",
            clean(name),
            (f"irreps {stream.irreps} of {stream.on}", "linear map of embeddings" if embedded else "zeros"),
            (EDGES if stream.on == "edges" else ATOMS,) if embedded else (),
            (name,),
            parameter_count(initial),
        )


def _block(spec: Spec, blocks: list[Block]) -> Iterator[Node]:
    if not blocks:
        details: tuple[str, ...] = ("projections of interactions are not used",) if spec.interactions else ()
        yield Node("blocks.none", "block", "no blocks", details)
        return

    def count(*names: str) -> int:
        modules = [getattr(block, name) for block in blocks for name in names]
        return sum(parameter_count(module) for module in modules if module is not None)

    streams = blocks[0].streams
    for name in dict.fromkeys(name for block in blocks for name in block.interactions):
        modules = [block.interactions[name] for block in blocks if name in block.interactions]
        first, options = modules[0], spec.interactions[name]
        assert isinstance(first, Interaction)
        read = inputs_in(first.reads)
        off = [f"{field} false" for field in ("scale_factor", "symmetric") if getattr(options, field, True) is False]
        text = ", ".join(filter(None, (options_text(options, ("type", *unset_fields(options))), *off)))
        details = (text, f"reads {clean(first.reads)}; writes {clean(', '.join(first.receivers))}")
        yield Node(
            f"interactions.{name}",
            "block",
            clean(name) if name == kind_of(options) else f"{clean(name)}: {kind_of(options)}",
            tuple(filter(None, details)),
            (f"projection of interaction {name}", *(wire for wire in (ATOMS, EDGES, *streams) if wire in read)),
            first.receivers,
            sum(map(parameter_count, modules)),
        )
    if spec.edge_embedding is None:
        layers, parameters = f"{_numbers(spec, 'atom')} residual layers", count("atom_layers")
        yield Node("blocks.atoms", "block", "atom layers", (layers,), (ATOMS,), (ATOMS,), parameters)
        return
    layers = (
        f"dense layer, plus messages; {_numbers(spec, 'before_skip')} + {_numbers(spec, 'after_skip')} residual layers"
    )
    parameters = count("dense", "before_skip", "after_skip")
    yield Node("blocks.edges", "block", "edge layers", (layers,), (EDGES,), (EDGES,), parameters)
    if any(block.update is not None for block in blocks):
        always = any(layers.update_projection == "always" for layers in spec.block_layers)
        layers = (
            f"sum over edges; residual layers: {_numbers(spec, 'update')} of the sum, {_numbers(spec, 'atom')} of the "
            f"atoms{', projection always' if always else ''}"
        )
        reads, parameters = ("projection of layer update", EDGES, ATOMS), count("update", "atom_layers")
        yield Node("blocks.atoms", "block", "atom update", (layers,), reads, (ATOMS,), parameters)
    elif any(layers.atom for layers in spec.block_layers):
        layers = f"{_numbers(spec, 'atom')} residual layers"
        yield Node("blocks.atoms", "block", "atom layers", (layers,), (ATOMS,), (ATOMS,), count("atom_layers"))
    if any(block.concatenation is not None for block in blocks):
        layers = f"dense layer of both atoms and the edge; {_numbers(spec, 'concatenation')} residual layers"
        parameters = count("concatenation", "concatenation_layers")
        yield Node("blocks.concatenation", "block", "concatenation", (layers,), (ATOMS, EDGES), (EDGES,), parameters)


def _numbers(spec: Spec, layer: str) -> str:
    """Return the number of residual layers of all blocks; of differing blocks, that of each, with `none` for null."""
    counts = ["none" if (count := getattr(layers, layer)) is None else str(count) for layers in spec.block_layers]
    return counts[0] if len(set(counts)) == 1 else " | ".join(counts)


def _stream_updates(spec: Spec, blocks: list[Block]) -> Iterator[Node]:
    for name, options in spec.all_streams().items():
        layers = [block.streams[name] for block in blocks]
        if layers and not isinstance(options.update, NoUpdateOptions):
            yield Node(
                f"streams.{name}.update",
                "block",
                f"update of {clean(name)}: {kind_of(options.update)}",
                tuple(filter(None, (options_text(options.update),))),
                (name, EDGES if options.on == "edges" else ATOMS),
                (name,),
                sum(map(parameter_count, layers)),
            )


def _read_out(spec: Spec, model: GemNet) -> Iterator[Node]:
    outputs, kind = model.backbone.output_blocks, kind_of(spec.readout)
    reads = ("projection of layer output", ATOMS, EDGES) if model.readout.reads_edges else (ATOMS,)
    details: tuple[str, ...] = ("before the first block and after each block",) if len(outputs) > 1 else ()
    yield Node(
        "read_out.blocks",
        "readout",
        f"output block × {len(outputs)}",
        details,
        reads,
        (FEATURES,),
        parameter_count(outputs),
    )
    direct = isinstance(model.forces, DirectForces)
    details = (options_text(spec.readout), f"one number per atom{' and edge' if direct else ''}")
    parameters = parameter_count(model.readout)
    yield Node("read_out", "readout", f"readout: {kind}", details, (FEATURES,), (NUMBERS,), parameters)


def _heads(spec: Spec, model: GemNet) -> Iterator[Node]:
    yield from _energy_and_forces(spec, model)
    for name, options in spec.heads.properties.items():
        head = model.heads[name]
        assert isinstance(head, PropertyHead)
        text = f"{head.kind.shape} per {head.kind.per}"
        read = inputs_in(head.reads)
        reads = (
            *(wire for wire in (ATOMS, EDGES) if wire in read),
            *((wire_of(MAIN),) if "directions" in read else ()),
        )
        title = clean(name) if name == kind_of(options) else f"{clean(name)}: {kind_of(options)}"
        details = tuple(filter(None, (text, options_text(options, ("type", "per", "shape")))))
        yield Node(f"heads.{name}", "heads", title, details, reads, (), parameter_count(head))


def _energy_and_forces(spec: Spec, model: GemNet) -> Iterator[Node]:
    repulsion = spec.heads.energy.short_range is not None
    details = (f"{spec.heads.energy.reduce} over atoms", *["repulsion at short range"] * repulsion)
    yield Node("heads.energy", "heads", "energy", details, (NUMBERS, *[wire_of(MAIN)] * repulsion), (ENERGY,))
    forces = spec.heads.forces
    if forces is None:
        return
    options = options_text(forces)
    direct = isinstance(model.forces, DirectForces)
    text = "numbers of edges times their directions" if direct else "minus the gradient of the energy"
    text += "; stresses with every prediction" if spec.heads.stress is not None else ""
    reads = (NUMBERS, wire_of(MAIN)) if direct else (ENERGY, STRUCTURES)
    yield Node(
        "heads.forces", "heads", f"forces: {kind_of(forces)}", tuple(filter(None, (text, options))), reads, (FORCES,)
    )
