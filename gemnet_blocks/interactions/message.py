"""Steps that interactions share: the message of each edge, the contraction of sums, the symmetric projection."""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.aggregation.angular_sum import AngularSum
from gemnet_blocks.layers.activations import Activation, gain_of, has_hooks, without_gain
from gemnet_blocks.layers.dense import Dense, linear
from gemnet_blocks.layers.scaling import scale_factor
from gemnet_blocks.util.recompute import STORED, Evaluation


@final
class Message(nn.Module):
    """A message per edge: Dense_down(scale · (Dense(x) ⊙ lin(rad))).

    Args:
        in_size: features of the embeddings x.
        radial_size: features of the projected radial functions rad.
        down_size: features of the message.
        activation: the activation of the dense layers.
        scaled: False for a scale of one that is not fitted.
    """

    def __init__(
        self, in_size: int, radial_size: int, down_size: int, activation: Activation = "silu", scaled: bool = True
    ) -> None:
        super().__init__()
        self.dense = Dense(in_size, in_size, activation)
        self.radial = linear(radial_size, in_size)
        self.scale = scale_factor(scaled)
        self.down = Dense(in_size, down_size, activation)
        self.evaluation: Evaluation = STORED

    def forward(
        self,
        x: Float[Tensor, "rows in_size"],
        radial: Float[Tensor, "edges radial_size"],
        row: Int[Tensor, " edges"] | None = None,
    ) -> Float[Tensor, "edges down_size"]:
        """Compute the messages.

        Args:
            x: embeddings of the edges, or of atoms.
            radial: projected radial functions of the edges.
            row: the row of x that each edge reads; None: edge e reads row e.
        """
        by_rows = self.evaluation.by_rows
        if row is None:
            return by_rows(lambda x, radial: self._down(self.dense(x), radial), x, radial)
        dense = by_rows(self.dense, x)
        return by_rows(lambda row, radial: self._down(dense.index_select(0, row), radial), row, radial)

    def _down(self, x: Tensor, radial: Tensor) -> Tensor:
        return self.down(self.scale.of_product(x, self.radial, radial))


@final
class Contraction(nn.Module):
    """The learned contraction of the efficient bilinear layer: scale · lin(flatten(X)), with k outside and f inside.

    Args:
        basis_size: embeddings k of the basis.
        down_size: features f that were summed.
        up_size: features out.
        scaled: False for a scale of one that is not fitted.
    """

    def __init__(self, basis_size: int, down_size: int, up_size: int, scaled: bool = True) -> None:
        super().__init__()
        self.linear = linear(basis_size * down_size, up_size)
        self.scale = scale_factor(scaled)

    def forward(
        self, angular_sum: AngularSum, values: Float[Tensor, "inputs down_size"]
    ) -> Float[Tensor, "rows up_size"]:
        """Sum the values and contract; the scale factor keeps the variance of the values."""
        return self.scale(angular_sum(values, self.linear), values)


@final
class SymmetricUp(nn.Module):
    """A message to each edge from itself and its opposite: (Dense₁(x) + Dense₂(x)[reverse])/√2.

    Args:
        in_size: features in.
        edge_size: features of edge embeddings.
        activation: the activation of the dense layers.
        symmetric: False for Dense₁(x) alone.
    """

    def __init__(self, in_size: int, edge_size: int, activation: Activation = "silu", symmetric: bool = True) -> None:
        super().__init__()
        self.same = Dense(in_size, edge_size, activation)
        self.opposite = Dense(in_size, edge_size, activation) if symmetric else None
        self.evaluation: Evaluation = STORED

    def forward(
        self, x: Float[Tensor, "edges in_size"], reverse: Int[Tensor, " edges"]
    ) -> Float[Tensor, "edges edge_size"]:
        by_rows, same, opposite = self.evaluation.by_rows, self.same, self.opposite
        if opposite is None:
            return by_rows(same, x)
        if has_hooks(same, opposite, same.linear, opposite.linear):
            return (by_rows(same, x) + by_rows(opposite, x).index_select(0, reverse)) * math.sqrt(0.5)
        # both layers read the same input: one product of matrices
        weight, linear = torch.cat([same.linear.weight, opposite.linear.weight]), same.linear.products.linear
        both = by_rows(lambda x: without_gain(same.activation, linear(x, weight)), x)
        ahead, back = both.chunk(2, dim=1)
        return (ahead + back.index_select(0, reverse)) * (math.sqrt(0.5) * gain_of(same.activation))
