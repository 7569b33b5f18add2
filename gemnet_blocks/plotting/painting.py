"""Shapes as a matplotlib figure, for files that are no SVG."""

from __future__ import annotations

from typing import Any

from gemnet_blocks.plotting.canvas import Box, Canvas, Dot, Label, Line, Shape, arrow_head
from gemnet_blocks.plotting.picture import FigurePicture
from gemnet_blocks.plotting.styles import BACKGROUND, STYLES, Style

PIXEL = 1 / 96
"""In inches."""

POINT = 1 / 72
"""In inches."""

LIGHT = 0
"""Which of a style's colours: paper is light."""

NARROWER = 0.93
"""The font that matplotlib brings is wider than most."""


def painted(canvas: Canvas) -> FigurePicture:
    """The drawing as a figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from gemnet_blocks.profile_plot import require_matplotlib

    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(canvas.width * PIXEL, canvas.height * PIXEL), facecolor=BACKGROUND[LIGHT])
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), frameon=False)
    axes.set(xlim=(0, canvas.width), ylim=(canvas.height, 0), xticks=[], yticks=[])
    for order, shape in enumerate(canvas.shapes):
        _paint(axes, shape, order + 1)
    return FigurePicture(figure)


def _look(style: Style) -> dict[str, Any]:
    return {
        "linewidth": style.line_width * PIXEL / POINT if style.stroke else 0,
        "linestyle": (0, (4, 3)) if style.dashed else "-",
    }


def _paint(axes: Any, shape: Shape, order: int) -> None:
    from matplotlib.patches import Circle, FancyBboxPatch, Polygon

    style = STYLES[shape.style]
    fill = style.fill[LIGHT] if style.fill else "none"
    stroke = style.stroke[LIGHT] if style.stroke else "none"
    if isinstance(shape, Box):
        corners = f"round,pad=0,rounding_size={min(shape.radius, shape.height / 2)}"
        box = FancyBboxPatch(
            (shape.x, shape.y), shape.width, shape.height, corners, fc=fill, ec=stroke, zorder=order, **_look(style)
        )
        axes.add_patch(box)
    elif isinstance(shape, Dot):
        axes.add_patch(Circle((shape.x, shape.y), shape.radius, color=stroke, linewidth=0, zorder=order))
    elif isinstance(shape, Line):
        (x1, y1), (x2, y2) = shape.start, shape.end
        axes.plot([x1, x2], [y1, y2], color=stroke, zorder=order, **_look(style))
        if shape.arrow:
            axes.add_patch(Polygon(arrow_head(shape), color=stroke, linewidth=0, zorder=order))
    else:
        _write(axes, shape, style, order)


def _write(axes: Any, label: Label, style: Style, order: int) -> None:
    axes.text(
        label.x,
        label.y,
        label.text,
        color=style.fill[LIGHT] if style.fill else "black",
        size=NARROWER * style.size * PIXEL / POINT,
        weight="bold" if style.bold else "normal",
        ha={"start": "left", "middle": "center", "end": "right"}[label.anchor],
        va="baseline",
        zorder=order,
        parse_math=False,  # a name may contain dollar signs
    )
