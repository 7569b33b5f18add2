"""What every drawing function returns: something that a notebook shows and that can be saved."""

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
"""What pictures can be written as."""

DOTS_PER_INCH, ON_SCREEN = 150, 90
"""Resolution of pictures made of pixels, in files and in notebooks, which should stay small."""


def format_of(path: str | PathLike[str]) -> Format:
    """The format that a file's ending says.

    Raises:
        SpecError: it says none, or the folder does not exist.
    """
    path = Path(path)
    ending = path.suffix.lower().removeprefix(".")
    if ending not in get_args(Format):
        raise SpecError(f"{path}: pictures are written as .svg, .png or .pdf: give the file one of these endings")
    if path.is_dir() or not path.parent.is_dir():
        raise SpecError(f"{path}: cannot be written: give a file in a folder that exists")
    return cast("Format", ending)


class Picture(ABC):
    """A picture."""

    @abstractmethod
    def content(self, format: Format) -> bytes:
        """The content of a file of that format; the same for the same picture.

        Raises:
            ImportError: matplotlib is needed and not installed.
        """

    def save(self, path: str | PathLike[str]) -> Path:
        """Write a file, whose ending says the format: .svg, .png or .pdf. It is written as a whole or not at all.

        Raises:
            SpecError: the ending is another one, or the folder does not exist.
            ImportError: matplotlib is needed and not installed.
        """
        content = self.content(format_of(path))
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        return Path(path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: show it as the last line of a notebook cell, or save(path) it>"


@final
class FigurePicture(Picture):
    """A matplotlib figure.

    Args:
        figure: made without pyplot, so that nothing keeps it but this picture.
    """

    def __init__(self, figure: Any) -> None:
        self.figure = figure
        if figure.get_layout_engine() is not None:  # once, as every drawing would move everything a little further
            figure.draw_without_rendering()
            figure.set_layout_engine("none")

    def content(self, format: Format) -> bytes:
        """The content of a file of that format."""
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


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure of a size in inches that no screen shows.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from gemnet_blocks.plotting.picture import require_matplotlib

    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # draws to files, whatever the screen
    return figure


def require_matplotlib() -> None:
    """Check that plots can be drawn.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("plots need the package matplotlib: pip install 'gemnet_blocks[plot]'") from error
    del matplotlib


def plot_profile(profile: Profile, path: Path) -> None:
    """Draw seconds and memory of each part as bars, the first part on top.

    Args:
        profile: what was measured.
        path: the picture to write; its ending says the format.

    Raises:
        ImportError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts = profile.parts
    names = [part.name for part in parts]
    figure = Figure(figsize=(10, 1.6 + 0.28 * len(parts)), layout="constrained")
    FigureCanvasAgg(figure)  # draws to files, whatever the screen
    time_axes, memory_axes = figure.subplots(1, 2, sharey=True)
    seconds = [part.seconds for part in parts]
    megabytes = [part.held_bytes / 1e6 for part in parts]
    for axes, values, color, unit, total in (
        (time_axes, seconds, "tab:blue", "s", f"time: {profile.seconds:.3g} s"),
        (memory_axes, megabytes, "tab:orange", "MB", f"memory at its peak: {profile.peak_bytes / 1e6:,.0f} MB"),
    ):
        bars = axes.barh(names, values, color=color)
        axes.bar_label(bars, [_label(value, sum(values)) for value in values], padding=3, fontsize=8)
        axes.set_xlabel(unit)
        axes.set_title(total, fontsize=11)
        axes.margins(x=0.15, y=0.02)
        axes.spines[["top", "right"]].set_visible(False)
    time_axes.invert_yaxis()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _label(value: float, total: float) -> str:
    """Three digits; nothing for what cannot be seen."""
    if value <= 1e-3 * total:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
