"""How wide text is, roughly and rather too wide, and text that fits."""

from __future__ import annotations

import unicodedata

NARROW, WIDE = frozenset("fijlrtI.,:;'!|()[]{} /-·"), frozenset("mwMW@%→←≤≥—")
"""Characters of less and more than the common width in all sans-serif fonts."""

ELLIPSIS = "…"


def clean(text: object) -> str:
    """Text on one line, without control characters, which no picture can hold."""
    printable = (" " if character.isspace() else character for character in str(text))
    kept = (character for character in printable if unicodedata.category(character)[0] != "C")
    return " ".join("".join(kept).split())


def width(text: str, size: float, bold: bool = False) -> float:
    """The width of text, in the unit of its size."""
    return size * (1.1 if bold else 1.0) * sum(map(_relative_width, text))


def wrapped(text: str, size: float, available: float, lines: int = 3) -> list[str]:
    """Text broken between words into lines of at most some width; what is too much ends in an ellipsis."""
    found: list[str] = []
    for word in text.split(" "):
        longer = f"{found[-1]} {word}" if found else word
        if found and width(longer, size) <= available:
            found[-1] = longer
        else:
            found.append(word)
    if len(found) > lines:
        found = [*found[: lines - 1], " ".join(found[lines - 1 :])]
    return [shortened(line, size, available) for line in found]


def shortened(text: str, size: float, available: float, bold: bool = False) -> str:
    """The beginning of a text, as much as fits, and an ellipsis if that is not all."""
    if width(text, size, bold) <= available:
        return text
    while text and width(text + ELLIPSIS, size, bold) > available:
        text = text[:-1]
    return text.rstrip() + ELLIPSIS


def _relative_width(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in ("W", "F"):
        return 1.0
    if character in NARROW:
        return 0.38
    if character in WIDE:
        return 0.95
    return 0.69 if character.isupper() else 0.61
