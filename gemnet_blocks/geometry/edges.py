"""Edges between atoms: the sign conventions of the library, once.

An edge runs from the *source* image, at `positions[source] + shift @ cell`, to the *target* atom, at
`positions[target]`. Its direction is the unit vector from source to target. Edges are sorted by target, then by
distance, so that the edges into an atom are one contiguous run.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.graph.pairs import Pairs, translations
from gemnet_blocks.graph.ragged import row_pointers
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


def measure(
    pairs: Pairs, structures: Structures, dtype: torch.dtype, weight: Float[Tensor, " pairs"] | None = None
) -> EdgeSet:
    """Edges along `pairs`, with distances and directions as differentiable functions of positions and cells.

    The difference of positions is taken in the wider of the positions' type and `dtype`, then rounded to `dtype`.
    """
    vector = vectors(pairs, structures, torch.promote_types(structures.positions.dtype, dtype))
    distance = safe_norm(vector)
    fading = smooth_step(distance / NEARLY_COINCIDENT)
    scale = fading / torch.where(distance > 0, distance, torch.ones_like(distance))
    # the product, laid out in memory pair by pair like the zeros, is faster so than by transposing it
    direction = torch.addcmul(vector.new_zeros(vector.shape), vector, scale[:, None])
    return EdgeSet(
        source=pairs.source,
        target=pairs.target,
        shift=pairs.shift,
        distance=distance.to(dtype),
        direction=direction.to(dtype),
        first=row_pointers(pairs.target, structures.atom_count),
        weight=None if weight is None else weight.to(dtype),
    )


def vectors(pairs: Pairs, structures: Structures, dtype: torch.dtype) -> Float[Tensor, "pairs 3"]:
    """r_t - r_s - shift·cell of each pair, in Å, as a differentiable function of positions and cells.

    A component of all pairs lies together in memory.
    """
    home = structures.structure.index_select(0, pairs.target)
    offset = translations(pairs.shift, home, structures.cells.to(dtype))
    components = structures.positions.to(dtype).t().contiguous()
    difference = components.index_select(1, pairs.target).sub_(components.index_select(1, pairs.source))
    return difference.sub_(offset).t()


def safe_norm(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """|v|, with zero instead of undefined or random derivatives where |v| ≤ 10⁻⁴ Å."""
    x, y, z = vector.unbind(-1)  # sums over dimensions of length 3 are slow
    square = x * x + y * y + z * z
    apart = square > COINCIDENT**2
    root = torch.where(apart, square, torch.ones_like(square)).sqrt()
    return torch.where(apart, root, square.detach().sqrt())


SHIFT_BITS = 21


def pack_shift(shift: Int[Tensor, "*batch 3"]) -> Int[Tensor, "*batch"]:
    """One integer per image shift, additive: pack(s) + pack(t) = pack(s + t), pack(-s) = -pack(s).

    Different shifts have different integers as long as no component exceeds 2²⁰ lattice vectors.
    """
    return shift[..., 0] + (shift[..., 1] << SHIFT_BITS) + (shift[..., 2] << 2 * SHIFT_BITS)
