"""Numbers, names and units as people read them; nothing that is shown can do more than be shown."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NONE = "–"
"""Where there is no number."""

HIGHER_IS_BETTER = frozenset({"forces_cosine", "within_threshold"})
"""The metrics that are no errors."""

_UNITS = {"energy": "meV", "forces": "meV/Å", "zero_forces": "meV/Å", "stress": "meV/Å³"}
_WITHOUT_UNIT = re.compile(r"cosine|threshold|loss|r2")
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k"), (1.0, ""))
_TIMES = ((5400.0, "h"), (90.0, "min"), (1.0, "s"), (1e-3, "ms"), (0.0, "µs"))
_SIZES = {"k": 1e3, "h": 3600.0, "min": 60.0, "µs": 1e-6}


@dataclass(frozen=True, slots=True)
class Quantity:
    """How a metric is shown.

    Attributes:
        name: in results.
        label: in words.
        unit: in which it is shown; empty for none.
        factor: from the unit of results (eV, Å) to that one.
    """

    name: str
    label: str
    unit: str
    factor: float

    @property
    def heading(self) -> str:
        """Words and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def higher_is_better(self) -> bool:
        """Whether it is no error."""
        return self.name in HIGHER_IS_BETTER

    def show(self, value: float, digits: int = 4) -> str:
        """A value of results as a number in `unit`."""
        return number(value * self.factor, digits)

    def show_differences(self, values: Sequence[float]) -> tuple[str, ...]:
        """Differences as numbers in `unit` with signs, all with as many decimals as the largest needs."""
        known = [abs(value * self.factor) for value in values if value and math.isfinite(value)]
        largest = max(known, default=1.0)
        if not 1e-4 <= largest < 1e7:
            return tuple(number(value * self.factor, 3, signed=True) for value in values)
        decimals = max(0, 2 - math.floor(math.log10(largest)))
        return tuple(_signed(value * self.factor, decimals) for value in values)


def quantity(name: str) -> Quantity:
    """How a metric is shown: errors of energies, forces and stresses in meV, others as they are."""
    words = clean(name).replace("_", " ")
    label = re.sub(r"\b(mae|rmse)\b", lambda found: found.group().upper(), words)
    start = next((start for start in _UNITS if name.startswith(f"{start}_")), None)
    if start is None or _WITHOUT_UNIT.search(name):
        return Quantity(name, label, "", 1.0)
    return Quantity(name, label, _UNITS[start], 1e3)


def number(value: float, digits: int = 4, signed: bool = False) -> str:
    """So many significant digits, without an exponent if it can be read without one; − for minus."""
    if not math.isfinite(value):
        return NONE if math.isnan(value) else "∞" if value > 0 else "−∞"
    sign = "+" if signed and value > 0 else "−" if value < 0 else ""
    size = abs(value)
    if size == 0:
        return "0"
    if not 1e-4 <= size < 1e7:
        return f"{sign}{size:.{digits - 1}e}"
    return f"{sign}{size:,.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"


def _signed(value: float, decimals: int) -> str:
    if not math.isfinite(value):
        return number(value)
    shown = f"{abs(value):,.{decimals}f}"
    zero = not shown.strip("0.,")
    return shown if zero else f"{'−' if value < 0 else '+'}{shown}"


def scaled(largest: float, unit: str) -> tuple[float, str]:
    """The unit in which values up to `largest` are shown, and how much of `unit` it is.

    Args:
        largest: of the values, in `unit`.
        unit: `s`, or one that takes prefixes (none for a number).
    """
    steps = _TIMES if unit == "s" else tuple((size, prefix + unit) for size, prefix in _PREFIXES)
    least, name = next((step for step in steps if largest >= step[0]), steps[-1])
    return _SIZES.get(name if unit == "s" else name.removesuffix(unit), least), name


def probability(value: float | None) -> str:
    """A p-value."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def percent(value: float) -> str:
    """A relative change, with its sign."""
    return NONE if math.isnan(value) else f"{number(100 * value, 3 if abs(value) >= 0.1 else 2, signed=True)} %"


def plain(value: Any, limit: int = 200) -> str:
    """Data as one line of JSON; text as it is."""
    if value is None:
        return NONE
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return clean(shown, limit)


def clean(value: str, limit: int = 200) -> str:
    """Text as one line, what is invisible or cannot be encoded written as an escape, cut when it is too long."""
    return _cut(" ".join(_visible(value).split()), limit)


def clean_lines(value: str, limit: int = 4000) -> str:
    """The same line by line; what is cut is said."""
    kept = "\n".join(_visible(line).rstrip() for line in value.expandtabs(4).splitlines())
    return kept if len(kept) <= limit else f"{kept[:limit]}\n… ({len(kept) - limit:,} more characters)"


def _visible(value: str) -> str:
    # Cc, Cf: controls, such as those that turn the direction of text; Cs: half of a character; Zl, Zp: ends of lines
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    spaced = re.sub(r"[\t\n\r\v\f]", " ", value)
    return "".join(one if unicodedata.category(one) not in hidden else f"\\u{ord(one):04x}" for one in spaced)


def _cut(value: str, limit: int) -> str:
    return value if len(value) <= limit else f"{value[: limit - 1]}…"
