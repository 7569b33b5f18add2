"""The first embeddings of atoms and edges, and the concatenation layer that mixes both."""

from __future__ import annotations

import math
from typing import final

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from gemnet_blocks.blocks.dense import Activation, Dense
from gemnet_blocks.graph.edges import EdgeSet


@final
class AtomEmbedding(nn.Module):
    """h_a = table[Z_a], initially uniform in ±√3, which has variance 1.

    Args:
        element_count: the greatest atomic number known; numbers start at 1.
        size: features of atom embeddings.
    """

    def __init__(self, element_count: int, size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(element_count, size)
        nn.init.uniform_(self.table.weight, -math.sqrt(3), math.sqrt(3))

    def forward(self, numbers: Int[Tensor, " atoms"]) -> Float[Tensor, "atoms size"]:
        """The embedding of each atom from its atomic number."""
        return self.table(numbers - 1)


@final
class EdgeEmbedding(nn.Module):
    """m_st = Dense([h_s, h_t, x_st]) for an edge from s to t.

    Args:
        atom_size: features of atom embeddings.
        edge_in_size: features x of each edge.
        edge_size: features of edge embeddings.
        activation: of the dense layer.
    """

    def __init__(self, atom_size: int, edge_in_size: int, edge_size: int, activation: Activation = "silu") -> None:
        super().__init__()
        self.dense = Dense(2 * atom_size + edge_in_size, edge_size, activation)

    def forward(
        self, atoms: Float[Tensor, "atoms atom_size"], x: Float[Tensor, "edges edge_in_size"], edges: EdgeSet
    ) -> Float[Tensor, "edges edge_size"]:
        """The embedding of each edge."""
        # W [h_s, h_t, x] = W_s h_s + W_t h_t + W_x x: atoms are projected before they are copied to their edges
        of_source, of_target, of_edge = self.dense.linear.weight.split([atoms.shape[1], atoms.shape[1], x.shape[1]], 1)
        total = functional.linear(x, of_edge)
        total += functional.linear(atoms, of_source).index_select(0, edges.source)
        total += functional.linear(atoms, of_target).index_select(0, edges.target)
        return self.dense.activation(total)
