"""Atom update: what an atom learns from the edges into it."""

from __future__ import annotations

from typing import Literal, final

from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.layers.dense import Activation, Dense, linear, residuals
from gemnet_blocks.layers.scaling import ScaleFactor

Projection = Literal["if_needed", "always"]
"""Whether a stack of layers starts with a dense layer to its width when its input has that width already."""


def stack(
    in_size: int, size: int, residual_count: int, activation: Activation, projection: Projection
) -> nn.Sequential:
    """A dense layer to `size` where needed, then residual layers."""
    layers = residuals(residual_count, size, activation)
    if in_size != size or projection == "always":
        layers.insert(0, Dense(in_size, size, activation))
    return layers


@final
class AtomUpdate(nn.Module):
    """g_a = layers(scale · Σ_{c→a} m_ca ⊙ lin(rad_ca)).

    Args:
        edge_size: features of edge embeddings.
        atom_size: features of atom embeddings.
        radial_size: features of projected radial functions.
        residual_count: residual layers.
        sums: how sums are computed.
        activation: of the layers.
        projection: whether the layers start with a dense one when edge_size = atom_size.
    """

    def __init__(
        self,
        edge_size: int,
        atom_size: int,
        radial_size: int,
        residual_count: int,
        sums: Sums,
        activation: Activation = "silu",
        projection: Projection = "if_needed",
    ) -> None:
        super().__init__()
        self.radial = linear(radial_size, edge_size)
        self.scale = ScaleFactor()
        self.layers = stack(edge_size, atom_size, residual_count, activation, projection)
        self.sums = sums

    def forward(
        self,
        edges: Float[Tensor, "edges edge_size"],
        radial: Float[Tensor, "edges radial_size"],
        target: Int[Tensor, " edges"],
        atom_count: int,
    ) -> Float[Tensor, "atoms atom_size"]:
        """The update of each atom."""
        summed = self.sums.by_index(edges * self.radial(radial), target, atom_count)
        return self.layers(self.scale(summed, edges))
