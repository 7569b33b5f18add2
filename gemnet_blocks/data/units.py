"""Units of energies, lengths, forces and stresses by name, and their values in eV and Å."""

from __future__ import annotations

import difflib
import reprlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from ase import units as ase_units
from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema, field_validator, model_validator

from gemnet_blocks.errors import StructureError
from gemnet_blocks.options import Options

ENERGY: dict[str, float] = {
    "eV": 1.0,
    "meV": 1e-3,
    "kcal/mol": ase_units.kcal / ase_units.mol,
    "kJ/mol": ase_units.kJ / ase_units.mol,
    "Hartree": ase_units.Hartree,
    "Rydberg": ase_units.Rydberg,
}
"""Units of energy in eV."""

LENGTH: dict[str, float] = {"Å": 1.0, "nm": 10.0, "Bohr": ase_units.Bohr}
"""Units of length in Å."""

STRESS: dict[str, float] = {
    "eV/Å^3": 1.0,
    "GPa": ase_units.GPa,
    "kbar": 0.1 * ase_units.GPa,
    "Hartree/Bohr^3": ase_units.Hartree / ase_units.Bohr**3,
}
"""Units of stress in eV/Å³."""

_OTHER_SPELLINGS = {
    "A": "Å",
    "Angstrom": "Å",
    "angstrom": "Å",
    "Ang": "Å",
    "\u212b": "Å",  # the Ångström sign, which looks the same
    "A\u030a": "Å",
    "bohr": "Bohr",
    "hartree": "Hartree",
    "Ha": "Hartree",
    "rydberg": "Rydberg",
    "Ry": "Rydberg",
    "ev": "eV",
    "eV/Å³": "eV/Å^3",
    "eV/A^3": "eV/Å^3",
    "eV/Angstrom^3": "eV/Å^3",
    "gpa": "GPa",
    "kB": "kbar",
    "kBar": "kbar",
}


def energy_unit(name: str) -> float:
    """The value of a unit of energy in eV.

    Raises:
        ValueError: the unit is unknown.
    """
    return _value(name, "energy", ENERGY)


def length_unit(name: str) -> float:
    """The value of a unit of length in Å.

    Raises:
        ValueError: the unit is unknown.
    """
    return _value(name, "length", LENGTH)


def stress_unit(name: str) -> float:
    """The value of a unit of stress in eV/Å³.

    Raises:
        ValueError: the unit is unknown.
    """
    return _value(name, "stress", STRESS)


def force_unit(name: str) -> float:
    """The value in eV/Å of a unit of force, a unit of energy per length such as `kcal/mol/Å` or `Hartree/Bohr`.

    Raises:
        ValueError: the unit is unknown.
    """
    energy, slash, length = name.rpartition("/")
    if not slash:
        raise ValueError(f"expected a unit of force as energy/length, such as eV/Å or Hartree/Bohr, got {name!r}")
    return energy_unit(energy) / length_unit(length)


def _value(name: str, kind: str, units: dict[str, float]) -> float:
    name = _OTHER_SPELLINGS.get(name, name)
    if name in units:
        return units[name]
    lower = {unit.lower(): unit for unit in units}
    near = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=1)]
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"expected a unit of {kind}, one of {', '.join(units)}, got {name!r}{hint}")


@dataclass(frozen=True, slots=True)
class Units:
    """Conversion factors from the units of a file.

    Attributes:
        energy: the unit of energy in eV.
        length: the unit of length in Å.
        force: the unit of force in eV/Å.
        stress: the unit of stress in eV/Å³.
    """

    energy: float = 1.0
    length: float = 1.0
    force: float = 1.0
    stress: float = 1.0


class UnitsOptions(Options):
    """The units of the numbers in the files, which are never guessed. A text alone is the unit of energy, with lengths
    in Å."""

    energy: str
    """The unit of energy: eV, meV, kcal/mol, kJ/mol, Hartree or Rydberg."""
    length: str = "Å"
    """The unit of length: Å, nm or Bohr."""
    forces: str | None = None
    """The unit of forces, such as Hartree/Bohr; null: the unit of energy per unit of length."""

    @model_validator(mode="before")
    @classmethod
    def _needs_energy(cls, data: Any) -> Any:
        if isinstance(data, dict) and "energy" not in data:
            raise ValueError(f"needs the unit of energy, which is never guessed: one of {', '.join(ENERGY)}")
        return data

    @field_validator("energy", "length", "forces")
    @classmethod
    def _is_unit(cls, name: str | None, field: ValidationInfo) -> str | None:
        if name is not None:
            {"energy": energy_unit, "length": length_unit, "forces": force_unit}[str(field.field_name)](name)
        return name

    def factors(self, stress: str | None = None) -> Units:
        """Conversion factors to eV and Å.

        Args:
            stress: the unit of stress; None: energy per cubed length.
        """
        energy, length = energy_unit(self.energy), length_unit(self.length)
        return Units(
            energy=energy,
            length=length,
            force=energy / length if self.forces is None else force_unit(self.forces),
            stress=energy / length**3 if stress is None else stress_unit(stress),
        )


