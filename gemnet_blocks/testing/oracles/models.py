"""Reference definition of a whole model, from structures to energies and forces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.geometry.edges import EdgeSet, SymmetricEdges
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.graph.builder import MAIN, GraphBuilder
from gemnet_blocks.interactions.interaction import Embeddings
from gemnet_blocks.layers.radial_bases import RadialBases, RadialValues, edge_set_of
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.gemnet import Backbone, GemNet
from gemnet_blocks.model.heads import DirectForces
from gemnet_blocks.model.readout import Output
from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.testing.oracles.bases import radial_functions
from gemnet_blocks.testing.oracles.edge_sets import Ruling, WeightedEdge, edge_sets, measured
from gemnet_blocks.testing.oracles.embeddings import (
    atom_embedding,
    block,
    direct_forces,
    energy,
    output_block,
    read_out,
    repulsion,
)
from gemnet_blocks.testing.oracles.graphs import reverse
from gemnet_blocks.testing.oracles.layers import edge_embedding, stacked


def model(gemnet: GemNet, structures: Structures) -> Prediction:
    """Predict energies and forces with the weights of a model from `spec.build`.

    h_a = table[Z_a], m = Dense([h_s, h_t, rad]); all blocks, with an output block before the first and after each; the
    readout; the repulsion at short range; E_s = Σ_a e_a; F = -∂E/∂r or F_a = Σ_{c→a} f_ca u_ca.

    Args:
        gemnet: the model.
        structures: structures of a few atoms, since the time grows with the number of quadruplets. Gradient forces can
            be differentiated with respect to weights only.

    Raises:
        TypeError: a component of the model is not built in.
    """
    if gemnet.forces is not None and not isinstance(gemnet.forces, DirectForces):
        return _with_gradient_forces(gemnet, structures)
    graphs, outputs = features(gemnet.backbone, structures)
    contributions = read_out(gemnet.readout, outputs)
    atoms = _repelled(gemnet, contributions.atoms, graphs, structures)
    total = energy(atoms, structures.structure, len(structures), gemnet.energy.reduce)
    if gemnet.forces is None or contributions.edges is None:
        return Prediction(total, None)
    return Prediction(total, direct_forces(contributions.edges, graphs.main, gemnet.forces.coupled))


def features(backbone: Backbone, structures: Structures) -> tuple[Graphs, list[Output]]:
    """Compute the graphs and the results of all output blocks."""
    dtype = backbone.dtype
    selected = edge_sets_of(backbone.graphs, structures)
    graphs = graphs_of(selected, structures, dtype)
    radial = radial_values(backbone.geometry.bases, graphs.edge_sets)
    h = atom_embedding(backbone.atom_embedding, structures.numbers)
    main, raw = graphs.main.edges, radial.radial[MAIN]
    assert backbone.edge_embedding is not None
    assert backbone.geometry.output_radial is not None
    embeddings = Embeddings(h, edge_embedding(backbone.edge_embedding, h, raw, main))
    projected = raw @ backbone.geometry.output_radial.weight.T
    outputs = []
    for index, reader in enumerate(backbone.output_blocks):
        if index > 0:
            part = backbone.blocks[index - 1]
            assert isinstance(part, Block)
            embeddings = block(part, backbone.geometry, embeddings, graphs, radial)
        outputs.append(output_block(reader, embeddings, projected, main))
    return graphs, outputs


def edge_sets_of(builder: GraphBuilder, structures: Structures) -> dict[str, list[WeightedEdge]]:
    """Select the edge sets that a model uses, by its rules."""
    ruling = Ruling(builder.ties, builder.tie_tolerance, builder.fade_width)
    found = edge_sets(builder.rules, structures, ruling, builder.periodic)
    return {name: found[name] for name in builder.measured}


def graphs_of(selected: Mapping[str, Sequence[WeightedEdge]], structures: Structures, dtype: torch.dtype) -> Graphs:
    """Measure edge sets; index sets are left out, since oracles find triplets and quadruplets themselves."""
    sets = {name: measured(edges, structures, dtype) for name, edges in selected.items()}
    opposite = torch.tensor(reverse([one.edge for one in selected[MAIN]]), dtype=torch.long)
    return Graphs(structures, SymmetricEdges(sets[MAIN], opposite), sets, {})


def radial_values(bases: RadialBases, sets: Mapping[str, EdgeSet]) -> RadialValues:
    """Evaluate the radial functions of every edge, times the weight of the edge if it has one."""

    def values(name: str, basis: nn.Module) -> Float[Tensor, "edges *functions"]:
        edges = sets[edge_set_of(name)]
        rows = [radial_functions(basis, distance) for distance in edges.distance]
        if edges.weight is not None:
            rows = [weight * row for weight, row in zip(edges.weight, rows, strict=True)]
        # without edges, the row of a zero distance has the right number of columns
        return stacked(rows, radial_functions(basis, edges.distance.new_zeros(()))[None][:0])

    return RadialValues(
        {name: values(name, basis) for name, basis in bases.radial.items()},
        {name: values(name, basis) for name, basis in bases.angular.items()},
    )


def _repelled(
    gemnet: GemNet, atoms: Float[Tensor, " atoms"], graphs: Graphs, structures: Structures
) -> Float[Tensor, " atoms"]:
    """Add the repulsion of nuclei, if the model has it, to the numbers per atom."""
    if gemnet.short_range is None:
        return atoms
    return atoms + repulsion(gemnet.short_range, graphs.main.edges, structures.numbers)


def _with_gradient_forces(gemnet: GemNet, structures: Structures) -> Prediction:
    with torch.enable_grad():
        structures = replace(structures, positions=structures.positions.detach().requires_grad_())
        graphs, outputs = features(gemnet.backbone, structures)
        atoms = _repelled(gemnet, read_out(gemnet.readout, outputs).atoms, graphs, structures)
        total = energy(atoms, structures.structure, len(structures), gemnet.energy.reduce)
        if not structures.atom_count or not total.requires_grad:
            return Prediction(total, torch.zeros_like(structures.positions))
        (slope,) = torch.autograd.grad(total.sum(), structures.positions, create_graph=True, allow_unused=True)
    return Prediction(total, torch.zeros_like(structures.positions) if slope is None else -slope)
