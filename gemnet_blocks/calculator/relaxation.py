"""Relaxation of structures to a local minimum of the potential energy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gemnet_blocks.calculator.ase import GemNetCalculator
from gemnet_blocks.errors import StateError, StructureError
from gemnet_blocks.util.ase_io import set_results

OptimizerName = Literal["fire", "lbfgs", "bfgs"]
"""Optimizers of ASE; FIRE is slower and more robust than the other two."""


@dataclass(frozen=True, slots=True, eq=False)
class RelaxationStep:
    """One step of a relaxation.

    Attributes:
        number: number of steps taken so far.
        energy: energy in eV.
        max_force: largest force on an atom that is free to move, in eV/Å.
        max_stress: largest absolute component of the stress in eV/Å³; None if the cell is fixed.
        converged: True if the relaxation has converged.
        atoms: copy of the structure with the predicted energy, forces and stress.
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
    """Relax atoms step by step under their constraints.

    Args:
        atoms: ASE atoms, which are copied.
        calculator: calculator of the potential.
        fmax: convergence criterion: the largest force in eV/Å and, with `cell`, the largest stress times volume per
            atom in eV; typically 0.01 to 0.05.
        steps: maximum number of steps.
        cell: relax the cell too.
        optimizer: optimizer of ASE.

    Yields:
        The initial structure, then the structure after every step.

    Raises:
        StructureError: the structure cannot be computed, its cell cannot be relaxed since it is not periodic, or the
            energy or forces are not finite.
        StateError: the potential does not predict forces, or stresses to relax the cell.
    """
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS, FIRE, LBFGS

    _check(atoms, calculator, cell)
    atoms = atoms.copy()
    atoms.calc = calculator
    moved = FrechetCellFilter(atoms) if cell else atoms
    kind = {"fire": FIRE, "lbfgs": LBFGS, "bfgs": BFGS}[optimizer]
    _step(atoms, 0, False, cell)  # raises before the optimizer meets numbers that are not finite
    for number, converged in enumerate(kind(moved, logfile=None).irun(fmax=fmax, steps=steps)):
        yield _step(atoms, number, bool(converged), cell)


def _check(atoms: Any, calculator: GemNetCalculator, cell: bool) -> None:
    if calculator.potential.model.forces is None:
        raise StateError("relaxation needs a potential with forces: train a model with `heads: {forces: ...}`")
    if not len(atoms):
        raise StructureError("the structure has no atoms to relax")
    if cell:
        try:
            calculator.potential.model.check_stress()
        except ValueError as error:
            raise StateError(f"the cell cannot be relaxed: {error}") from error
        if not atoms.pbc.all():
            raise StructureError(
                "the cell cannot be relaxed, since the structure is not periodic in all three directions: "
                "set its periodicity (pbc), or relax without the cell"
            )


def _step(atoms: Any, number: int, converged: bool, cell: bool) -> RelaxationStep:
    energy, forces = float(atoms.get_potential_energy()), atoms.get_forces()
    stress = atoms.get_stress() if cell else None
    max_force = float(np.linalg.norm(forces, axis=1).max(initial=0.0))
    if not math.isfinite(energy + max_force + (0.0 if stress is None else float(np.abs(stress).max()))):
        raise StructureError(
            f"step {number}: expected finite numbers, found an energy of {energy} eV and a largest force of "
            f"{max_force} eV/Å: the potential cannot describe this structure, or its weights are broken"
        )
    copied = atoms.copy()
    results = {name: atoms.calc.results[name] for name in ("energy", "forces", "stress") if name in atoms.calc.results}
    kinds = atoms.calc.potential.property_kinds
    results |= {name: atoms.calc.results[name] for name in kinds}
    set_results(copied, results, [name for name, kind in kinds.items() if kind.per == "atom"])
    copied.info["energy_meaning"] = atoms.calc.meaning
    max_stress = None if stress is None else float(np.abs(stress).max())
    return RelaxationStep(number, energy, max_force, max_stress, converged, copied)
