"""Pictures that drawing functions return: notebooks display them, and they can be saved."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from os import PathLike
from pathlib import Path
from typing import Any, Literal, cast, final, get_args

from gemnet_blocks.errors import SpecError
from gemnet_blocks.model.profiler import Profile
from gemnet_blocks.util.files import replacing

Format = Literal["svg", "png", "pdf"]
"""File formats of pictures."""

DOTS_PER_INCH, ON_SCREEN = 150, 90
"""Resolution of raster images in files and in notebooks."""


def format_of(path: str | PathLike[str]) -> Format:
    """Return the format of a file by its suffix.

    Raises:
        SpecError: the suffix is unknown, or the folder does not exist.
    """
    path = Path(path)
    ending = path.suffix.lower().removeprefix(".")
    if ending not in get_args(Format):
        raise SpecError(f"{path}: expected a file that ends in .svg, .png or .pdf")
    if path.is_dir() or not path.parent.is_dir():
        raise SpecError(f"{path}: cannot be written: choose a file in a folder that exists")
    return cast("Format", ending)


class Picture(ABC):
    """Base class of pictures."""

    @abstractmethod
    def content(self, format: Format) -> bytes:
        """Return the content of a file, which is identical for identical pictures.

        Raises:
            ImportError: the format needs matplotlib, which is not installed.
        """

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the picture to a file in the format of its suffix: .svg, .png or .pdf.

        Raises:
            SpecError: the suffix is unknown, or the folder does not exist.
            ImportError: the format needs matplotlib, which is not installed.
        """
        content = self.content(format_of(path))
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        return Path(path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: display it at the end of a notebook cell, or call save(path)>"


@final
class FigurePicture(Picture):
    """Picture of a matplotlib figure.

    Args:
        figure: figure that was created without pyplot, for example by `new_figure`.
    """

    def __init__(self, figure: Any) -> None:
        self.figure = figure
        if figure.get_layout_engine() is not None:  # fix the layout, which every drawing would change slightly
            figure.draw_without_rendering()
            figure.set_layout_engine("none")

    def content(self, format: Format) -> bytes:
        return self._content(format, DOTS_PER_INCH)

    def _content(self, format: Format, dots_per_inch: int) -> bytes:
        import matplotlib

        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[format]
        buffer = io.BytesIO()
        with matplotlib.rc_context({"svg.hashsalt": "gemnet_blocks"}):
            self.figure.savefig(buffer, format=format, dpi=dots_per_inch, metadata=undated)
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self._content("png", ON_SCREEN)


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Any:
    """Create an empty matplotlib figure with a size in inches, without opening a window.

    Raises:
        ImportError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def plain(text: str) -> str:
    """Escape dollar signs, which start formulas in matplotlib."""
    return text.replace("$", r"\$")


def tidy(axes: Any) -> None:
    """Remove the upper and right borders of a panel, and set the size of its tick labels."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def require_matplotlib() -> None:
    """Check that matplotlib is installed.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("plots need the package matplotlib: pip install 'gemnet_blocks[plot]'") from error
    del matplotlib


def plot_profile(profile: Profile, path: Path) -> None:
    """Draw the time and memory of each part of a model as bars.

    Args:
        profile: profile of the model.
        path: file to write, in the format of its suffix.

    Raises:
        ImportError: matplotlib is not installed.
    """
    parts = profile.parts
    names = [part.name for part in parts]
    figure = new_figure(10, 1.6 + 0.28 * len(parts))
    time_axes, memory_axes = figure.subplots(1, 2, sharey=True)
    seconds = [part.seconds for part in parts]
    megabytes = [part.held_bytes / 1e6 for part in parts]
    for axes, values, color, unit, total in (
        (time_axes, seconds, "tab:blue", "s", f"time: {profile.seconds:.3g} s"),
        (memory_axes, megabytes, "tab:orange", "MB", f"peak memory: {profile.peak_bytes / 1e6:,.0f} MB"),
    ):
        bars = axes.barh(names, values, color=color)
        axes.bar_label(bars, [_label(value, sum(values)) for value in values], padding=3, fontsize=8)
        axes.set_xlabel(unit)
        axes.set_title(total, fontsize=11)
        axes.margins(x=0.15, y=0.02)
        axes.spines[["top", "right"]].set_visible(False)
    time_axes.invert_yaxis()
    FigurePicture(figure).save(path)


def _label(value: float, total: float) -> str:
    """Format a value with three digits; bars that are too short to see have no label."""
    if value <= 1e-3 * total:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
