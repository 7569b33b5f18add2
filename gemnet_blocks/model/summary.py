"""Table of the layers of a model with their parameters, inputs and outputs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from gemnet_blocks.graph.builder import EdgeSetOptions, GraphBuilder
from gemnet_blocks.interactions.interaction import Interaction, InteractionGeometry
from gemnet_blocks.layers.radial_bases import edge_set_of, owner_of
from gemnet_blocks.layers.stream_updates import NoUpdate
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.heads import DirectForces
from gemnet_blocks.model.property_heads import PropertyHead
from gemnet_blocks.model.streams import InitialStream, StreamLayer


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of the table.

    Attributes:
        part: the part of the model.
        name: the name of the layer.
        kind: the class of the layer.
        count: the number of copies with separate weights.
        parameters: the number of parameters of all copies.
        reads: its inputs.
        writes: its outputs.
    """

    part: str
    name: str
    kind: str
    count: int
    parameters: int
    reads: str
    writes: str


def parameter_count(module: nn.Module) -> int:
    """Count the parameters of a module, including scale factors."""
    return sum(parameter.numel() for parameter in module.parameters())


def execution(model: GemNet) -> dict[str, str]:
    """Describe how a model is computed: neighbor search, sums, products, memory budget and compilation."""
    chosen = {"neighbor search": _words(type(model.backbone.graphs.search).__name__.removesuffix("Search"))}
    chosen["sums over edges"] = model.energy.sums.name.replace("_", " ")
    for name, shared in model.backbone.geometry.interactions.items():
        assert isinstance(shared, InteractionGeometry)
        if shared.method is not None:
            chosen[f"sums of {name}"] = str(shared.method)
        if shared.method is not None and shared.method.factorized and shared.plan is not None:
            limit = shared.plan.atoms_at_most
            chosen["atoms at once"] = "all" if limit is None else f"at most {limit}"
    chosen["products of matrices"] = model.products.name
    chosen["memory budget"] = "none" if model.memory_budget is None else f"{model.memory_budget / 1e6:,.0f} MB"
    chosen["compiled layers"] = "all" if model.compiled else "none"
    return chosen


