"""The nodes of an architecture, from its spec and the model that was built of it."""

from __future__ import annotations

from collections.abc import Iterator

from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.interactions.interaction import Interaction
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.heads import DirectForces
from gemnet_blocks.model.summary import parameter_count
from gemnet_blocks.plotting.architecture import ATOMS, EDGES, Node
from gemnet_blocks.plotting.geometry_nodes import (
    RADIAL,
    STRUCTURES,
    basis_nodes,
    edge_set_nodes,
    kind_of,
    options_text,
    projection_nodes,
    wire_of,
)
from gemnet_blocks.plotting.text import clean
from gemnet_blocks.spec.schema import Spec

FEATURES, NUMBERS, ENERGY, FORCES = "features", "numbers", "energy", "forces"
"""Wires behind the blocks."""


def all_nodes(spec: Spec, model: GemNet) -> Iterator[Node]:
    """The nodes in the order of computation."""
    yield Node(STRUCTURES, "input", "structures", ("positions, atomic numbers, cells, tags",), (), (STRUCTURES,))
    yield from edge_set_nodes(spec, model)
    yield from basis_nodes(spec, model)
    yield from projection_nodes(spec, model)
    yield from _embeddings(spec, model)
    yield from _block(spec, [block for block in model.trunk.blocks if isinstance(block, Block)])
    yield from _read_out(spec, model)
    yield from _heads(spec, model)


def _embeddings(spec: Spec, model: GemNet) -> Iterator[Node]:
    trunk, sizes = model.trunk, spec.sizes
    details = (f"{sizes.atom} numbers for each of {spec.elements} elements",)
    count = parameter_count(trunk.atom_embedding)
    yield Node("embeddings.atoms", "embeddings", "atoms", details, (STRUCTURES,), (ATOMS,), count)
    reads, count = (wire_of(MAIN), RADIAL, ATOMS), parameter_count(trunk.edge_embedding)
    details = (f"{sizes.edge} numbers from both atoms and the radial functions of main",)
    yield Node("embeddings.edges", "embeddings", "edges", details, reads, (EDGES,), count)


def _block(spec: Spec, blocks: list[Block]) -> Iterator[Node]:
    if not blocks:
        details: tuple[str, ...] = (
            ("the interactions' projections are made and read by nothing",) if spec.interactions else ()
        )
        yield Node("blocks.none", "block", "no blocks", details)
        return

    def count(*names: str) -> int:
        return sum(parameter_count(getattr(block, name)) for block in blocks for name in names)

    for name, first in blocks[0].interactions.items():
        assert isinstance(first, Interaction)
        options = spec.interactions[name]
        read = [part.strip() for part in str(first.reads).split(",")]
        details = (options_text(options), f"reads {clean(first.reads)}; writes {first.writes}")
        yield Node(
            f"interactions.{name}",
            "block",
            clean(name) if name == kind_of(options) else f"{clean(name)}: {kind_of(options)}",
            tuple(filter(None, details)),
            (f"projection of interaction {name}", *(wire for wire in (ATOMS, EDGES) if wire in read)),
            (first.writes,),
            sum(parameter_count(block.interactions[name]) for block in blocks),
        )
    options = spec.blocks
    layers = f"dense layer, plus messages; {options.before_skip} + {options.after_skip} residual layers"
    parameters = count("dense", "before_skip", "after_skip")
    yield Node("blocks.edges", "block", "edge layers", (layers,), (EDGES,), (EDGES,), parameters)
    projection = f", projection {options.update_projection}" if options.update_projection != "if_needed" else ""
    layers = f"sum over edges; residual layers: {options.update} of the sum, {options.atom} of the atoms{projection}"
    reads, parameters = ("projection of layer update", EDGES, ATOMS), count("update", "atom_layers")
    yield Node("blocks.atoms", "block", "atom update", (layers,), reads, (ATOMS,), parameters)
    layers = f"dense layer of both atoms and the edge; {options.concatenation} residual layers"
    parameters = count("concatenation", "concatenation_layers")
    yield Node("blocks.concatenation", "block", "concatenation", (layers,), (ATOMS, EDGES), (EDGES,), parameters)


def _read_out(spec: Spec, model: GemNet) -> Iterator[Node]:
    outputs, kind = model.trunk.output_blocks, kind_of(spec.read_out)
    reads = ("projection of layer output", ATOMS, EDGES)
    details: tuple[str, ...] = ("before the first block and behind each",) if len(outputs) > 1 else ()
    yield Node(
        "read_out.blocks",
        "read-out",
        f"output block × {len(outputs)}",
        details,
        reads,
        (FEATURES,),
        parameter_count(outputs),
    )
    direct = isinstance(model.forces, DirectForces)
    details = (options_text(spec.read_out), f"writes a number per atom{' and edge' if direct else ''}")
    parameters = parameter_count(model.read_out)
    yield Node("read_out", "read-out", f"read-out: {kind}", details, (FEATURES,), (NUMBERS,), parameters)


def _heads(spec: Spec, model: GemNet) -> Iterator[Node]:
    details = (f"{'sum' if spec.heads.energy.reduce == 'sum' else 'mean'} over atoms",)
    yield Node("heads.energy", "heads", "energy", details, (NUMBERS,), (ENERGY,))
    forces = spec.heads.forces
    if forces is None:
        return
    options = options_text(forces)
    direct = isinstance(model.forces, DirectForces)
    text = "numbers of edges times their directions" if direct else "minus the gradient of the energy"
    reads = (NUMBERS, wire_of(MAIN)) if direct else (ENERGY, STRUCTURES)
    yield Node(
        "heads.forces", "heads", f"forces: {kind_of(forces)}", tuple(filter(None, (text, options))), reads, (FORCES,)
    )
