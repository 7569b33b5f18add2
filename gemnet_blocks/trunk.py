"""Everything in front of the read-out: structures → graphs → geometry → blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import nn

from gemnet_blocks.blocks.edge_embedding import EdgeEmbedding
from gemnet_blocks.blocks.read_out import Output, OutputBlock
from gemnet_blocks.graph.builder import GraphBuilder, Graphs
from gemnet_blocks.graph.pairs import Neighbors, Pairs
from gemnet_blocks.interactions.interaction import Embeddings
from gemnet_blocks.layers.embeddings import AtomEmbedding
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.geometry_encoder import GeometryEncoder
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.precision import at_least_single, without_autocast
from gemnet_blocks.util.recompute import remade


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

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights, and of embeddings; distances and angles are in float32 or wider."""
        return self.edge_embedding.dense.linear.weight.dtype

    def forward(self, structures: Structures, given: Pairs | Neighbors | None = None) -> TrunkOutput:
        """Features of atoms and edges.

        Args:
            structures: the structures.
            given: pairs or neighbors found before, see `GraphBuilder`.

        Raises:
            StructureError: a structure cannot be computed.
        """
        with without_autocast(structures.positions.device):
            graphs = self.graphs(structures, at_least_single(self.dtype), given)
            geometry = self.geometry(graphs)
        h = self.atom_embedding(structures.numbers)
        embeddings = Embeddings(h, remade(self.edge_embedding, h, geometry.radial, graphs.main.edges))
        outputs = [remade(self.output_blocks[0], embeddings, geometry)]
        for block, output_block in zip(self.blocks, self.output_blocks[1:], strict=True):
            embeddings = block(embeddings, geometry)
            outputs.append(remade(output_block, embeddings, geometry))
        return TrunkOutput(graphs, tuple(outputs))
