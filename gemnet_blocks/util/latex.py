"""Text in LaTeX documents."""

from __future__ import annotations

import re
from collections.abc import Mapping

_WORDS: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "^": r"\^{}",
    "~": r"\~{}",
    "Å": r"\AA{}",
    "φ": r"$\varphi$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "≈": r"$\approx$",
    "≤": r"$\leq$",
    "<": r"$<$",
    ">": r"$>$",
    "∞": r"$\infty$",
    "⚑": r"$\ast$",
    "µ": r"\textmu{}",
    "³": r"$^3$",
    "–": "--",
    "…": r"\ldots{}",
}


def escaped(text: str) -> str:
    """Escape the characters of plain text that LaTeX interprets, and replace symbols that its fonts lack."""
    return re.sub(r"[\\&%$#_{}~^Åφ±×−≈≤<>∞⚑µ³–…]", lambda found: _WORDS.get(found[0], "\\" + found[0]), text)
