"""Symmetries of a batch: nothing depends on how atoms are numbered and what else is computed at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.testing.symmetries.base import Symmetry


@final
@dataclass(frozen=True, slots=True)
class Permutation(Symmetry):
    r"""Number the atoms of each structure in another order.

    $$E(r_{\pi(0)}, r_{\pi(1)}, \dots) = E(r_0, r_1, \dots), \qquad F_i(r_{\pi(0)}, \dots) = F_{\pi(i)}(r_0, \dots).$$

    Attributes:
        order: π; new atom i is old atom order[i], of the same structure.
    """

    order: tuple[int, ...]

    def __str__(self) -> str:
        return f"E(r_π) = E(r), F_i(r_π) = F_π(i)(r) with π = {self.order}"

    @override
    def apply(self, structures: Structures) -> Structures:
        """The structures with their atoms in the new order.

        Raises:
            ValueError: the order is no permutation of these atoms, or moves one to another structure.
        """
        order = self._checked(structures)
        return replace(
            structures,
            positions=structures.positions[order],
            numbers=structures.numbers[order],
            tags=structures.tags[order],
            fixed=structures.fixed[order],
        )

    @override
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """The same energies, and forces in the new order.

        Raises:
            ValueError: as `apply`.
        """
        order, forces = self._checked(structures), prediction.forces
        return replace(prediction, forces=None if forces is None else forces[order])

    def _checked(self, structures: Structures) -> Int[Tensor, " atoms"]:
        count = structures.atom_count
        if sorted(self.order) != list(range(count)):
            raise ValueError(f"order must name each of {count} atoms, numbered from 0, once; got {self.order}")
        order = torch.tensor(self.order, dtype=torch.long, device=structures.structure.device)
        elsewhere = (structures.structure[order] != structures.structure).nonzero()[:, 0].tolist()
        if elsewhere:
            place = elsewhere[0]
            raise ValueError(
                f"order puts atom {self.order[place]} at place {place}, which is another structure's: permute atoms "
                "within their structures only"
            )
        return order


@final
@dataclass(frozen=True, slots=True)
class Alone(Symmetry):
    r"""Take one structure out of its batch: it must not feel the others.

    $$E(\{X_s\}) = E_s(X_0, X_1, \dots), \qquad F(\{X_s\}) = F_s(X_0, X_1, \dots).$$

    Attributes:
        index: s.
    """

    index: int

    def __str__(self) -> str:
        return f"E(X_s alone) = E_s(batch), F(X_s alone) = F_s(batch) with s = {self.index}"

    @override
    def apply(self, structures: Structures) -> Structures:
        """Structure s by itself.

        Raises:
            ValueError: there is no such structure.
        """
        return structures[self._checked(structures)]

    @override
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """The energy and forces of structure s.

        Raises:
            ValueError: as `apply`.
        """
        index, forces = self._checked(structures), prediction.forces
        return Prediction(
            energy=prediction.energy[index : index + 1],
            forces=None if forces is None else forces[structures.structure == index],
        )

    def _checked(self, structures: Structures) -> int:
        if not 0 <= self.index < len(structures):
            raise ValueError(f"there is no structure {self.index} in a batch of {len(structures)}")
        return self.index
