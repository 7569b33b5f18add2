"""Factorized sums over triplets: one product of matrices per atom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.aggregation.angular_sum import AngularSum, LinearMap, Over
from gemnet_blocks.graph.padded import AtomGroup, AtomGroups
from gemnet_blocks.util.precision import PLAIN, Products, as_under_autocast
from gemnet_blocks.util.recompute import RECOMPUTED, STORED, Evaluation, Recomputed

Functions = tuple[Tensor, ...]
"""Functions of the angles in one group of atoms."""

Weights = tuple[Tensor, ...]
"""The matrices that multiply the values of one group of atoms."""


class Parts(ABC):
    """The sums of some groups of atoms, in steps: functions of angles (slow, small), weights (fast, large), sums.

    Functions of angles and of distances are evaluated for all groups in one call, since each operation has a price.
    """

    @abstractmethod
    def functions(self) -> list[Functions]:
        """Evaluate the functions of angles in each group."""

    @abstractmethod
    def weights(self, functions: Sequence[Functions]) -> list[Weights]:
        """Multiply them by functions of distances."""

    @abstractmethod
    def sum(self, number: int, weights: Weights, *gathered: Tensor) -> Float[Tensor, "rows size_features"]:
        """Sum the values that were gathered for the group with this number."""


PartSum = Callable[..., Tensor]
"""From a linear map and the values gathered for one group to the mapped sums."""


class SumInParts(AngularSum):
    """An angular sum of parts, each with the rows of one group of atoms.

    All blocks share the weights. If intermediate results are recomputed, they share the functions of angles instead,
    and every sum recomputes the weights.

    Args:
        parts: the groups, as `divided` yields them.
        place: the row of every output among the rows of all parts; the number after the last for outputs without one.
        evaluation: how the parts are evaluated.
    """

    def __init__(self, parts: Sequence[Parts], place: Int[Tensor, " outputs"], evaluation: Evaluation = STORED) -> None:
        prepare = _with_recomputed_weights if isinstance(evaluation, Recomputed) else _with_stored_weights
        self._sums: list[PartSum] = [one for some in parts for one in prepare(some)]
        self._place = place

    @override
    def __call__(
        self, values: Float[Tensor, "inputs features"], linear: LinearMap
    ) -> Float[Tensor, "outputs out_features"]:
        rows = [sum_of(linear, *gathered) for sum_of, gathered in zip(self._sums, self.gather(values), strict=True)]
        if not rows:
            rows.append(linear(values.new_zeros(0, self.row_size(values))))
        of_nothing = rows[0].new_zeros(1, rows[0].shape[1])  # a linear map of zeros
        return torch.cat([*rows, of_nothing]).index_select(0, self._place)

    @abstractmethod
    def row_size(self, values: Float[Tensor, "inputs features"]) -> int:
        """Find the length of a row of the sums."""

    @abstractmethod
    def gather(self, values: Float[Tensor, "inputs features"]) -> list[tuple[Tensor, ...]]:
        """Gather the values of each part; of all parts in one operation, whose backward pass is one addition."""


def _with_stored_weights(parts: Parts) -> list[PartSum]:
    def prepared(number: int, weights: Weights) -> PartSum:
        def sum_of(linear: LinearMap, *gathered: Tensor) -> Tensor:
            nonlocal weights
            weights = tuple(map(as_under_autocast, weights))  # once, instead of by autocast in every block
            return linear(parts.sum(number, weights, *gathered))

        return sum_of

    return [prepared(number, weights) for number, weights in enumerate(parts.weights(parts.functions()))]


def _with_recomputed_weights(parts: Parts) -> list[PartSum]:
    functions = RECOMPUTED(parts.functions)

    def prepared(number: int) -> PartSum:
        def mapped(linear: LinearMap, *gathered: Tensor) -> Tensor:
            return linear(parts.sum(number, parts.weights(functions)[number], *gathered))

        return partial(RECOMPUTED, mapped)

    return [prepared(number) for number in range(len(functions))]


def divided(
    evaluation: Evaluation, groups: Sequence[AtomGroup], *rows: tuple[Tensor, list[int]]
) -> Iterator[tuple[Sequence[AtomGroup], list[Tensor]]]:
    """Yield the groups that are evaluated together with their rows: all, or each on its own to save memory.

    Args:
        evaluation: how the groups are evaluated.
        groups: the groups.
        rows: tensors with the rows of all groups, and the number of rows of each group.
    """
    if isinstance(evaluation, Recomputed):
        for group, *parts in zip(groups, *(tensor.split(sizes) for tensor, sizes in rows), strict=True):
            yield (group,), parts
    elif groups:
        yield groups, [tensor for tensor, _ in rows]


def joined(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Concatenate tensors; a single one is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), axis)


@dataclass(frozen=True, slots=True, eq=False)
class TripletFunctions:
    """The directions and functions that make up the weights of a sum over triplets.

    Attributes:
        outer: directions u_ca.
        inner: directions u_ba.
        radial: radial functions of the outer edges.
        circular: from cos φ to circular functions.
        projection: from radial × circular functions to embeddings, (radial, k, functions).
    """

    outer: Float[Tensor, "outer_edges 3"]
    inner: Float[Tensor, "inner_edges 3"]
    radial: Float[Tensor, "outer_edges radial"]
    circular: Callable[[Tensor], Tensor]
    projection: Float[Tensor, "radial size functions"]


@final
class TripletSumPerAtom(SumInParts):
    r"""The sum over all pairs of edges into each atom.

    $$X_a[(c, k), f] = \sum_b W_a[(c, k), b]\, x[b→a, f], \qquad
    W_a[(c, k), b] = [b \ne c] \sum_l B[c→a, k, l]\, cir_l(u_{ca} \cdot u_{ba}),$$
    one product of matrices per atom; the cosines of the angles are the entries of another. W does not depend on the
    values, so that all blocks share it. For sums at atoms, W is summed over c first.

    Args:
        groups: the edges into each atom.
        functions: the directions and functions that make up W.
        over: the receivers.
        products: how matrices are multiplied.
        evaluation: how the parts are evaluated.
    """

    def __init__(
        self,
        groups: AtomGroups,
        functions: TripletFunctions,
        over: Over = "edges",
        products: Products = PLAIN,
        evaluation: Evaluation = STORED,
    ) -> None:
        self._groups, self._size = groups.groups, functions.projection.shape[1]
        self._inner = groups.inner
        outer, outer_sizes = groups.outer, [group.outer.numel() for group in groups.groups]
        self._inner_sizes = [group.inner.numel() for group in groups.groups]
        parts = divided(
            evaluation,
            groups.groups,
            (functions.outer.index_select(0, outer), outer_sizes),
            (functions.inner.index_select(0, self._inner), self._inner_sizes),
            (functions.radial.index_select(0, outer), outer_sizes),
        )
        kind = _OverEdges if over == "edges" else _OverAtoms
        place = groups.row_of_edge if over == "edges" else groups.row_of_atom
        super().__init__([kind(some, functions, products, *rows) for some, rows in parts], place, evaluation)

    @override
    def row_size(self, values: Float[Tensor, "inputs features"]) -> int:
        return self._size * values.shape[1]

    @override
    def gather(self, values: Float[Tensor, "inputs features"]) -> list[tuple[Tensor, ...]]:
        parts = values.index_select(0, self._inner).split(self._inner_sizes)
        return [(part.unflatten(0, group.inner.shape),) for part, group in zip(parts, self._groups, strict=True)]


class _Triplets(Parts):
    """The triplets of some groups of atoms: their edges, directions u_ca and u_ba, radial functions of outer edges."""

    def __init__(
        self,
        groups: Sequence[AtomGroup],
        functions: TripletFunctions,
        products: Products,
        outer: Tensor,
        inner: Tensor,
        radial: Tensor,
    ) -> None:
        self._groups, self._outer, self._inner, self._radial = groups, outer, inner, radial
        self._outer_sizes = [group.outer.numel() for group in groups]
        self._circular, self._projection = functions.circular, functions.projection
        self._product = products.product

    def circular(self) -> list[Float[Tensor, "atoms outer functions inner"]]:
        """Evaluate cir_l(φ_cab), zero for c = b."""
        inner = self._inner.split([group.inner.numel() for group in self._groups])
        cosines = [
            u_ca.unflatten(0, group.outer.shape) @ u_ba.unflatten(0, group.inner.shape).transpose(1, 2)
            for group, u_ca, u_ba in zip(self._groups, self._outer.split(self._outer_sizes), inner, strict=True)
        ]
        values = self._circular(joined([one.flatten() for one in cosines])).to(self._radial.dtype)
        values = values * joined([group.pair.flatten() for group in self._groups])[:, None]
        parts = values.split([one.numel() for one in cosines])
        return [part.unflatten(0, one.shape).transpose(2, 3) for part, one in zip(parts, cosines, strict=True)]

    def projection(self) -> list[Float[Tensor, "atoms outer size functions"]]:
        """Project the radial functions to B[c→a, k, l]."""
        parts = self._product(self._radial, self._projection.flatten(1)).split(self._outer_sizes)
        shape = self._projection.shape[1:]
        return [part.view(*group.outer.shape, *shape) for group, part in zip(self._groups, parts, strict=True)]

    @override
    def sum(self, number: int, weights: Weights, *gathered: Tensor) -> Float[Tensor, "rows size_features"]:
        size, features = self._projection.shape[1], gathered[0].shape[2]
        return self._product(weights[0], gathered[0]).view(-1, size * features)


@final
class _OverEdges(_Triplets):
    @override
    def functions(self) -> list[Functions]:
        return [(one,) for one in self.circular()]

    @override
    def weights(self, functions: Sequence[Functions]) -> list[Weights]:
        # W_a, shape (atoms, outer edges · k, inner edges)
        return [
            (self._product(projected, circular).flatten(1, 2),)
            for projected, (circular,) in zip(self.projection(), functions, strict=True)
        ]


@final
class _OverAtoms(_Triplets):
    @override
    def functions(self) -> list[Functions]:
        # W_a summed over c, shape (atoms, k, inner edges), which is smaller than its factors
        return [
            (self._product(projected.transpose(1, 2).flatten(2), circular.flatten(1, 2)),)
            for projected, circular in zip(self.projection(), self.circular(), strict=True)
        ]

    @override
    def weights(self, functions: Sequence[Functions]) -> list[Weights]:
        return list(functions)