def _from_name(given: Any) -> Any:
    return {"energy": given} if isinstance(given, str) else given


_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "description": "the unit of energy, with lengths in Å"},
        UnitsOptions.model_json_schema(),
    ]
}

UnitsField = Annotated[UnitsOptions, BeforeValidator(_from_name), WithJsonSchema(_SCHEMA)]
"""Units of energy and length, or a unit of energy."""


Order = Literal["xx yy zz yz xz xy", "xx yy zz xy yz xz", "xx yy zz xy xz yz"]
"""The order of six components: Voigt's, which ASE uses; VASP's; or row by row."""

Sign = Literal["tensile", "compressive"]
"""The sign of the diagonal: positive if the energy decreases when the cell shrinks (ASE), or grows (VASP's output)."""

Kind = Literal["stress", "virial"]
"""Stress, or virial: stress times volume, an energy."""

_ASYMMETRY_AT_MOST = 1e-3
"""Allowed asymmetry of nine numbers, relative to the largest."""

_ROUNDING = 1e-5
"""Asymmetry in eV/Å³ that is always allowed: 1.6 MPa, less than the error of any computed stress."""


_PLACES: dict[str, tuple[int, ...]] = {
    "xx yy zz yz xz xy": (0, 5, 4, 5, 1, 3, 4, 3, 2),
    "xx yy zz xy yz xz": (0, 3, 5, 3, 1, 4, 5, 4, 2),
    "xx yy zz xy xz yz": (0, 3, 4, 3, 1, 5, 4, 5, 2),
}
"""The position of each entry of the matrix, row by row, among the six components."""


class StressOptions(Options):
    """Conventions of stress labels; the defaults are ASE's."""

    unit: str | None = None
    """The unit of stress: eV/Å^3, GPa, kbar or Hartree/Bohr^3; null: the unit of energy per cubed unit of length.
    Virials are always in the unit of energy."""
    sign: Sign = "tensile"
    """tensile: (1/V) ∂E/∂ε, positive if the energy decreases when the cell shrinks, as in ASE; compressive: the
    opposite, as in VASP's output and for most virials."""
    order: Order = "xx yy zz yz xz xy"
    """The order of six components: Voigt's (ASE), `xx yy zz xy yz xz` (VASP) or `xx yy zz xy xz yz` (row by row). A
    wrong order is not detected: compare a sheared cell."""
    kind: Kind = "stress"
    """stress, or virial: stress times volume."""

    @field_validator("unit")
    @classmethod
    def _is_stress(cls, name: str | None) -> str | None:
        if name is not None:
            stress_unit(name)
        return name

    def matrix(
        self, value: npt.NDArray[Any], units: Units, volume: float, place: str, label: str = "stress"
    ) -> npt.NDArray[np.float64]:
        """Compute σ = (1/V) ∂E/∂ε in eV/Å³, 3 × 3 and symmetric.

        Args:
            value: six or nine numbers, or a 3 × 3 matrix, symmetric except for rounding.
            units: the units of the file.
            volume: volume of the cell in Å³.
            place: file and frame number, for messages.
            label: the label and its key in the file, for messages.

        Raises:
            StructureError: the value has another shape, is asymmetric, or is a virial of a cell without volume.
        """
        if value.dtype.kind not in "iuf" or value.size not in (6, 9):
            raise StructureError(
                f"{place}: {label}: expected 6 numbers, in the order that `stress.order` names, or 9 numbers (3 × 3), "
                f"found {reprlib.repr(value.tolist())}: correct the frame, or leave stress out of `labels`"
            )
        flat = value.reshape(-1).astype(np.float64)
        matrix = flat.reshape(3, 3) if flat.size == 9 else flat[list(_PLACES[self.order])].reshape(3, 3)
        if self.kind == "virial" and volume == 0:
            raise StructureError(
                f"{place}: {label}: the stress of a virial needs a cell with a volume: correct the cell of the frame"
            )
        factor = units.energy / volume if self.kind == "virial" else units.stress
        matrix = (factor if self.sign == "tensile" else -factor) * matrix
        asymmetry = np.abs(matrix - matrix.T)
        # comparisons are false for numbers that are not finite, which are reported elsewhere
        if asymmetry.max() > max(_ASYMMETRY_AT_MOST * np.abs(matrix).max(), _ROUNDING):
            row, column = np.unravel_index(asymmetry.argmax(), (3, 3))
            first, second = flat.reshape(3, 3)[row, column], flat.reshape(3, 3)[column, row]
            raise StructureError(
                f"{place}: {label}: expected a symmetric matrix, found {first:.6g} and {second:.6g} for the same "
                "component: correct the nine numbers, replace them by the mean of the matrix and its transpose, or "
                "leave stress out of `labels`"
            )
        return (matrix + matrix.T) / 2
