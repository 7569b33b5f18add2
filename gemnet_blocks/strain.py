"""Strain: what stresses are derivatives with respect to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.errors import StructureError
from gemnet_blocks.structures import Structures


@dataclass(frozen=True, slots=True, eq=False)
class StrainedStructures:
    """Structures as differentiable functions of a strain, which is zero.

    r → r(1 + ε),  A → A(1 + ε),  with ε = (s + sᵀ)/2

    Attributes:
        structures: what an energy is computed of; bit for bit those that were not strained.
        positions: those that forces are derivatives with respect to.
        strain: s of each structure. A derivative with respect to it is symmetric.
        volume: |det A| of each structure in Å³.
    """

    structures: Structures
    positions: Float[Tensor, "atoms 3"]
    strain: Float[Tensor, "structures 3 3"]
    volume: Float[Tensor, " structures"]


def strained(structures: Structures) -> StrainedStructures:
    """Give structures a strain of zero.

    Raises:
        StructureError: a structure is not periodic in all three directions, so that its volume is undefined.
    """
    open_ones = (~structures.periodic.all(dim=-1)).nonzero()[:, 0]
    if len(open_ones):
        raise StructureError(
            "has no stress, as it is not periodic in all three directions and its volume is undefined: set its "
            "periodicity (pbc) and cell, or do not ask for stress",
            structure=int(open_ones[0]),
        )
    cells = structures.cells
    strain = torch.zeros_like(cells).requires_grad_()
    symmetric = (strain + strain.transpose(1, 2)) / 2
    of_atoms = symmetric.to(structures.positions.dtype).index_select(0, structures.structure)
    # sums instead of products of matrices, which devices may compute in low precision
    moved = structures.positions + (structures.positions[:, :, None] * of_atoms).sum(dim=1)
    deformed = cells + (cells[..., None] * symmetric[:, None]).sum(dim=2)
    # a flat cell, for which the volume is no number to divide by, is refused with a reason when graphs are built
    volume = torch.linalg.det(cells.double()).abs().to(cells.dtype)
    return StrainedStructures(
        replace(structures, positions=moved, cells=deformed), structures.positions, strain, volume
    )
