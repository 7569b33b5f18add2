"""Symmetries of space: nothing depends on where structures are and which way they point."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.testing.symmetries.base import Symmetry


@final
@dataclass(frozen=True, slots=True)
class Rotation(Symmetry):
    r"""Rotate everything about the origin, and invert it as well if told.

    $$E(r R^\top, C R^\top) = E(r, C), \qquad F(r R^\top, C R^\top) = F(r, C)\, R^\top, \qquad
    R = \pm R_y(\alpha)\, R_x(\beta)\, R_y(\gamma).$$

    Positions r, lattice vectors C and forces F are rows.

    Attributes:
        alpha: α, the last rotation, about y, in radians.
        beta: β, about x.
        gamma: γ, the first rotation, about y.
        reflect: whether R is multiplied by -1, which makes a left hand of a right one.
    """

    alpha: float
    beta: float
    gamma: float
    reflect: bool = False

    def __str__(self) -> str:
        sign = "-" if self.reflect else ""
        return (
            f"E(r Rᵀ, C Rᵀ) = E(r, C), F(r Rᵀ, C Rᵀ) = F(r, C) Rᵀ with "
            f"R = {sign}R_y({self.alpha}) R_x({self.beta}) R_y({self.gamma})"
        )

    @property
    def matrix(self) -> Float[Tensor, "3 3"]:
        """R in float64.

        Raises:
            ImportError: e3nn is not installed.
        """
        try:
            from e3nn.o3 import angles_to_matrix
        except ImportError as error:
            raise ImportError("rotations need e3nn: pip install 'gemnet_blocks[testing]'") from error
        angles = torch.tensor([self.alpha, self.beta, self.gamma], dtype=torch.float64)
        rotation: Tensor = angles_to_matrix(*angles)
        return -rotation if self.reflect else rotation

    @override
    def apply(self, structures: Structures) -> Structures:
        """The structures with positions r Rᵀ and cells C Rᵀ."""
        return replace(structures, positions=self._rotated(structures.positions), cells=self._rotated(structures.cells))

    @override
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """The same energies and forces F Rᵀ."""
        forces = prediction.forces
        return replace(prediction, forces=None if forces is None else self._rotated(forces))

    def _rotated(self, vectors: Tensor) -> Tensor:
        return (vectors.double() @ self.matrix.to(vectors.device).T).to(vectors.dtype)


@final
@dataclass(frozen=True, slots=True)
class Translation(Symmetry):
    r"""Move all atoms of all structures by the same vector; lattice vectors stay.

    $$E(r + t) = E(r), \qquad F(r + t) = F(r).$$

    Attributes:
        x: t_x in Å.
        y: t_y in Å.
        z: t_z in Å.
    """

    x: float
    y: float
    z: float

    def __str__(self) -> str:
        return f"E(r + t) = E(r), F(r + t) = F(r) with t = ({self.x}, {self.y}, {self.z}) Å"

    @override
    def apply(self, structures: Structures) -> Structures:
        """The structures with positions r + t."""
        positions = structures.positions
        moved = positions.double() + torch.tensor([self.x, self.y, self.z], dtype=torch.float64).to(positions.device)
        return replace(structures, positions=moved.to(positions.dtype))

    @override
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """The same energies and forces."""
        return prediction
