"""Units of energies, lengths, forces and stresses by name, and their values in eV and Å."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Annotated, Any

from ase import units as ase_units
from pydantic import BeforeValidator, WithJsonSchema, field_validator, model_validator

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
    """A unit of energy in eV.

    Raises:
        ValueError: there is no unit of that name.
    """
    return _value(name, "energy", ENERGY)


def length_unit(name: str) -> float:
    """A unit of length in Å.

    Raises:
        ValueError: there is no unit of that name.
    """
    return _value(name, "length", LENGTH)


def stress_unit(name: str) -> float:
    """A unit of stress in eV/Å³.

    Raises:
        ValueError: there is no unit of that name.
    """
    return _value(name, "stress", STRESS)


def force_unit(name: str) -> float:
    """A unit of force in eV/Å: a unit of energy and one of length, such as `kcal/mol/Å` or `Hartree/Bohr`.

    Raises:
        ValueError: there is no such unit.
    """
    energy, slash, length = name.rpartition("/")
    if not slash:
        raise ValueError(f"{name!r} is no unit of force: write energy/length, such as eV/Å or Hartree/Bohr")
    return energy_unit(energy) / length_unit(length)


def _value(name: str, kind: str, units: dict[str, float]) -> float:
    name = _OTHER_SPELLINGS.get(name, name)
    if name in units:
        return units[name]
    lower = {unit.lower(): unit for unit in units}
    near = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=1)]
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name!r} is no unit of {kind}: choose one of {', '.join(units)}{hint}")


@dataclass(frozen=True, slots=True)
class Units:
    """What a file's numbers are multiplied by to be in eV and Å.

    Attributes:
        energy: in eV.
        length: in Å.
        force: in eV/Å.
        stress: in eV/Å³.
    """

    energy: float = 1.0
    length: float = 1.0
    force: float = 1.0
    stress: float = 1.0


class UnitsOptions(Options):
    """The units of the numbers in the files; they are never guessed. A text alone is the unit of energy, with Å."""

    energy: str
    """eV, meV, kcal/mol, kJ/mol, Hartree or Rydberg."""
    length: str = "Å"
    """Å, nm or Bohr."""
    forces: str | None = None
    """Such as Hartree/Bohr; null: the unit of energy per unit of length."""

    @model_validator(mode="before")
    @classmethod
    def _needs_energy(cls, data: Any) -> Any:
        if isinstance(data, dict) and "energy" not in data:
            raise ValueError(f"needs the unit of energy, which is never guessed: one of {', '.join(ENERGY)}")
        return data

    @field_validator("energy")
    @classmethod
    def _is_energy(cls, name: str) -> str:
        energy_unit(name)
        return name

    @field_validator("length")
    @classmethod
    def _is_length(cls, name: str) -> str:
        length_unit(name)
        return name

    @field_validator("forces")
    @classmethod
    def _is_force(cls, name: str | None) -> str | None:
        if name is not None:
            force_unit(name)
        return name

    def factors(self, stress: str | None = None) -> Units:
        """The units as numbers.

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
"""Units of energy and length, or the unit of energy alone."""
