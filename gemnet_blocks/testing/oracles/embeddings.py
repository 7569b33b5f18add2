"""The first embeddings, and the block that updates them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.blocks.edge_embedding import EdgeEmbedding
from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.graph.builder import Graphs
from gemnet_blocks.interactions.interaction import Embeddings, Interaction
from gemnet_blocks.layers.embeddings import AtomEmbedding, ElementEmbedding, PeriodicTableEmbedding
from gemnet_blocks.layers.projection import RadialValues
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.geometry_encoder import GeometryEncoder
from gemnet_blocks.testing.oracles.graphs import edges_of
from gemnet_blocks.testing.oracles.interactions import interaction
from gemnet_blocks.testing.oracles.layers import dense, stacked, through
from gemnet_blocks.testing.oracles.reading_out import atom_update


def atom_embedding(module: AtomEmbedding, numbers: Int[Tensor, " atoms"]) -> Float[Tensor, "atoms size"]:
    """h_a = table[Z_a], or rows[r(Z_a)] + columns[c(Z_a)]; the first row of each is hydrogen's."""
    if isinstance(module, ElementEmbedding):
        table = module.table.weight
        rows = [table[number - 1] for number in numbers.tolist()]
    else:
        assert isinstance(module, PeriodicTableEmbedding)
        table = module.rows.weight
        rows = []
        for number in numbers.tolist():
            row, column = periodic_place(number)
            rows.append(table[row] + module.columns.weight[column])
    return stacked(rows, table.new_zeros(0, table.shape[1]))


def periodic_place(number: int) -> tuple[int, int]:
    """Row and column of an element, by walking from one to the next through a periodic table of 32 columns."""
    row, column = 0, 0
    for _ in range(1, number):
        if column == 31:
            row, column = row + 1, 0
        elif column == (0 if row == 0 else 1) and row < 5:  # what shorter rows leave out
            column = 31 if row == 0 else 26 if row < 3 else 16
        else:
            column += 1
    return row, column


def edge_embedding(
    module: EdgeEmbedding,
    atoms: Float[Tensor, "atoms atom_size"],
    x: Float[Tensor, "edges edge_in_size"],
    edges: EdgeSet,
) -> Float[Tensor, "edges edge_size"]:
    """m_st = Dense([h_s, h_t, x_st])."""
    rows = [torch.cat([atoms[st.source], atoms[st.target], x[i]]) for i, st in enumerate(edges_of(edges))]
    return dense(module.dense, stacked(rows, x.new_zeros(0, 2 * atoms.shape[1] + x.shape[1])))


def block(
    module: Block, geometry: GeometryEncoder, embeddings: Embeddings, graphs: Graphs, radial: RadialValues
) -> Embeddings:
    """One block: all messages, residual layers, the atom update and the concatenation layer.

    x = (Dense(m) + Σ messages to edges)/√n, h ← (h + Σ messages to atoms)/√n, n counting the terms; m ← after((m +
    before(x))/√2); h ← (layers(h) + update(m))/√2; m ← (m + layers(Dense([h_s, h_t, m])))/√2.

    Args:
        module: the block, with its weights.
        geometry: the weights that all blocks share.
        embeddings: h and m.
        graphs: the edge sets.
        radial: raw radial functions.
    """
    h, m, edges = embeddings.atoms, embeddings.edges, graphs.main.edges
    to_edges, to_atoms = [dense(module.dense, m)], [h]
    for name, part in module.interactions.items():
        written = interaction(part, geometry.interactions[name], embeddings, graphs, radial)
        assert isinstance(part, Interaction)
        (to_edges if part.writes == "edges" else to_atoms).append(written)
    x = torch.stack(to_edges).sum(dim=0) / math.sqrt(len(to_edges))
    h = torch.stack(to_atoms).sum(dim=0) / math.sqrt(len(to_atoms))
    m = through(module.after_skip, (m + through(module.before_skip, x)) / math.sqrt(2))
    update_radial = radial.radial["main"] @ geometry.update_radial.weight.T
    h = (through(module.atom_layers, h) + atom_update(module.update, m, update_radial, edges)) / math.sqrt(2)
    concatenated = through(module.concatenation_layers, edge_embedding(module.concatenation, h, m, edges))
    return Embeddings(h, (m + concatenated) / math.sqrt(2))
