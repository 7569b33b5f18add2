"""Distances and directions of edges, as differentiable functions of positions and cells.

The module `graph.edge_index` defines the sign conventions. The direction of an edge is the unit vector from source to
target.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.graph.edge_index import EdgeIndex, JointEdges, edge_index
from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.graph.smooth_step import smooth_step
from gemnet_blocks.structures import Structures


@dataclass(frozen=True, slots=True, eq=False)
class EdgeSet:
    """Directed edges with distances and directions that carry gradients.

    Attributes:
        source: indices of the source atoms s.
        target: indices of the target atoms t, ascending.
        shift: the periodic image of the source atom, in lattice vectors.
        distance: d = |r_t - r_s - shift·cell| in Å.
        direction: u = (r_t - r_s - shift·cell)/d; shorter than 1 if d < 0.01 Å, and zero if the atoms coincide.
        first: the edges into atom a have the indices from `first[a]` to `first[a + 1] - 1`.
        weight: factors between 0 and 1 of all radial functions, if `max_neighbors` lets neighbors fade out smoothly;
            None for 1. Messages along an edge must vanish with its weight.
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
        """The number of atoms, including atoms without edges."""
        return self.first.shape[0] - 1

    @property
    def degree(self) -> Int[Tensor, " atoms"]:
        """The number of edges into each atom."""
        return self.first.diff()


@dataclass(frozen=True, slots=True, eq=False)
class SymmetricEdges:
    """Edges that occur in both directions.

    A separate type ensures that functions that need reverse edges do not receive edges without them.

    Attributes:
        edges: the edges.
        reverse: `reverse[e]` is the index of the edge from the target of edge e to its source.
    """

    edges: EdgeSet
    reverse: Int[Tensor, " edges"]


NEARLY_COINCIDENT = 0.01
"""Distance in Å below which directions fade out, because they change ever faster and finally consist of noise."""

COINCIDENT = 1e-4
"""Distance in Å up to which atoms count as coincident, because the gradient of the distance is rounding noise."""


def measure(pairs: Pairs, structures: Structures, dtype: torch.dtype) -> EdgeSet:
    """Compute distances and directions of pairs, see `measured`."""
    return measured(edge_index(pairs, structures), structures, dtype)


def measured(
    edges: EdgeIndex, structures: Structures, dtype: torch.dtype, weight: Float[Tensor, " edges"] | None = None
) -> EdgeSet:
    """Compute distances and directions of edges as differentiable functions of positions and cells.

    Args:
        edges: indices of the edges.
        structures: the structures, with positions and cells in Å.
        dtype: the floating-point type of the results. Differences of positions are computed in the wider one of this
            type and the type of the positions.
        weight: factors of all radial functions; None for 1.
    """
    distance, direction = distances_and_directions(edges, structures, dtype)
    return edge_set(edges, distance, direction, weight)


def edge_set(
    edges: EdgeIndex,
    distance: Float[Tensor, " edges"],
    direction: Float[Tensor, "edges 3"],
    weight: Float[Tensor, " edges"] | None,
) -> EdgeSet:
    """Combine edges with their geometry."""
    weight = None if weight is None else weight.to(distance.dtype)
    return EdgeSet(edges.source, edges.target, edges.shift, distance, direction, edges.first, weight)


def distances_and_directions(
    edges: EdgeIndex | JointEdges, structures: Structures, dtype: torch.dtype
) -> tuple[Float[Tensor, " edges"], Float[Tensor, "edges 3"]]:
    """Compute distances and directions of edges, see `measured`."""
    vector = vectors(edges, structures, torch.promote_types(structures.positions.dtype, dtype))
    distance = safe_norm(vector)
    fading = smooth_step(distance / NEARLY_COINCIDENT)
    scale = fading / torch.where(distance > 0, distance, torch.ones_like(distance))
    # the result has the row-major layout of the zeros, which is faster than transposing the product
    direction = torch.addcmul(vector.new_zeros(vector.shape), vector, scale[:, None])
    return distance.to(dtype), direction.to(dtype)


def vectors(edges: EdgeIndex | JointEdges, structures: Structures, dtype: torch.dtype) -> Float[Tensor, "edges 3"]:
    """Compute r_t - r_s - shift·cell of each edge in Å as a differentiable function of positions and cells.

    In memory, each component is contiguous along the edges.
    """
    offset = edges.translations.in_cells(structures.cells.to(dtype))
    components = structures.positions.to(dtype).t().contiguous()
    difference = components.index_select(1, edges.target).sub_(components.index_select(1, edges.source))
    return difference.sub_(offset).t()


def safe_norm(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Compute |v|, with derivatives of zero where |v| ≤ 10⁻⁴ Å and they would be undefined or noise."""
    x, y, z = vector.unbind(-1)  # sums over dimensions of length 3 are slow
    square = x * x + y * y + z * z
    apart = square > COINCIDENT**2
    root = torch.where(apart, square, torch.ones_like(square)).sqrt()
    return torch.where(apart, root, square.detach().sqrt())
