"""Options of losses, and the losses that they describe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gemnet_blocks.options import Options
from gemnet_blocks.training.losses import AtomChoice, EnergyTerm, ForcesTerm, Loss, Measure, StressTerm, Term

Weight = Annotated[float, Field(gt=0)]
"""What the mean of a term is multiplied by."""

Delta = Annotated[float, Field(gt=0)]
"""Where the Huber function turns from x²/2 to δ(|x| - δ/2), in units of `references.scale`."""


class EnergyLossOptions(Options):
    """Of energies."""

    type: Literal["mae", "mse", "huber"] = "mae"
    """What is averaged over structures: |x|, x² or the Huber function."""
    weight: Weight = 1.0
    """Of the mean."""
    per_atom: bool = True
    """Whether errors are divided by the number of atoms of the structure."""
    delta: Delta = 1.0
    """Of the Huber function."""


class ForcesLossOptions(Options):
    """Of forces."""

    type: Literal["mae", "l2mae", "mse", "rmse", "huber"] = "l2mae"
    """What is averaged: |x| of components, norms of atoms' vectors (l2mae), x² of components, or their Huber function;
    rmse is the root of the mean of x²."""
    weight: Weight = 1.0
    """Of the mean."""
    atoms: AtomChoice = "all"
    """Whether fixed atoms count: all atoms, or free ones only."""
    delta: Delta = 1.0
    """Of the Huber function."""


class StressLossOptions(Options):
    """Of stresses; only for models with gradient forces."""

    type: Literal["mae", "mse", "huber"] = "mae"
    """What is averaged over the nine components: |x|, x² or the Huber function."""
    weight: Weight = 1.0
    """Of the mean."""
    per: Literal["atom", "volume"] = "atom"
    """volume: of stresses in eV/Å³, which are small numbers; atom: of virials per atom V·σ/N in eV, which are of the
    order of energies per atom."""
    delta: Delta = 1.0
    """Of the Huber function."""


class LossOptions(Options):
    """The sum of weight · mean over the terms that are given.

    Errors are divided by `references.scale` (eV) before they are measured: an energy error of 0.1 eV per atom counts as
    0.05 where forces have an RMS of 2 eV/Å, a force error of 0.1 eV/Å as 0.05, too. Losses and gradients are then of
    order one for any material, and weights mean the same everywhere.
    """

    energy: EnergyLossOptions | None = None
    """Of energies; null: they are not trained."""
    forces: ForcesLossOptions | None = None
    """Of forces; null: they are not trained."""
    stress: StressLossOptions | None = None
    """Of stresses; null: they are not trained."""

    @model_validator(mode="after")
    def _some_term(self) -> LossOptions:
        if self.energy is None and self.forces is None and self.stress is None:
            raise ValueError("needs at least one of energy, forces and stress")
        return self

    def loss(self, unit: float) -> Loss:
        """The loss, with errors in this unit (eV)."""
        terms: list[Term] = []
        if self.energy is not None:
            measure = Measure(self.energy.type, unit, self.energy.delta)
            terms.append(EnergyTerm(measure, self.energy.weight, self.energy.per_atom))
        if self.forces is not None:
            terms.append(
                ForcesTerm(Measure(self.forces.type, unit, self.forces.delta), self.forces.weight, self.forces.atoms)
            )
        if self.stress is not None:
            terms.append(
                StressTerm(Measure(self.stress.type, unit, self.stress.delta), self.stress.weight, self.stress.per)
            )
        return Loss(terms)

    def errors(self, labels: frozenset[str]) -> Loss:
        """Mean absolute errors in eV, eV/Å and eV/Å³ of everything that has labels and that the loss may compare.

        Energies are per atom; forces of the atoms that the loss counts.
        """
        plain = Measure("mae")
        atoms = self.forces.atoms if self.forces is not None else "all"
        known: dict[str, Term] = {"energy": EnergyTerm(plain), "forces": ForcesTerm(plain, atoms=atoms)}
        if self.stress is not None:
            known["stress"] = StressTerm(plain)
        return Loss([term for name, term in known.items() if name in labels])
