"""The first embeddings of edges, and the concatenation layer that mixes those of atoms and edges."""

from __future__ import annotations

from typing import final

from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.layers.dense import Activation, Dense

AtEnds = tuple[Float[Tensor, "atoms edge_size"], Float[Tensor, "atoms edge_size"]]
"""What every atom adds to the edges that start at it, and to those that end at it."""


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
        return self.of_edges(self.of_atoms(atoms), x, edges.source, edges.target)

    def of_atoms(self, atoms: Float[Tensor, "atoms atom_size"]) -> AtEnds:
        """What atoms add to the edges from and to them: W [h_s, h_t, x] = W_s h_s + W_t h_t + W_x x."""
        of_source, of_target = self.dense.linear.weight[:, : 2 * atoms.shape[1]].chunk(2, dim=1)
        linear = self.dense.linear.products.linear
        return linear(atoms, of_source), linear(atoms, of_target)

    def of_edges(
        self,
        atoms: AtEnds,
        x: Float[Tensor, "edges edge_in_size"],
        source: Int[Tensor, " edges"],
        target: Int[Tensor, " edges"],
    ) -> Float[Tensor, "edges edge_size"]:
        """The embeddings of some edges, given what atoms add to them."""
        at_source, at_target = atoms
        total = self.dense.linear.products.linear(x, self.dense.linear.weight[:, -x.shape[1] :])
        total += at_source.index_select(0, source)
        total += at_target.index_select(0, target)
        return self.dense.activation(total)
