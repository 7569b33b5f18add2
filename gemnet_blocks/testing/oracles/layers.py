"""Reference definitions of layers and of the steps that interactions share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.interactions.message import Contraction, Message, SymmetricUp
from gemnet_blocks.layers.activations import ScaledSiLU, SiQU
from gemnet_blocks.layers.dense import Dense
from gemnet_blocks.layers.embeddings import EdgeEmbedding
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.layers.residual import Residual
from gemnet_blocks.layers.scaling import ScaleFactor, Unscaled
from gemnet_blocks.testing.oracles.graphs import Edge, edges_of, reverse


def dense(layer: Dense, x: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
    """Compute act(W x) with act(x) = x σ(x)/0.6 (`silu`), x² σ(x) (`siqu`) or x (`identity`)."""
    x = torch.einsum("...i,oi->...o", x, layer.linear.weight)
    if isinstance(layer.activation, ScaledSiLU):
        return x * torch.sigmoid(x) / 0.6
    return x * x * torch.sigmoid(x) if isinstance(layer.activation, SiQU) else x


def through(layers: nn.Module, x: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
    """Apply dense layers and residual layers (x + Dense(Dense(x)))/√2 in sequence."""
    for layer in layers.children():
        if isinstance(layer, Residual):
            x = (x + dense(layer.second, dense(layer.first, x))) / math.sqrt(2)
        else:
            assert isinstance(layer, Dense)
            x = dense(layer, x)
    return x


def scaled(scale: ScaleFactor | Unscaled, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Multiply x by the scale factor if it is fitted."""
    return x * scale.factor if isinstance(scale, ScaleFactor) and scale.fitted else x


def project(
    projection: RadialAngularProjection, radial: Float[Tensor, "edges *radial"]
) -> Float[Tensor, "edges size angular"]:
    """Compute B[e, k, l] = Σ_n rad[e, n] W[n, k, l], with rad[e, degree(l), n] if they depend on the degree."""
    if projection.reads is None:
        return torch.einsum("en,nkl->ekl", radial, projection.weight)
    degrees = projection.reads.long().argmax(dim=0)
    return torch.einsum("eln,nkl->ekl", radial[:, degrees], projection.weight)


def message(
    module: Message, x: Float[Tensor, "rows in"], radial: Float[Tensor, "rows radial"]
) -> Float[Tensor, "rows down"]:
    """Compute Dense_down(scale · (x ⊙ lin(rad))) with x = Dense(embedding)."""
    return dense(module.down, scaled(module.scale, x * (radial @ module.radial.weight.T)))


def contract(
    module: Contraction, projection: Float[Tensor, "rows size angular"], sums: Float[Tensor, "rows angular down"]
) -> Float[Tensor, "rows up"]:
    """Compute scale · lin(flatten_kf Σ_l B[r, k, l] S[r, l, f])."""
    return linear_of_flattened(module, torch.einsum("rkl,rlf->rkf", projection, sums))


def linear_of_flattened(module: Contraction, x: Float[Tensor, "rows size down"]) -> Float[Tensor, "rows up"]:
    """Compute scale · lin(flatten(x)) with index k slow and index f fast."""
    columns = [x[:, k, f] for k in range(x.shape[1]) for f in range(x.shape[2])]
    return scaled(module.scale, torch.stack(columns, dim=1) @ module.linear.weight.T)


def edge_embedding(
    module: EdgeEmbedding,
    atoms: Float[Tensor, "atoms atom_size"],
    x: Float[Tensor, "edges edge_in_size"],
    edges: EdgeSet,
) -> Float[Tensor, "edges edge_size"]:
    """Compute m_st = Dense([h_s, h_t, x_st])."""
    rows = [torch.cat([atoms[st.source], atoms[st.target], x[i]]) for i, st in enumerate(edges_of(edges))]
    return dense(module.dense, stacked(rows, x.new_zeros(0, 2 * atoms.shape[1] + x.shape[1])))


def to_both_directions(
    module: SymmetricUp, x: Float[Tensor, "edges in"], edges: Sequence[Edge]
) -> Float[Tensor, "edges out"]:
    """Compute (Dense₁(x) + Dense₂(x)[reverse])/√2, or Dense₁(x) without a Dense₂."""
    if module.opposite is None:
        return dense(module.same, x)
    return (dense(module.same, x) + dense(module.opposite, x)[reverse(edges)]) / math.sqrt(2)


def stacked(rows: list[Tensor], zeros: Tensor) -> Tensor:
    """Stack rows to a tensor; `zeros` is the result without rows."""
    return torch.stack(rows) if rows else zeros


def summed(terms: Iterable[tuple[int, Tensor]], zeros: Tensor) -> Tensor:
    """Add each term to the row of its index; `zeros` has the shape of the result."""
    rows = list(zeros)
    for index, term in terms:
        rows[index] = rows[index] + term
    return stacked(rows, zeros)
