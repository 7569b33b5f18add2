"""Drawings as SVG that are the same every time, in colors that a page can change."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gemnet_blocks.ablation.report.formatting import clean
from gemnet_blocks.profile_plot import require_matplotlib

WIDTH = 4.4
"""Of all figures, in inches: text of 9 points can be read on a telephone."""

# Okabe and Ito's colors, which people with any color vision tell apart; each is also told by a shape. Every color is
# used for one purpose only, so that a page can put its own in place.
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
"""The names of these colors in a page."""

_SETTINGS: Any = {
    "svg.fonttype": "path",  # the same look without the fonts
    "svg.hashsalt": "gemnet_blocks",  # the same names of parts every time
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
    """What a function draws on a figure, as SVG without a background.

    Args:
        draw: is given the figure.
        height: of the figure, in inches.
        width: of the figure, in inches.

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
    """A drawing as a part of a page: without header, with names of its own and the page's colors.

    Args:
        svg: as `drawn` makes it.
        name: of letters, one for each drawing of the page.
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
    """A drawing as a file of its own: on white, whatever it is shown on."""
    start = svg.index(">", svg.index("<svg")) + 1
    return f'{svg[:start]}\n <rect width="100%" height="100%" fill="{PAPER}"/>{svg[start:]}'


def wrapped(name: str, width: int, lines: int = 3) -> str:
    """A name on a few lines of at most so many characters."""
    found = textwrap.wrap(clean(name), width, break_long_words=True) or [""]
    return "\n".join(found if len(found) <= lines else [*found[: lines - 1], f"{found[lines - 1][: width - 1]}…"])


@contextmanager
def _settings() -> Iterator[None]:
    import matplotlib

    with warnings.catch_warnings(), matplotlib.rc_context():
        # a user's own settings must not change a report; letters that the font lacks become boxes
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing.*")
        yield
