"""Relaxations: from a structure to the nearest minimum of a potential's energy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gemnet_blocks.calculator.ase import GemNetCalculator
from gemnet_blocks.errors import StateError, StructureError

OptimizerName = Literal["fire", "lbfgs", "bfgs"]
"""ASE's optimisers; fire is slow and robust."""


@dataclass(frozen=True, slots=True, eq=False)
class RelaxationStep:
    """A structure on the way.

    Attributes:
        number: how many steps were taken before.
        energy: in eV.
        max_force: the largest force on an atom that is free to move, in eV/Å.
        max_stress: the largest component of the stress in eV/Å³; None where the cell stays.
        converged: whether this is the result.
        atoms: a copy of the structure, with the numbers of the model.
    """

    number: int
    energy: float
    max_force: float
    max_stress: float | None
    converged: bool
    atoms: Any


def relax(
    atoms: Any,
    calculator: GemNetCalculator,
    fmax: float = 0.05,
    steps: int = 500,
    cell: bool = False,
    optimizer: OptimizerName = "fire",
) -> Iterator[RelaxationStep]:
    """Relax atoms step by step; constraints hold.

    Args:
        atoms: ASE atoms; they stay as they are.
        calculator: the potential.
        fmax: converged when no force is larger, in eV/Å; with `cell`, nor the stress times the volume per atom, in eV.
        steps: how many to take at most.
        cell: whether the cell is relaxed too.
        optimizer: which of ASE's.

    Yields:
        The structure at the beginning and after every step.

    Raises:
        StructureError: the structure cannot be computed, has no volume that could be relaxed, or the energy or forces
            are not finite.
        StateError: the potential has no forces, or no stress to relax the cell with.
    """
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS, FIRE, LBFGS

    _check(atoms, calculator, cell)
    atoms = atoms.copy()
    atoms.calc = calculator
    moved = FrechetCellFilter(atoms) if cell else atoms
    kind = {"fire": FIRE, "lbfgs": LBFGS, "bfgs": BFGS}[optimizer]
    _step(atoms, 0, False, cell)  # numbers that are not finite, before the optimiser sees them
    for number, converged in enumerate(kind(moved, logfile=None).irun(fmax=fmax, steps=steps)):
        yield _step(atoms, number, bool(converged), cell)


def _check(atoms: Any, calculator: GemNetCalculator, cell: bool) -> None:
    if calculator.potential.model.forces is None:
        raise StateError("the potential has no forces to relax with: train a model with `heads: {forces: ...}`")
    if not len(atoms):
        raise StructureError("the structure has no atoms: there is nothing to relax")
    if cell:
        try:
            calculator.potential.model.check_stress()
        except ValueError as error:
            raise StateError(f"the cell cannot be relaxed: {error}") from error
        if not atoms.pbc.all():
            raise StructureError(
                "the cell cannot be relaxed, as the structure is not periodic in all three directions: "
                "set its periodicity (pbc), or relax without the cell"
            )


def _step(atoms: Any, number: int, converged: bool, cell: bool) -> RelaxationStep:
    from ase.calculators.singlepoint import SinglePointCalculator

    energy, forces = float(atoms.get_potential_energy()), atoms.get_forces()
    stress = atoms.get_stress() if cell else None
    max_force = float(np.linalg.norm(forces, axis=1).max(initial=0.0))
    if not math.isfinite(energy + max_force + (0.0 if stress is None else float(np.abs(stress).max()))):
        raise StructureError(
            f"step {number}: the energy is {energy} eV and the largest force {max_force} eV/Å: the structure is "
            "outside of what the potential can describe, or the potential is broken"
        )
    copied = atoms.copy()
    results = {name: atoms.calc.results[name] for name in ("energy", "forces", "stress") if name in atoms.calc.results}
    copied.calc = SinglePointCalculator(copied, **results)
    copied.info["energy_meaning"] = atoms.calc.meaning
    max_stress = None if stress is None else float(np.abs(stress).max())
    return RelaxationStep(number, energy, max_force, max_stress, converged, copied)
