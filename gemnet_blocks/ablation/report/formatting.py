"""Formatting of numbers, units, names and drawings for reports."""

from __future__ import annotations

import io
import json
import math
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gemnet_blocks.plotting.picture import require_matplotlib

NONE = "–"
"""Placeholder for a missing number."""

HIGHER_IS_BETTER = frozenset({"forces_cosine", "within_threshold"})
"""The metrics that are scores and not errors."""

_UNITS = {"energy": "meV", "forces": "meV/Å", "zero_forces": "meV/Å", "stress": "meV/Å³"}
_WITHOUT_UNIT = re.compile(r"cosine|threshold|loss|r2")
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k"), (1.0, ""))
_TIMES = ((5400.0, "h"), (90.0, "min"), (1.0, "s"), (1e-3, "ms"), (0.0, "µs"))
_SIZES = {"k": 1e3, "h": 3600.0, "min": 60.0, "µs": 1e-6}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A metric with its label and unit for display.

    Attributes:
        name: name in results.
        label: name in words.
        unit: display unit; empty for dimensionless metrics.
        factor: conversion factor from the unit of results (eV, Å) to the display unit.
    """

    name: str
    label: str
    unit: str
    factor: float

    @property
    def heading(self) -> str:
        """The label with the unit in parentheses."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def higher_is_better(self) -> bool:
        """True for scores such as a cosine, False for errors."""
        return self.name in HIGHER_IS_BETTER

    def show(self, value: float, digits: int = 4) -> str:
        """Format a value of results in `unit`."""
        return number(value * self.factor, digits)

    def show_differences(self, values: Sequence[float]) -> tuple[str, ...]:
        """Format differences in `unit` with signs; all have as many decimals as the largest needs."""
        known = [abs(value * self.factor) for value in values if value and math.isfinite(value)]
        largest = max(known, default=1.0)
        if not 1e-4 <= largest < 1e7:
            return tuple(number(value * self.factor, 3, signed=True) for value in values)
        decimals = max(0, 2 - math.floor(math.log10(largest)))
        return tuple(_signed(value * self.factor, decimals) for value in values)


def quantity(name: str) -> Quantity:
    """Return the display form of a metric: meV for errors of energies, forces and stresses, no unit for others."""
    words = clean(name).replace("_", " ")
    label = re.sub(r"\b(mae|rmse)\b", lambda found: found.group().upper(), words)
    start = next((start for start in _UNITS if name.startswith(f"{start}_")), None)
    if start is None or _WITHOUT_UNIT.search(name):
        return Quantity(name, label, "", 1.0)
    return Quantity(name, label, _UNITS[start], 1e3)


def number(value: float, digits: int = 4, signed: bool = False) -> str:
    """Format a number with a number of significant digits, and with an exponent only if it is very large or small."""
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
    """Choose a unit for values up to `largest`; return its size in the given unit and its name.

    Args:
        largest: the largest value, in `unit`.
        unit: `s`, a unit that takes SI prefixes, or the empty string for a count.
    """
    steps = _TIMES if unit == "s" else tuple((size, prefix + unit) for size, prefix in _PREFIXES)
    least, name = next((step for step in steps if largest >= step[0]), steps[-1])
    return _SIZES.get(name if unit == "s" else name.removesuffix(unit), least), name


def probability(value: float | None) -> str:
    """Format a p-value."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def percent(value: float) -> str:
    """Format a relative change as a percentage with its sign."""
    return NONE if math.isnan(value) else f"{number(100 * value, 3 if abs(value) >= 0.1 else 2, signed=True)} %"


def plain(value: Any, limit: int = 200) -> str:
    """Format data as one line of JSON, and text without quotes."""
    if value is None:
        return NONE
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return clean(shown, limit)


def clean(value: str, limit: int = 200) -> str:
    """Put text on one line, escape invisible and unencodable characters, and truncate it to `limit` characters."""
    text = " ".join(_visible(value).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def clean_lines(value: str, limit: int = 4000) -> str:
    """Clean text line by line; a truncated text ends with the number of characters left out."""
    kept = "\n".join(_visible(line).rstrip() for line in value.expandtabs(4).splitlines())
    return kept if len(kept) <= limit else f"{kept[:limit]}\n… ({len(kept) - limit:,} more characters)"


def _visible(value: str) -> str:
    # Cc, Cf: controls, such as those that change the text direction; Cs: lone surrogates; Zl, Zp: line separators
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    spaced = re.sub(r"[\t\n\r\v\f]", " ", value)
    return "".join(one if unicodedata.category(one) not in hidden else f"\\u{ord(one):04x}" for one in spaced)


WIDTH = 4.4
"""Width of figures in inches: text of 9 points stays readable on a phone."""

# The palette of Okabe and Ito is safe for color-blind readers, and shapes repeat what colors say. Every color has one
# purpose only, so that a page can replace it by its own.
INK, FAINT, GRID, PAPER = "#1b1f24", "#6e7781", "#d0d7de", "#fefefe"
WORSE, BETTER, UNSURE, ACCENT = "#d55e00", "#0072b2", "#7f7f7f", "#0073b3"
VARIABLES = {
    INK: "--ink",
    FAINT: "--faint",
    GRID: "--line",
    PAPER: "--paper",
    WORSE: "--worse",
    BETTER: "--better",
    UNSURE: "--unsure",
    ACCENT: "--accent",
}
"""The CSS variables of a page that replace these colors."""

_SETTINGS: Any = {
    "svg.fonttype": "path",  # independent of installed fonts
    "svg.hashsalt": "gemnet_blocks",  # reproducible element ids
    "text.parse_math": False,  # names may contain a $
    "axes.unicode_minus": True,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.solid_capstyle": "butt",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def drawn(draw: Callable[[Any], None], height: float, width: float = WIDTH) -> str:
    """Draw a matplotlib figure and return it as SVG with a transparent background.

    Args:
        draw: function that draws on the figure that it is given.
        height: height of the figure in inches.
        width: width of the figure in inches.

    Raises:
        ImportError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with _settings():
        figure = Figure(figsize=(width, height), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        draw(figure)
        written = io.StringIO()
        canvas.print_svg(written, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return written.getvalue()


def inline(svg: str, name: str) -> str:
    """Prepare an SVG for embedding in a page: without header, with unique ids and the page's colors.

    Args:
        svg: the drawing, from `drawn`.
        name: prefix of the ids, different for each drawing of the page.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", body)
    body = re.sub(r' (width|height)="[\d.]+pt"', "", body, count=2)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = body.replace("url(#", f"url(#{name}-")
    for color, variable in VARIABLES.items():
        body = re.sub(rf"{color}\b", f"var({variable})", body, flags=re.IGNORECASE)
    return re.sub(r"\n\s*\n", "\n", body).strip()


def on_paper(svg: str) -> str:
    """Prepare an SVG for a separate file: with a white background."""
    start = svg.index(">", svg.index("<svg")) + 1
    return f'{svg[:start]}\n <rect width="100%" height="100%" fill="{PAPER}"/>{svg[start:]}'


def wrapped(name: str, width: int, lines: int = 3) -> str:
    """Wrap a name into at most `lines` lines of at most `width` characters."""
    found = textwrap.wrap(clean(name), width, break_long_words=True) or [""]
    return "\n".join(found if len(found) <= lines else [*found[: lines - 1], f"{found[lines - 1][: width - 1]}…"])


@contextmanager
def _settings() -> Iterator[None]:
    import matplotlib

    with warnings.catch_warnings(), matplotlib.rc_context():
        # the user's matplotlib settings must not change a report; characters that the font lacks become boxes
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing.*")
        yield
