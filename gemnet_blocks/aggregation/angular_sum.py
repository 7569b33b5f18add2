"""Sums over triplets and quadruplets: their interface, and their definition over listed combinations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, final

from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.aggregation.scatter import Sums, WeightedSum
from gemnet_blocks.util.recompute import STORED, Evaluation

LinearMap = Callable[[Float[Tensor, "rows size_features"]], Float[Tensor, "rows out"]]
"""A linear map of every row."""

Over = Literal["edges", "atoms"]
"""The receivers of a sum over triplets c→a←b: the edges c→a, or the atoms a, summed further over c."""


class AngularSum(ABC):
    """A sum over neighbors with angular functions, projected: X[o, k, f] = Σ_l B[o, k, l] Σ_i ang_l(o, i) x[i, f]."""

    @abstractmethod
    def __call__(
        self, values: Float[Tensor, "inputs features"], linear: LinearMap
    ) -> Float[Tensor, "outputs out_features"]:
        """Apply `linear` to the sums of `values`, one row X[o] per output with k outside and f inside.

        The sums are much larger than the result, so that an implementation may compute some of them at a time.
        """


@final
class ExplicitSum(AngularSum):
    """The sum over listed triplets or quadruplets (o, i): the definition.

    Args:
        listed: Σ_i ang_l(o, i) x[i, f]; without projection, Σ_i B[o, i, k] x[i, f].
        projection: B[o, k, l]; None: the weights of the listed sum are projected already.
        evaluation: how the sum is evaluated.
    """

    def __init__(
        self,
        listed: WeightedSum,
        projection: Float[Tensor, "outputs size angular"] | None,
        sums: Sums,
        evaluation: Evaluation = STORED,
    ) -> None:
        self._listed, self._projection, self._sums, self._evaluate = listed, projection, sums, evaluation

    @override
    def __call__(
        self, values: Float[Tensor, "inputs features"], linear: LinearMap
    ) -> Float[Tensor, "outputs out_features"]:
        return self._evaluate(lambda values: linear(self.of(values).flatten(1)), values)

    def of(self, values: Float[Tensor, "inputs features"]) -> Float[Tensor, "outputs size features"]:
        """Compute X[o, k, f]."""
        x = self._listed(values)
        return x if self._projection is None else self._sums.products.product(self._projection, x)


@final
class ExplicitSumAtAtoms(AngularSum):
    """The sum over listed triplets, summed further over the edges o into each atom.

    Args:
        edges: the sum at the edges.
        target: the atom that each edge ends at.
        atom_count: the number of atoms.
        sums: how edges are summed.
        evaluation: how the sum is evaluated.
    """

    def __init__(
        self,
        edges: ExplicitSum,
        target: Int[Tensor, " outputs"],
        atom_count: int,
        sums: Sums,
        evaluation: Evaluation = STORED,
    ) -> None:
        self._edges, self._target, self._atom_count = edges, target, atom_count
        self._sums, self._evaluate = sums, evaluation

    @override
    def __call__(
        self, values: Float[Tensor, "inputs features"], linear: LinearMap
    ) -> Float[Tensor, "atoms out_features"]:
        def at_atoms(values: Tensor) -> Tensor:
            return linear(self._sums.by_index(self._edges.of(values), self._target, self._atom_count).flatten(1))

        return self._evaluate(at_atoms, values)
