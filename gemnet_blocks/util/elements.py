"""Elements that are given by their symbols or their atomic numbers."""

from __future__ import annotations

import difflib
from typing import Annotated

from ase.data import atomic_names, atomic_numbers, chemical_symbols
from pydantic import AfterValidator


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


def _known(element: str | int) -> str | int:
    element_number(element)
    return element


Element = Annotated[str | int, AfterValidator(_known)]
"""The symbol or the atomic number of an element, in options."""
