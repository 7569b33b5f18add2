"""The seam between interactions, which hold the weights, and the ways of summing over triplets and quadruplets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.aggregation.scatter import Sums, WeightedSum
from gemnet_blocks.util.precision import PLAIN, Products
from gemnet_blocks.util.recompute import remade

LinearMap = Callable[[Float[Tensor, "rows size_features"]], Float[Tensor, "rows out"]]
"""A linear map of every row."""


class AngularSum(ABC):
    """A sum over neighbors with angular functions, projected: X[o, k, f] = Σ_l B[o, k, l] Σ_i ang_l(o, i) x[i, f]."""

    @abstractmethod
    def __call__(
        self, values: Float[Tensor, "inputs features"], linear: LinearMap
    ) -> Float[Tensor, "outputs out_features"]:
        """`linear` of the sums of `values`, each X[o] as one row with k outside and f inside.

        The sums are much larger than what is made of them, so they are handed on in parts instead of returned.
        """


@final
class ExplicitAngularSum(AngularSum):
    """The sum over listed triplets or quadruplets: the definition.

    Args:
        inner: Σ_i ang_l(o, i) x[i, f] of the listed combinations (o, i).
        projection: B[o, k, l].
        products: how matrices are multiplied.
    """

    def __init__(
        self, inner: WeightedSum, projection: Float[Tensor, "outputs size angular"], products: Products = PLAIN
    ) -> None:
        self._inner, self._projection, self._product = inner, projection, products.product

    def __call__(
        self, values: Float[Tensor, "inputs features"], linear: LinearMap
    ) -> Float[Tensor, "outputs out_features"]:
        """`linear` of the sums of `values`."""
        return remade(lambda values: linear(self._product(self._projection, self._inner(values)).flatten(1)), values)


@final
class RadialSum(AngularSum):
    """A sum without angles: X[o, k, f] = Σ_i R[i, k] x[i, f].

    Args:
        inner: that sum.
    """

    def __init__(self, inner: WeightedSum) -> None:
        self._inner = inner

    def __call__(
        self, values: Float[Tensor, "inputs features"], linear: LinearMap
    ) -> Float[Tensor, "outputs out_features"]:
        """`linear` of the sums of `values`."""
        return linear(self._inner(values).flatten(1))


@final
class SumOverEdges(AngularSum):
    """The same, summed further over the edges into each atom.

    Args:
        inner: Σ_i ang_l(o, i) x[i, f] of the listed combinations (o, i).
        projection: B[o, k, l].
        target: the atom that each edge o ends at.
        atom_count: the number of atoms.
        sums: how sums are computed.
    """

    def __init__(
        self,
        inner: WeightedSum,
        projection: Float[Tensor, "outputs size angular"],
        target: Int[Tensor, " outputs"],
        atom_count: int,
        sums: Sums,
    ) -> None:
        self._inner, self._projection = inner, projection
        self._target, self._atom_count, self._sums = target, atom_count, sums

    def __call__(
        self, values: Float[Tensor, "inputs features"], linear: LinearMap
    ) -> Float[Tensor, "atoms out_features"]:
        """`linear` of the sums of `values`."""
        return remade(lambda values: linear(self._to_atoms(values).flatten(1)), values)

    def _to_atoms(self, values: Float[Tensor, "inputs features"]) -> Float[Tensor, "atoms size features"]:
        of_edges = self._sums.products.product(self._projection, self._inner(values))
        return self._sums.by_index(of_edges, self._target, self._atom_count)


AngularMethod = Literal["auto", "factorized", "explicit"]
"""explicit: triplets and quadruplets are listed, the definition. factorised: products of matrices per atom, of which no
list is made. auto: factorised where possible."""


@dataclass(frozen=True, slots=True)
class Method:
    """What was chosen.

    Attributes:
        factorised: or else explicit.
        reason: why, or when not; empty where there is nothing to say.
    """

    factorised: bool
    reason: str = ""

    def __str__(self) -> str:
        name = "factorised" if self.factorised else "explicit"
        return f"{name}: {self.reason}" if self.reason else name


@dataclass(frozen=True, slots=True)
class AngularPlan:
    """How the sums of one interaction are computed; changes no result.

    Attributes:
        method: factorised falls back to explicit where bases do not allow for it.
        atoms_at_most: how many atoms are computed at once in factorised sums; None: all that are alike.
    """

    method: AngularMethod = "auto"
    atoms_at_most: int | None = 128

    def choose(self, obstacle: str | None) -> Method:
        """What is computed where an obstacle may stand in the way of factorised sums."""
        if self.method == "explicit":
            return Method(factorised=False)
        return Method(factorised=obstacle is None, reason=obstacle or "")


EXPLICIT = AngularPlan("explicit")
