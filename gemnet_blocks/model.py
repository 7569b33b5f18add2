"""The model: structures → graphs → geometry → blocks → read-out → heads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

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
from gemnet_blocks.precision import MatrixProducts, matrix_products
from gemnet_blocks.recomputation import fixed, remade, without_fragments
from gemnet_blocks.structures import Prediction, Structures

if TYPE_CHECKING:
    from gemnet_blocks.estimate import Estimate
    from gemnet_blocks.tasks import Task


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

    def forward(self, structures: Structures, given: Pairs | None = None, lean: bool = False) -> TrunkOutput:
        """Features of atoms and edges; `given` pairs stand for a neighbor search.

        Args:
            structures: the structures.
            given: pairs that stand for a neighbor search.
            lean: make intermediate results anew where they are needed, instead of keeping them.

        Raises:
            StructureError: a structure cannot be computed.
        """
        graphs = self.graphs(structures, self.edge_embedding.dense.linear.weight.dtype, given)
        graphs = replace(graphs, lean=lean)
        geometry = self.geometry(graphs)
        h = self.atom_embedding(structures.numbers)
        embeddings = Embeddings(h, self.edge_embedding(h, geometry.radial, graphs.main.edges))
        outputs = [remade(lean, self.output_blocks[0], embeddings, geometry)]
        for block, output_block in zip(self.blocks, self.output_blocks[1:], strict=True):
            embeddings = remade(lean, block, embeddings, geometry)
            outputs.append(remade(lean, output_block, embeddings, geometry))
        return TrunkOutput(graphs, tuple(outputs))


@final
class GemNet(nn.Module):
    """Energies and forces of structures. Made by `gemnet_blocks.spec.build`.

    Args:
        trunk: from structures to features.
        read_out: from features to numbers per atom and edge.
        energy: from numbers per atom to energies.
        forces: from numbers per edge, or from the energy's gradient, to forces; None for no forces.
        memory_budget: in bytes, for predictions that do not say otherwise; None for no limit.
        matrix_products: the precision of matrix products in the forward pass, and in that of gradient forces.
    """

    def __init__(
        self,
        trunk: Trunk,
        read_out: ReadOut,
        energy: Energy,
        forces: DirectForces | GradientForces | None,
        memory_budget: float | None = None,
        matrix_products: MatrixProducts = "float32",
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.read_out = read_out
        self.energy = energy
        self.forces = forces
        self.memory_budget = memory_budget
        self.matrix_products: MatrixProducts = matrix_products
        self._needed: dict[tuple[Task, int, int], int] = {}

    def forward(
        self, structures: Structures, given: Pairs | None = None, memory_budget: float | None = None
    ) -> Prediction:
        """Predict energies and forces.

        With gradients enabled, both are differentiable functions of the weights, and gradient forces of the positions
        too. Under `torch.no_grad()`, gradient forces are computed all the same and carry no gradient.

        Args:
            structures: on the device of the model.
            given: pairs that stand for a neighbor search.
            memory_budget: in bytes; where more would be needed, intermediate results are made anew, some atoms at a
                time, instead of being kept: less memory for more time. None: that of the model, which has none unless
                it was built with one.

        Raises:
            StructureError: a structure cannot be computed.
        """
        if not isinstance(structures, Structures):
            raise TypeError(
                f"a model takes Structures, not {type(structures).__name__}: make them with Structures.from_ase(atoms) "
                "or Structures.from_batch(batch)"
            )
        lean = self._exceeds(self.memory_budget if memory_budget is None else memory_budget, structures)
        with matrix_products(self.matrix_products), without_fragments(lean):
            if isinstance(self.forces, GradientForces):
                return self._with_gradient_forces(structures, given, self.forces, lean)
            features = self.trunk(structures, given, lean)
            contributions = self.read_out(features.outputs)
            energy = self.energy(contributions.atoms, structures.structure, len(structures))
            if self.forces is None or contributions.edges is None:
                return Prediction(energy, None)
            return Prediction(energy, self.forces(contributions.edges, features.graphs.main))

    def _exceeds(self, memory_budget: float | None, structures: Structures) -> bool:
        """Whether a prediction that keeps its intermediate results needs more memory.

        It is estimated once for each number of atoms and structures, so that molecular dynamics need not wait for it.
        """
        if memory_budget is None:
            return False
        task: Task = "train" if torch.is_grad_enabled() else "predict"
        key = (task, structures.atom_count, len(structures))
        if key not in self._needed:  # an estimate takes as long as a small prediction
            self._needed[key] = self.estimate(structures, task).peak_bytes
        return self._needed[key] > memory_budget

    def estimate(self, structures: Structures, task: Task = "predict") -> Estimate:
        """Find operations and memory of each part without computing the model; see `gemnet_blocks.estimate`.

        Args:
            structures: one batch.
            task: energy, predict or train.

        Raises:
            StructureError: a structure cannot be computed.
        """
        from gemnet_blocks.estimate import estimate

        return estimate(self, structures, task)

    def _with_gradient_forces(
        self, structures: Structures, given: Pairs | None, head: GradientForces, lean: bool
    ) -> Prediction:
        create_graph = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad(), nullcontext() if create_graph else fixed(self):
            structures = differentiable(structures)
            features = self.trunk(structures, given, lean)
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