def _words(class_name: str) -> str:
    """Split a class name into words: `TorchCluster` → torch cluster."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", class_name).lower()


def layers(model: GemNet) -> list[Layer]:
    """List the layers of a model in the order of computation; their parameters add up to those of the model."""
    backbone = model.backbone
    geometry = backbone.geometry
    rows = [*_graph_rows(backbone.graphs)]
    for use, bases in (("", geometry.bases.radial), (", next to angles", geometry.bases.angular)):
        for name, basis in bases.items():
            kind, owner = type(getattr(basis, "basis", basis)).__name__, owner_of(name)
            edge_set = f"{edge_set_of(name)} in {owner}" if owner else name
            rows.append(_row("bases", f"radial, {edge_set}{use}", kind, [basis], "distances", "radial functions"))
    for name, projection in (("update", geometry.update_radial), ("output", geometry.output_radial)):
        if projection is not None:
            rows.append(_row("shared projections", name, "Linear", [projection], "radial functions", f"{name} basis"))
    for name, shared in geometry.interactions.items():
        assert isinstance(shared, InteractionGeometry)
        reads = "radial functions, angles" if shared.requests else "radial functions"
        rows.append(_row("shared projections", name, type(shared).__name__, [shared], reads, f"{name} basis"))
    kind = type(backbone.atom_embedding).__name__
    rows.append(_row("embeddings", "atoms", kind, [backbone.atom_embedding], "atomic numbers", "atoms"))
    if backbone.state_embedding is not None:
        state, reads = backbone.state_embedding, ", ".join(sorted(backbone.state_embedding.reads))
        rows.append(_row("embeddings", "state", type(state).__name__, [state], reads, "atoms"))
    reads = "atoms, radial functions of main"
    if backbone.edge_embedding is not None:
        rows.append(_row("embeddings", "edges", "EdgeEmbedding", [backbone.edge_embedding], reads, "edges"))
    for name, initial in backbone.streams.items():
        assert isinstance(initial, InitialStream)
        reads = initial.stream.on if initial.embedding is not None else ""
        rows.append(_row("embeddings", name, initial.stream.irreps, [initial], reads, name))
    rows += _block_rows([block for block in backbone.blocks if isinstance(block, Block)])
    if len(backbone.output_blocks):
        outputs = list(backbone.output_blocks)
        kind, reads, writes = type(outputs[0]).__name__, "atoms", "features of atoms"
        if model.readout.reads_edges:
            reads, writes = "atoms, edges, output basis", "features of atoms, edges"
        rows.append(_row("readout", "output block", kind, outputs, reads, writes))
    direct = isinstance(model.forces, DirectForces)
    writes = "a number per atom and edge" if direct else "a number per atom"
    kind = type(model.readout).__name__
    rows.append(_row("readout", "network", kind, [model.readout], "features of all output blocks", writes))
    if model.short_range is not None:
        rows.append(
            _row("heads", "short range", type(model.short_range).__name__, [], "distances", "a number per atom")
        )
    rows.append(_row("heads", "energy", f"Energy ({model.energy.reduce})", [], "a number per atom", "energy"))
    if model.forces is not None:
        reads = "a number per edge, directions" if direct else "energy, positions"
        rows.append(_row("heads", "forces", type(model.forces).__name__, [], reads, "forces"))
    for name, head in model.heads.items():
        assert isinstance(head, PropertyHead)
        writes = f"a {head.kind.shape} per {head.kind.per}"
        rows.append(_row("heads", name, type(head).__name__, [head], head.reads, writes))
    return rows


def _graph_rows(graphs: GraphBuilder) -> list[Layer]:
    rows = []
    for name, rule in graphs.rules.items():
        reads = "positions" if rule.within is None else f"edges of {rule.within}"
        writes = f"edges of {name}" if name in graphs.measured else "pairs"
        rows.append(_row("graphs", name, _describe(rule), [], reads, writes))
    return rows


def _describe(rule: EdgeSetOptions) -> str:
    parts = [f"{rule.cutoff:g} Å"]
    if rule.max_neighbors is not None:
        parts.append(f"{rule.max_neighbors} neighbors")
    if rule.tags is not None:
        parts.append(f"tags {', '.join(map(str, rule.tags))}")
    if rule.symmetrize is not None:
        parts.append(rule.symmetrize)
    return ", ".join(parts)


def _block_rows(blocks: list[Block]) -> list[Layer]:
    if not blocks:
        return []
    edges = blocks[0].dense is not None
    rows = [_row("block", "dense", "Dense", [block.dense for block in blocks], "edges", "edges")] if edges else []
    for name in dict.fromkeys(name for block in blocks for name in block.interactions):
        modules = [block.interactions[name] for block in blocks if name in block.interactions]
        first = modules[0]
        assert isinstance(first, Interaction)
        rows.append(_row("block", name, type(first).__name__, modules, first.reads, ", ".join(first.receivers)))
    stacks = [
        ("before_skip", "edges", "edges"),
        ("after_skip", "edges", "edges"),
        ("atom_layers", "atoms", "atoms"),
        ("update", "edges, update basis", "atoms"),
        ("concatenation", "atoms, edges", "edges"),
        ("concatenation_layers", "edges", "edges"),
    ]
    for attribute, reads, writes in stacks:
        of_blocks = [getattr(block, attribute) for block in blocks]
        # differing blocks may lack a layer
        modules = [module for module in of_blocks if module is not None and len(list(module.children())) > 0]
        if not modules:
            continue
        kind = "Residual" if isinstance(modules[0], nn.Sequential) else type(modules[0]).__name__
        rows.append(_row("block", attribute.replace("_", " "), kind, modules, reads, writes))
    for name in blocks[0].streams:
        modules = [block.streams[name] for block in blocks]
        first = modules[0]
        assert isinstance(first, StreamLayer)
        reads = name if isinstance(first.update, NoUpdate) else f"{name}, {first.stream.on}"
        rows.append(_row("block", f"update of {name}", type(first.update).__name__, modules, reads, name))
    return rows


def _row(part: str, name: str, kind: str, modules: list[Any], reads: str, writes: str) -> Layer:
    return Layer(part, name, kind, max(len(modules), 1), sum(map(parameter_count, modules)), reads, writes)
