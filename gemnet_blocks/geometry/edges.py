"""Distances and directions of edges, as differentiable functions of positions and cells.

`graph.edge_index` has the sign conventions; the direction of an edge is the unit vector from source to target.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.graph.edge_index import EdgeIndex, edge_index
from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.graph.smooth_step import smooth_step
from gemnet_blocks.structures import Structures


@dataclass(frozen=True, slots=True, eq=False)
class EdgeSet:
    """Directed edges with their lengths and directions; the latter carry gradients.

    Attributes:
        source: index of the source atom s.
        target: index of the target atom t, ascending.
        shift: which image of the source, in lattice vectors.
        distance: d = |r_t - r_s - shift·cell| in Å.
        direction: u = (r_t - r_s - shift·cell)/d; shorter than 1 where d < 0.01 Å, and zero where the atoms coincide.
        first: the edges into atom a are those from `first[a]` up to `first[a + 1]`.
        weight: what all radial functions of an edge are multiplied by, from 0 to 1, where a cap lets neighbors fade
            out; None for 1. Whatever is computed of an edge must vanish with it.
    """

    source: Int[Tensor, " edges"]
    target: Int[Tensor, " edges"]
    shift: Int[Tensor, "edges 3"]
    distance: Float[Tensor, " edges"]
    direction: Float[Tensor, "edges 3"]
    first: Int[Tensor, " atoms_plus_1"]
    weight: Float[Tensor, " edges"] | None = None

    @property
    def count(self) -> int:
        """The number of edges."""
        return self.source.shape[0]

    @property
    def atom_count(self) -> int:
        """The number of atoms that the edges are among."""
        return self.first.shape[0] - 1

    @property
    def degree(self) -> Int[Tensor, " atoms"]:
        """The number of edges into each atom."""
        return self.first.diff()


@dataclass(frozen=True, slots=True, eq=False)
class SymmetricEdges:
    """Edges among which every one has its opposite.

    A type of its own, so that what needs reversed edges cannot be given edges without.

    Attributes:
        edges: the edges.
        reverse: `reverse[e]` is the index of the edge from e's target to e's source.
    """

    edges: EdgeSet
    reverse: Int[Tensor, " edges"]


NEARLY_COINCIDENT = 0.01
"""Between atoms nearer than this, in Å, the direction fades out: it changes ever faster, and is noise in the end."""

COINCIDENT = 1e-4
"""Atoms at most so far apart, in Å, are at the same place: their distance has no slope but rounding noise."""


def measure(pairs: Pairs, structures: Structures, dtype: torch.dtype) -> EdgeSet:
    """Edges along `pairs`, see `measured`."""
    return measured(edge_index(pairs, structures), structures, dtype)


def measured(
    edges: EdgeIndex, structures: Structures, dtype: torch.dtype, weight: Float[Tensor, " edges"] | None = None
) -> EdgeSet:
    """Edges with distances and directions as differentiable functions of positions and cells.

    The difference of positions is taken in the wider of the positions' type and `dtype`, then rounded to `dtype`.
    """
    vector = vectors(edges, structures, torch.promote_types(structures.positions.dtype, dtype))
    distance = safe_norm(vector)
    fading = smooth_step(distance / NEARLY_COINCIDENT)
    scale = fading / torch.where(distance > 0, distance, torch.ones_like(distance))
    # the product, laid out in memory pair by pair like the zeros, is faster so than by transposing it
    direction = torch.addcmul(vector.new_zeros(vector.shape), vector, scale[:, None])
    return EdgeSet(
        source=edges.source,
        target=edges.target,
        shift=edges.shift,
        distance=distance.to(dtype),
        direction=direction.to(dtype),
        first=edges.first,
        weight=None if weight is None else weight.to(dtype),
    )


def vectors(edges: EdgeIndex, structures: Structures, dtype: torch.dtype) -> Float[Tensor, "edges 3"]:
    """r_t - r_s - shift·cell of each edge, in Å, as a differentiable function of positions and cells.

    A component of all edges lies together in memory.
    """
    offset = edges.translations.in_cells(structures.cells.to(dtype))
    components = structures.positions.to(dtype).t().contiguous()
    difference = components.index_select(1, edges.target).sub_(components.index_select(1, edges.source))
    return difference.sub_(offset).t()


def safe_norm(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """|v|, with zero instead of undefined or random derivatives where |v| ≤ 10⁻⁴ Å."""
    x, y, z = vector.unbind(-1)  # sums over dimensions of length 3 are slow
    square = x * x + y * y + z * z
    apart = square > COINCIDENT**2
    root = torch.where(apart, square, torch.ones_like(square)).sqrt()
    return torch.where(apart, root, square.detach().sqrt())
