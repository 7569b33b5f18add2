"""Sums over triplets as one product of matrices per atom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.aggregation.angular_sum import AngularSum, LinearMap
from gemnet_blocks.graph.padded import AtomGroup, AtomGroups
from gemnet_blocks.util.precision import PLAIN, Products, as_under_autocast
from gemnet_blocks.util.recompute import is_lean, remade, tidied

Functions = tuple[Tensor, ...]
"""Functions of the angles in one group."""

Weights = tuple[Tensor, ...]
"""What the values of one group are multiplied with."""


PARTS_UNTIL_TIDY = 64
"""Parts after which memory goes back to the system, where it is short."""


class Part(ABC):
    """One group of atoms, in two steps: what is slow to make and small, then what is fast to make and large."""

    @abstractmethod
    def functions(self) -> Functions:
        """Functions of angles."""

    @abstractmethod
    def weights(self, *functions: Tensor) -> Weights:
        """Products of these with functions of distances."""

    @abstractmethod
    def sum(self, weights: Weights, *gathered: Tensor) -> Float[Tensor, "rows size_features"]:
        """The sums of values, gathered for this part."""


class SumInParts(AngularSum):
    """An angular sum of parts, each of which holds the rows of one group of atoms.

    All blocks share the weights; where memory is short, they share the functions, and make weights anew for every sum.

    Args:
        parts: the parts.
        place: the row of every output among the rows of all parts; one behind the last for outputs without any.
    """

    def __init__(self, parts: Sequence[Part], place: Int[Tensor, " outputs"]) -> None:
        self._parts = list(parts)
        self._lean = is_lean()
        self._shared = [self._kept(part) for part in parts]
        self._place = place

    def _kept(self, part: Part) -> Functions | Weights:
        functions = remade(part.functions)
        return functions if self._lean else part.weights(*functions)

    def __call__(
        self, values: Float[Tensor, "inputs features"], linear: LinearMap
    ) -> Float[Tensor, "outputs out_features"]:
        """`linear` of the sums of `values`."""
        if not self._lean:
            # once, instead of by autocast for every block
            self._shared = [tuple(map(as_under_autocast, weights)) for weights in self._shared]
        parts = [self._part(number, gathered, linear) for number, gathered in enumerate(self.gather(values))]
        of_nothing = linear(values.new_zeros(1, self.row_size(values)))
        return torch.cat([*parts, of_nothing]).index_select(0, self._place)

    def _part(self, number: int, gathered: tuple[Tensor, ...], linear: LinearMap) -> Tensor:
        part, shared = self._parts[number], self._shared[number]
        if not self._lean:
            return linear(part.sum(shared, *gathered))
        found = remade(lambda *gathered: linear(part.sum(part.weights(*shared), *gathered)), *gathered)
        return found if (number + 1) % PARTS_UNTIL_TIDY else tidied(found)

    @abstractmethod
    def row_size(self, values: Float[Tensor, "inputs features"]) -> int:
        """How long a row of the sums is."""

    @abstractmethod
    def gather(self, values: Float[Tensor, "inputs features"]) -> list[tuple[Tensor, ...]]:
        """What each part needs of the values; of all parts at once, so that the backward pass is one addition."""


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
        projection: from radial × circular functions to embeddings, (radial, k, functions).
    """

    outer: Float[Tensor, "outer_edges 3"]
    inner: Float[Tensor, "inner_edges 3"]
    radial: Float[Tensor, "outer_edges radial"]
    circular: Callable[[Tensor], Tensor]
    projection: Float[Tensor, "radial size functions"]

    @property
    def size(self) -> int:
        """Embeddings k."""
        return self.projection.shape[1]


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
        products: how matrices are multiplied.
    """

    def __init__(
        self, groups: AtomGroups, functions: TripletFunctions, over: Over = "edges", products: Products = PLAIN
    ) -> None:
        self._groups, self._size = groups, functions.size
        self._inner = groups.inner
        outer = groups.outer
        outer_sizes = [group.outer.numel() for group in groups.groups]
        self._inner_sizes = [group.inner.numel() for group in groups.groups]
        parts = zip(
            groups.groups,
            functions.outer.index_select(0, outer).split(outer_sizes),
            functions.inner.index_select(0, self._inner).split(self._inner_sizes),
            functions.radial.index_select(0, outer).split(outer_sizes),
            strict=True,
        )
        kind = _OverEdges if over == "edges" else _OverAtoms
        place = groups.row_of_edge if over == "edges" else groups.row_of_atom
        super().__init__([kind(*part, functions, products) for part in parts], place)

    def row_size(self, values: Float[Tensor, "inputs features"]) -> int:
        """How long a row of the sums is."""
        return self._size * values.shape[1]

    def gather(self, values: Float[Tensor, "inputs features"]) -> list[tuple[Tensor, ...]]:
        """The values of the inner edges of each atom."""
        parts = values.index_select(0, self._inner).split(self._inner_sizes)
        return [(part.unflatten(0, group.inner.shape),) for part, group in zip(parts, self._groups.groups, strict=True)]


class _Triplets(Part):
    """The triplets of some atoms.

    Args:
        group: their edges.
        outer: directions u_ca.
        inner: directions u_ba.
        radial: radial functions of the outer edges.
        of: what else the weights are made of.
        products: how matrices are multiplied.
    """

    def __init__(
        self,
        group: AtomGroup,
        outer: Tensor,
        inner: Tensor,
        radial: Tensor,
        of: TripletFunctions,
        products: Products,
    ) -> None:
        self._group, self._outer, self._inner, self._radial, self._of = group, outer, inner, radial, of
        self._product = products.product

    def circular(self) -> Float[Tensor, "atoms outer functions inner"]:
        """cir_l(φ_cab), zero where c = b."""
        u_ca = self._outer.unflatten(0, self._group.outer.shape)
        cosines = u_ca @ self._inner.unflatten(0, self._group.inner.shape).transpose(1, 2)
        values = self._of.circular(cosines).to(self._radial.dtype)
        return (values * self._group.pair[..., None]).transpose(2, 3)

    def projection(self) -> Float[Tensor, "atoms outer size functions"]:
        """B[c→a, k, l]."""
        projected = self._product(self._radial, self._of.projection.flatten(1))
        return projected.view(*self._group.outer.shape, *self._of.projection.shape[1:])

    def sum(self, weights: Weights, *gathered: Tensor) -> Float[Tensor, "rows size_features"]:
        """W_a x_a."""
        return self._product(weights[0], gathered[0]).view(-1, self._of.size * gathered[0].shape[2])


@final
class _OverEdges(_Triplets):
    def functions(self) -> Functions:
        """cir_l(φ_cab)."""
        return (self.circular(),)

    def weights(self, *functions: Tensor) -> Weights:
        """W_a, shape (atoms, outer edges · k, inner edges)."""
        return (self._product(self.projection(), functions[0]).flatten(1, 2),)


@final
class _OverAtoms(_Triplets):
    def functions(self) -> Functions:
        """W_a summed over c, shape (atoms, k, inner edges): smaller than what it is made of."""
        return (self._product(self.projection().transpose(1, 2).flatten(2), self.circular().flatten(1, 2)),)

    def weights(self, *functions: Tensor) -> Weights:
        """The same."""
        return functions
