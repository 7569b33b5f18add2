"""Atomic reference energies, the energy scale and the meaning of the energy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, get_args

from ase.data import chemical_symbols

from gemnet_blocks.errors import SpecError
from gemnet_blocks.options import positive_number
from gemnet_blocks.structures import EnergyMeaning, StoredMeaning
from gemnet_blocks.util.elements import element_number

_MEANINGS = (*get_args(EnergyMeaning), "unknown")


@dataclass(frozen=True, slots=True)
class Normalization:
    """Mean and scale of a property: p = scale · p_model + mean, where the mean of extensive properties is per atom.

    Attributes:
        scale: the value that corresponds to a model output of 1, in the unit of the labels.
        mean: the mean of the labels, 0 for vectors and tensors.

    Raises:
        ValueError: the mean is not finite, or the scale is not positive.
    """

    scale: float = 1.0
    mean: float = 0.0

    def __post_init__(self) -> None:
        positive_number("Normalization", "scale", self.scale)
        if not math.isfinite(self.mean):
            raise ValueError(f"Normalization: mean must be finite, got {self.mean!r}")


@dataclass(frozen=True, slots=True)
class References:
    """Atomic reference energies and energy scale: E = scale · E_model + offset + Σ_atoms per_element[Z].

    Forces and stresses are the model's outputs times `scale`. `Potential` computes the sums in float64.

    Attributes:
        per_element: reference energy per atom in eV, by atomic number; a potential refuses all other elements.
        scale: energy in eV that corresponds to a model output of 1.
        meaning: what the energy is relative to.
        offset: energy per structure in eV, independent of the number of atoms, such as the mean of a published
            normalizer.
        properties: the normalization of further properties by name.

    Raises:
        ValueError: a number is not finite, the scale is not positive, or an element or the meaning is unknown.
    """

    per_element: Mapping[int, float]
    scale: float
    meaning: StoredMeaning
    offset: float = 0.0
    properties: Mapping[str, Normalization] = field(default_factory=dict)
    energy_unit: ClassVar[str] = "eV"
    length_unit: ClassVar[str] = "Å"

    def __post_init__(self) -> None:
        if self.meaning not in _MEANINGS:
            raise ValueError(f"References: meaning must be one of {_MEANINGS}, got {self.meaning!r}")
        positive_number("References", "scale", self.scale, "eV")
        if not math.isfinite(self.offset):
            raise ValueError(f"References: offset must be finite, got {self.offset!r}")
        for number, energy in self.per_element.items():
            if number not in range(1, len(chemical_symbols)) or not math.isfinite(energy):
                raise ValueError(
                    f"References: per_element: expected atomic numbers with finite energies, got {number!r}: {energy!r}"
                )
        ordered = {int(number): float(self.per_element[number]) for number in sorted(self.per_element)}
        object.__setattr__(self, "per_element", ordered)

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON, with elements as symbols."""
        values = {name: getattr(self, name) for name in ("scale", "meaning", "offset", "energy_unit", "length_unit")}
        if self.properties:
            values["properties"] = {name: asdict(one) for name, one in self.properties.items()}
        return {"per_element": {chemical_symbols[key]: energy for key, energy in self.per_element.items()}} | values

    def normalization(self, name: str) -> Normalization:
        """The normalization of a property; scale 1 and mean 0 if none was fitted."""
        return self.properties.get(name, Normalization())

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> References:
        """Restore references from the dictionary of `to_dict`.

        Raises:
            ValueError: an entry is missing or is not a number, or the units are not eV and Å.
        """
        units = (document.get("energy_unit", "eV"), document.get("length_unit", "Å"))
        if units != ("eV", "Å"):
            raise ValueError(f"References: expected the units ('eV', 'Å'), got {units}")
        try:
            return cls(
                per_element=by_number(document["per_element"]),
                scale=float(document["scale"]),
                meaning=document["meaning"],
                offset=float(document.get("offset", 0.0)),
                properties={
                    name: Normalization(float(one["scale"]), float(one["mean"]))
                    for name, one in document.get("properties", {}).items()
                },
            )
        except (KeyError, TypeError, AttributeError) as wrong:
            raise ValueError(
                f"References: expected the dictionary of to_dict: {type(wrong).__name__}: {wrong}"
            ) from wrong


def by_number(energies: Mapping[Any, Any]) -> dict[int, float]:
    """Energies by atomic number, from keys that are symbols, numbers, or numbers as text.

    Raises:
        SpecError: a key is not an element, or an element is given twice.
    """
    if not isinstance(energies, Mapping):
        raise SpecError(f"references.per_element: expected least_squares, none or a mapping, got {energies!r}")
    found: dict[int, float] = {}
    for key, energy in energies.items():
        try:
            number = element_number(key)
        except ValueError as error:
            raise SpecError(f"references.per_element: {error}") from None
        if number in found:
            raise SpecError(
                f"references.per_element: {chemical_symbols[number]} is given by symbol and by number: give it once"
            )
        found[number] = float(energy)
    return found
