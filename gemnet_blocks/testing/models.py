"""What is tested: any callable from structures to a prediction, and adaptors to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, final

import torch
from torch import Tensor

from gemnet_blocks.structures import Prediction, Structures, to_ase

if TYPE_CHECKING:
    pass

Model: TypeAlias = Callable[[Structures], Prediction | tuple[Tensor, Tensor | None] | Tensor]
"""Anything that predicts: a `Prediction`, energies and forces as a pair, or energies alone."""


def predict(model: Model, structures: Structures) -> Prediction:
    """What a model predicts, in one form whatever it returns.

    NaN and infinity are returned as they are.

    Args:
        model: returns a `Prediction`, a pair of energies and forces (or None), or energies.
        structures: what it is called with.

    Raises:
        ValueError: it returned something else, or tensors of the wrong shape or type; says what is needed.
    """
    energy, forces = _parts(model(structures), _name(model))
    _check(energy, "energy", (len(structures),), _name(model))
    if forces is not None:
        _check(forces, "forces", (structures.atom_count, 3), _name(model))
    return Prediction(energy, forces)


@final
@dataclass(frozen=True, slots=True)
class CalculatorModel:
    """An ASE calculator as a model: one structure after another, without gradients.

    The energy of a structure without atoms is 0. Forces are those before constraints, and None if the calculator has
    none. Cached results are dropped before every calculation. Cells of structures without periodicity are left out:
    they mean nothing, and some calculators fail where their vectors are in one plane.

    Attributes:
        calculator: any ASE calculator.
    """

    calculator: Any

    def __call__(self, structures: Structures) -> Prediction:
        """Energies in eV and forces in eV/Å, in the floating-point type of the positions."""
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
    """Energies and forces of what a model returned."""
    if isinstance(returned, Prediction):
        return returned.energy, returned.forces
    if isinstance(returned, Tensor):
        return returned, None
    if isinstance(returned, (tuple, list)) and len(returned) == 2:
        return returned[0], returned[1]
    described = f"{len(returned)} values" if isinstance(returned, (tuple, list)) else type(returned).__name__
    raise ValueError(
        f"{name} returned {described}: a Prediction, a pair (energy, forces) or a tensor of energies is needed"
    )


def _check(value: Any, part: str, shape: tuple[int, ...], name: str) -> None:
    needed = f"a floating-point tensor of shape {shape} is needed, {_ROWS[part]}"
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} returned {part} of type {type(value).__name__}: {needed}")
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} returned {part} of shape {tuple(value.shape)}: {needed}")
    if not value.is_floating_point():
        raise ValueError(f"{name} returned {part} of {value.dtype}: {needed}")


_ROWS = {"energy": "a number per structure", "forces": "a row per atom"}


def _name(model: Model) -> str:
    return getattr(model, "__name__", type(model).__name__)
