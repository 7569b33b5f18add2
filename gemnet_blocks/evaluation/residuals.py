"""How far a prediction is from its labels: one number per structure, vector per atom, matrix per cell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.potential.references import AtomChoice
from gemnet_blocks.structures import Prediction


@dataclass(frozen=True, slots=True, eq=False)
class Residuals:
    """Predictions minus labels of a batch, in float64; None where there is no label or no prediction.

    Attributes:
        structure: the structure of each atom.
        numbers: atomic numbers.
        atom_counts: atoms of each structure.
        counted: atoms whose forces count.
        free: atoms that are not fixed.
        energy: ΔE in eV.
        forces: ΔF in eV/Å.
        labels: labelled forces in eV/Å.
        stress: Δσ in eV/Å³.
    """

    structure: Int[Tensor, " atoms"]
    numbers: Int[Tensor, " atoms"]
    atom_counts: Int[Tensor, " structures"]
    counted: Bool[Tensor, " atoms"]
    free: Bool[Tensor, " atoms"]
    energy: Float[Tensor, " structures"] | None
    forces: Float[Tensor, "atoms 3"] | None
    labels: Float[Tensor, "atoms 3"] | None
    stress: Float[Tensor, "structures 3 3"] | None

    def __len__(self) -> int:
        return self.atom_counts.shape[0]

    def largest_force_error(self, atoms: Bool[Tensor, " atoms"] | None = None) -> Float[Tensor, " structures"] | None:
        """The largest |ΔF_x|, |ΔF_y| or |ΔF_z| of each structure's counted atoms, or of those given; 0 of none."""
        if self.forces is None:
            return None
        largest = torch.where(self.counted if atoms is None else atoms, self.forces.abs().amax(dim=-1), 0.0)
        return largest.new_zeros(len(self)).scatter_reduce_(0, self.structure, largest, "amax")

    def mean_force_error(self) -> Float[Tensor, " structures"] | None:
        """The mean |ΔF| per component of each structure's counted atoms; 0 where none counts."""
        if self.forces is None:
            return None
        errors = torch.where(self.counted, self.forces.abs().mean(dim=-1), 0.0)
        sums = errors.new_zeros(len(self)).index_add_(0, self.structure, errors)
        atoms = errors.new_zeros(len(self)).index_add_(0, self.structure, self.counted.to(errors.dtype))
        return sums / atoms.clamp(min=1)


def residuals(prediction: Prediction, labelled: LabelledStructures, atoms: AtomChoice = "all") -> Residuals:
    """Compare a prediction with its labels.

    Args:
        prediction: of the labelled structures.
        labelled: the structures and what is known of them.
        atoms: whose forces count: `all`, or `free` to leave fixed atoms out.
    """
    structures = labelled.structures
    free = ~structures.fixed
    return Residuals(
        structure=structures.structure,
        numbers=structures.numbers,
        atom_counts=structures.atom_counts,
        counted=free if atoms == "free" else torch.ones_like(free),
        free=free,
        energy=_difference(prediction.energy, labelled.energy),
        forces=_difference(prediction.forces, labelled.forces),
        labels=None if labelled.forces is None else labelled.forces.double(),
        stress=_difference(prediction.stress, labelled.stress),
    )


def _difference(predicted: Tensor | None, label: Tensor | None) -> Tensor | None:
    if predicted is None or label is None:
        return None
    return predicted.detach().double() - label.double()
