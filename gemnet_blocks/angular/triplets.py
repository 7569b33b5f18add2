"""Sums over triplets as one product of matrices per atom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.angular.parts import SumInParts, Weights
from gemnet_blocks.graph.atom_groups import AtomGroup, AtomGroups

Over = Literal["edges", "atoms"]
"""Where a sum over triplets c→a←b ends: at the edge c→a, or summed over c at the atom a."""


@dataclass(frozen=True, slots=True, eq=False)
class TripletFunctions:
    """What the weights of a sum over triplets are made of.

    Attributes:
        outer: directions u_ca.
        inner: directions u_ba.
        radial: radial functions of the outer edges.
        circular: from cos φ to circular functions.
        project: from radial functions to B[c→a, k, l].
        size: embeddings k.
    """

    outer: Float[Tensor, "outer_edges 3"]
    inner: Float[Tensor, "inner_edges 3"]
    radial: Float[Tensor, "outer_edges radial"]
    circular: Callable[[Tensor], Tensor]
    project: Callable[[Tensor], Tensor]
    size: int


@final
class TripletSumPerAtom(SumInParts):
    r"""The sum over all pairs of edges into each atom.

    $$X_a[(c, k), f] = \sum_b W_a[(c, k), b]\, x[b→a, f], \qquad
    W_a[(c, k), b] = [b \ne c] \sum_l B[c→a, k, l]\, cir_l(u_{ca} \cdot u_{ba}),$$
    one product of matrices per atom, with the angles as the entries of another. W does not depend on the values, so
    that all blocks share it. For sums that end at atoms, W is summed over c first.

    Args:
        groups: the edges into each atom.
        functions: what the weights are made of.
        over: where the sum ends.
        keep: whether weights are kept.
    """

    def __init__(
        self, groups: AtomGroups, functions: TripletFunctions, over: Over = "edges", keep: bool = True
    ) -> None:
        self._groups, self._size = groups, functions.size
        self._inner = groups.inner
        outer = groups.outer
        outer_sizes = [group.outer.numel() for group in groups.groups]
        inner_sizes = [group.inner.numel() for group in groups.groups]
        parts = zip(
            groups.groups,
            functions.outer.index_select(0, outer).split(outer_sizes),
            functions.inner.index_select(0, self._inner).split(inner_sizes),
            functions.radial.index_select(0, outer).split(outer_sizes),
            strict=True,
        )
        self._inner_sizes = inner_sizes

        def maker(group: AtomGroup, u_ca: Tensor, u_ba: Tensor, radial: Tensor) -> Callable[[], Weights]:
            return lambda: (_weights(group, u_ca, u_ba, radial, functions, over),)

        place = groups.row_of_edge if over == "edges" else groups.row_of_atom
        super().__init__([maker(*part) for part in parts], place, keep)

    def row_size(self, values: Float[Tensor, "inputs features"]) -> int:
        """How long a row of the sums is."""
        return self._size * values.shape[1]

    def gather(self, values: Float[Tensor, "inputs features"]) -> list[tuple[Tensor, ...]]:
        """The values of the inner edges of each atom."""
        parts = values.index_select(0, self._inner).split(self._inner_sizes)
        return [(part.unflatten(0, group.inner.shape),) for part, group in zip(parts, self._groups.groups, strict=True)]

    def sum(self, weights: Weights, *gathered: Tensor) -> Float[Tensor, "rows size_features"]:
        """W_a x_a."""
        return (weights[0] @ gathered[0]).view(-1, self._size * gathered[0].shape[2])


def _weights(
    group: AtomGroup, u_ca: Tensor, u_ba: Tensor, radial: Tensor, functions: TripletFunctions, over: Over
) -> Float[Tensor, "atoms outer_size inner_width"]:
    """W_a, shape (atoms, outer edges · k, inner edges), or summed over c (atoms, k, inner edges)."""
    cosines = u_ca.unflatten(0, group.outer.shape) @ u_ba.unflatten(0, group.inner.shape).transpose(1, 2)
    circular = functions.circular(cosines) * group.pair[..., None]
    projection = functions.project(radial).unflatten(0, group.outer.shape)
    if over == "edges":
        return (projection @ circular.transpose(2, 3)).flatten(1, 2)
    return projection.transpose(1, 2).flatten(2) @ circular.transpose(2, 3).flatten(1, 2)
