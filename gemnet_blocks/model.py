"""The model: structures → graphs → geometry → blocks → read-out → heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import nn

from gemnet_blocks.blocks.block import Block
from gemnet_blocks.blocks.embedding import AtomEmbedding, EdgeEmbedding
from gemnet_blocks.blocks.interaction import Embeddings
from gemnet_blocks.blocks.read_out import Output, OutputBlock, ReadOut
from gemnet_blocks.geometry import GeometryEncoder
from gemnet_blocks.graph.edge_sets import GraphBuilder, Graphs
from gemnet_blocks.graph.neighbors import Pairs
from gemnet_blocks.heads import DirectForces, Energy, GradientForces
from gemnet_blocks.structures import Prediction, Structures


@dataclass(frozen=True, slots=True, eq=False)
class TrunkOutput:
    """What heads read.

    Attributes:
        graphs: the graphs of the structures.
        outputs: the result of every output block.
    """

    graphs: Graphs
    outputs: tuple[Output, ...]


@final
class Trunk(nn.Module):
    """Everything in front of the read-out.

    Args:
        graphs: builds graphs.
        geometry: evaluates bases and shared projections.
        atom_embedding: the first embeddings of atoms.
        edge_embedding: the first embeddings of main edges.
        blocks: update the embeddings, one after another.
        output_blocks: read the embeddings before the first block and behind each.
    """

    def __init__(
        self,
        graphs: GraphBuilder,
        geometry: GeometryEncoder,
        atom_embedding: AtomEmbedding,
        edge_embedding: EdgeEmbedding,
        blocks: Sequence[Block],
        output_blocks: Sequence[OutputBlock],
    ) -> None:
        super().__init__()
        self.graphs = graphs
        self.geometry = geometry
        self.atom_embedding = atom_embedding
        self.edge_embedding = edge_embedding
        self.blocks = nn.ModuleList(blocks)
        self.output_blocks = nn.ModuleList(output_blocks)

    def forward(self, structures: Structures, given: Pairs | None = None) -> TrunkOutput:
        """Features of atoms and edges; `given` pairs stand for a neighbor search.

        Raises:
            StructureError: a structure cannot be computed.
        """
        graphs = self.graphs(structures, self.edge_embedding.dense.linear.weight.dtype, given)
        geometry = self.geometry(graphs)
        h = self.atom_embedding(structures.numbers)
        embeddings = Embeddings(h, self.edge_embedding(h, geometry.radial, graphs.main.edges))
        outputs = [self.output_blocks[0](embeddings, geometry)]
        for block, output_block in zip(self.blocks, self.output_blocks[1:], strict=True):
            embeddings = block(embeddings, geometry)
            outputs.append(output_block(embeddings, geometry))
        return TrunkOutput(graphs, tuple(outputs))


@final
class GemNet(nn.Module):
    """Energies and forces of structures. Made by `gemnet_blocks.spec.build`.

    Args:
        trunk: from structures to features.
        read_out: from features to numbers per atom and edge.
        energy: from numbers per atom to energies.
        forces: from numbers per edge, or from the energy's gradient, to forces; None for no forces.
    """

    def __init__(
        self, trunk: Trunk, read_out: ReadOut, energy: Energy, forces: DirectForces | GradientForces | None
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.read_out = read_out
        self.energy = energy
        self.forces = forces

    def forward(self, structures: Structures, given: Pairs | None = None) -> Prediction:
        """Predict energies and forces.

        With gradients enabled, both are differentiable functions of the weights, and gradient forces of the positions
        too. Under `torch.no_grad()`, gradient forces are computed all the same and carry no gradient.

        Args:
            structures: on the device of the model.
            given: pairs that stand for a neighbor search.

        Raises:
            StructureError: a structure cannot be computed.
        """
        if not isinstance(structures, Structures):
            raise TypeError(
                f"a model takes Structures, not {type(structures).__name__}: make them with Structures.from_ase(atoms) "
                "or Structures.from_batch(batch)"
            )
        if isinstance(self.forces, GradientForces):
            return self._with_gradient_forces(structures, given, self.forces)
        features = self.trunk(structures, given)
        contributions = self.read_out(features.outputs)
        energy = self.energy(contributions.atoms, structures.structure, len(structures))
        if self.forces is None or contributions.edges is None:
            return Prediction(energy, None)
        return Prediction(energy, self.forces(contributions.edges, features.graphs.main))

    def _with_gradient_forces(self, structures: Structures, given: Pairs | None, head: GradientForces) -> Prediction:
        create_graph = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            structures = differentiable(structures)
            features = self.trunk(structures, given)
            contributions = self.read_out(features.outputs)
            energy = self.energy(contributions.atoms, structures.structure, len(structures))
            forces = head(energy, structures.positions, create_graph).to(energy.dtype)
        return Prediction(energy if create_graph else energy.detach(), forces if create_graph else forces.detach())


def differentiable(structures: Structures) -> Structures:
    """The same structures with positions that gradients are computed for.

    Positions that require gradients already stay part of their graph, so that forces can be differentiated further
    with respect to what they were computed from.
    """
    if structures.positions.is_inference():
        structures = structures.to()
        names = ("positions", "numbers", "structure", "cells", "periodic", "tags", "fixed")
        structures = replace(structures, **{name: getattr(structures, name).clone() for name in names})
    positions = structures.positions
    if not positions.requires_grad:
        positions = positions.detach().requires_grad_(True)
    return replace(structures, positions=positions)
