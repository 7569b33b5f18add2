"""A picture of where a model's time and memory go."""

from __future__ import annotations

from pathlib import Path

from gemnet_blocks.model.profiler import Profile
from gemnet_blocks.util.files import replacing


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
