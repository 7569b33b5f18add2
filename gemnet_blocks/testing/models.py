"""Models under test: any callable from structures to a prediction, and an adapter for ASE calculators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from gemnet_blocks.structures import Prediction, Structures, to_ase

Model: TypeAlias = Callable[[Structures], Prediction | tuple[Tensor, Tensor | None] | Tensor]
"""A callable that returns a `Prediction`, a pair of energies and forces, or energies alone."""


def predict(model: Model, structures: Structures) -> Prediction:
    """Call a model and convert its result to a `Prediction`; values may be NaN or infinite.

    Args:
        model: returns a `Prediction`, a pair of energies and forces (or None), or energies.
        structures: the structures to predict.

    Raises:
        ValueError: the model returns something else, or tensors of the wrong shape or type.
    """
    name = getattr(model, "__name__", type(model).__name__)
    returned = model(structures)
    energy, forces = _parts(returned, name)
    _check(energy, "energy", (len(structures),), name)
    if forces is not None:
        _check(forces, "forces", (structures.atom_count, 3), name)
    return returned if isinstance(returned, Prediction) else Prediction(energy, forces)


@final
@dataclass(frozen=True, slots=True)
class CalculatorModel:
    """Adapter that turns an ASE calculator into a model without gradients.

    The energy of a structure without atoms is 0. Forces do not include constraints; they are None if the calculator
    does not implement them. Cached results are dropped before every calculation. Cells of structures that are not
    periodic are set to zero, since some calculators fail if their vectors are coplanar.

    Attributes:
        calculator: an ASE calculator.
    """

    calculator: Any

    def __call__(self, structures: Structures) -> Prediction:
        """Predict energies in eV and forces in eV/Å in the floating-point type of the positions."""
        with_forces = "forces" in getattr(self.calculator, "implemented_properties", ("forces",))
        energies: list[float] = []
        forces: list[Tensor] = [torch.zeros(0, 3, dtype=torch.float64)]
        for atoms in to_ase(structures):
            if not atoms.pbc.any():
                atoms.cell[:] = 0
            atoms.calc = self.calculator
            if hasattr(self.calculator, "reset"):
                self.calculator.reset()
            energies.append(float(atoms.get_potential_energy()) if len(atoms) else 0.0)
            if with_forces and len(atoms):
                forces.append(torch.tensor(atoms.get_forces(apply_constraint=False), dtype=torch.float64))
        like = structures.positions.detach()
        energy = torch.tensor(energies, dtype=torch.float64).to(like)
        return Prediction(energy, torch.cat(forces).to(like) if with_forces else None)


def _parts(returned: Any, name: str) -> tuple[Any, Any]:
    if isinstance(returned, Prediction):
        return returned.energy, returned.forces
    if isinstance(returned, Tensor):
        return returned, None
    if isinstance(returned, (tuple, list)) and len(returned) == 2:
        return returned[0], returned[1]
    described = f"{len(returned)} values" if isinstance(returned, (tuple, list)) else type(returned).__name__
    raise ValueError(
        f"{name} must return a Prediction, a pair (energy, forces) or a tensor of energies, but returned {described}"
    )


def _check(value: Any, part: str, shape: tuple[int, ...], name: str) -> None:
    if not isinstance(value, Tensor):
        found = f"type {type(value).__name__}"
    elif tuple(value.shape) != shape:
        found = f"shape {tuple(value.shape)}"
    elif not value.is_floating_point():
        found = str(value.dtype)
    else:
        return
    rows = {"energy": "a number per structure", "forces": "a row per atom"}[part]
    raise ValueError(f"{name} returned {part} of {found}: expected a floating-point tensor of shape {shape}, {rows}")
