"""What a model's outputs are relative to: reference energies of the elements, a unit, and what the energy means."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from ase.data import atomic_names, atomic_numbers, chemical_symbols

from gemnet_blocks.errors import SpecError
from gemnet_blocks.options import positive_number
from gemnet_blocks.structures import EnergyMeaning, StoredMeaning

_MEANINGS = (*get_args(EnergyMeaning), "unknown")


@dataclass(frozen=True, slots=True)
class References:
    """How a model's outputs become energies: E = scale · E_model + offset + Σ_atoms per_element[Z].

    Forces and stresses are those of the model times `scale`. `Potential` computes the sums, in float64.

    Attributes:
        per_element: energy per atom in eV by atomic number; elements that are not in it are unknown.
        scale: the energy, in eV, that the model's output 1 stands for.
        meaning: what the energy is relative to.
        offset: energy per structure in eV, however many atoms it has: `mean` of the options, or that of a published
            normalizer.

    Raises:
        ValueError: a number that is not finite, a scale that is not positive, or an element or meaning that is none.
    """

    per_element: Mapping[int, float]
    scale: float
    meaning: StoredMeaning
    offset: float = 0.0
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
        """The same as JSON can hold it; elements by symbol."""
        values = {name: getattr(self, name) for name in ("scale", "meaning", "offset", "energy_unit", "length_unit")}
        return {"per_element": {chemical_symbols[key]: energy for key, energy in self.per_element.items()}} | values

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> References:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: something is missing, is no number, or is in other units than eV and Å.
        """
        units = (document.get("energy_unit", "eV"), document.get("length_unit", "Å"))
        if units != ("eV", "Å"):
            raise ValueError(f"References: units {units} are not known, only ('eV', 'Å')")
        try:
            return cls(
                per_element=by_number(document["per_element"]),
                scale=float(document["scale"]),
                meaning=document["meaning"],
                offset=float(document.get("offset", 0.0)),
            )
        except (KeyError, TypeError, AttributeError) as wrong:
            raise ValueError(f"References: not what to_dict writes: {type(wrong).__name__}: {wrong}") from wrong


def by_number(energies: Mapping[Any, Any]) -> dict[int, float]:
    """Energies by atomic number, from keys that are symbols, numbers, or numbers as text.

    Raises:
        SpecError: a key is not an element, or an element is given twice.
    """
    if not isinstance(energies, Mapping):
        raise SpecError(f"references.per_element: {energies!r} is neither least_squares nor none nor a mapping")
    found: dict[int, float] = {}
    for key, energy in energies.items():
        try:
            number = element_number(key)
        except ValueError as error:
            raise SpecError(f"references.per_element: {error}") from None
        if number in found:
            raise SpecError(f"references.per_element: {chemical_symbols[number]} is given by symbol and by number")
        found[number] = float(energy)
    return found


def element_number(key: object) -> int:
    """The atomic number of an element that is given by its symbol or its atomic number, also as text.

    Raises:
        ValueError: the element is unknown; suggests elements of similar symbols.
    """
    text = str(key)
    number = int(text) if text.isdecimal() and len(text) < 9 else atomic_numbers.get(text, 0)
    if number not in range(1, len(chemical_symbols)) or isinstance(key, bool):
        word = text.strip().capitalize()
        named = [symbol for symbol, name in zip(chemical_symbols, atomic_names, strict=True) if word in (symbol, name)]
        near = named or difflib.get_close_matches(word, chemical_symbols[1:], cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near and word else ""
        known = f"the symbol of an element, such as Cu, or an atomic number from 1 to {len(chemical_symbols) - 1}"
        raise ValueError(f"expected {known}, got {key!r}{hint}")
    return number
