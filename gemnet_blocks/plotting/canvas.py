"""Shapes and text with positions in pixels, and their conversion to SVG and to matplotlib figures."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

from gemnet_blocks.plotting.picture import FigurePicture, new_figure

Anchor = Literal["start", "end", "middle"]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with round corners and the upper left corner (x, y)."""

    x: float
    y: float
    width: float
    height: float
    style: str
    radius: float = 5.0


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line between two points (x, y), optionally with an arrow head at its end."""

    start: tuple[float, float]
    end: tuple[float, float]
    style: str
    arrow: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """A small disk with the center (x, y)."""

    x: float
    y: float
    style: str
    radius: float = 2.6


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text without control characters; y is the baseline, and x the position of the anchor."""

    x: float
    y: float
    text: str
    style: str
    anchor: Anchor = "start"


Shape = Box | Line | Dot | Label


@dataclass(frozen=True, slots=True)
class Canvas:
    """A drawing: its size in pixels, title and description for screen readers, and shapes from back to front."""

    width: float
    height: float
    title: str
    description: str
    shapes: tuple[Shape, ...]


ARROW_LENGTH, ARROW_WIDTH = 5.5, 5.0


def arrow_head(line: Line) -> tuple[tuple[float, float], ...]:
    """Return the corners of the arrow head of a horizontal or vertical line."""
    (x0, y0), (x, y) = line.start, line.end
    along_x, along_y = (x > x0) - (x < x0), (y > y0) - (y < y0)
    back_x, back_y = x - ARROW_LENGTH * along_x, y - ARROW_LENGTH * along_y
    side_x, side_y = ARROW_WIDTH / 2 * along_y, ARROW_WIDTH / 2 * along_x
    return (x, y), (back_x + side_x, back_y + side_y), (back_x - side_x, back_y - side_y)


@dataclass(frozen=True, slots=True)
class Style:
    """The style of a shape; colors are pairs for light and dark screens, lengths are in pixels.

    `fill` is the color of areas and of text, `size` that of text, and `stroke` the color of lines.
    """

    fill: tuple[str, str] | None = None
    stroke: tuple[str, str] | None = None
    line_width: float = 1.0
    dashed: bool = False
    size: float = 0.0
    bold: bool = False


BACKGROUND = ("#ffffff", "#15191e")
INK, MUTED = ("#1b1f24", "#e8ecf1"), ("#57606a", "#a3adb8")
REMOVED, ADDED, CHANGED = ("#b3261e", "#ff9a90"), ("#116329", "#6fdd8b"), ("#8a4b00", "#f0b45a")
MARKS = {"removed": REMOVED, "added": ADDED, "changed": CHANGED, "resized": CHANGED}

WIRES = (
    ("#1f5fbf", "#7fb2ff"),
    ("#b4540a", "#f2a15c"),
    ("#1a7f45", "#63cf8e"),
    ("#8a3ffc", "#c3a0ff"),
    ("#b51963", "#ff8ec0"),
    ("#0b7a86", "#5fd0db"),
    ("#6b5b00", "#d8c552"),
    ("#5b6470", "#aab4c0"),
)
"""Colors of wires, used cyclically; their contrast to the background is at least 4.5."""

TITLE, DETAIL, HEADING = 14.0, 12.0, 12.0
"""Sizes of text in pixels."""

STYLES: dict[str, Style] = {
    "background": Style(fill=BACKGROUND),
    "node": Style(fill=("#f6f8fa", "#20262d"), stroke=("#8c959f", "#6b7683")),
    "unused": Style(fill=BACKGROUND, stroke=("#8c959f", "#6b7683"), dashed=True),
    "frame": Style(fill=("#eef3fb", "#1a222d"), stroke=("#8c959f", "#6b7683"), dashed=True),
    "headline": Style(fill=INK, size=16.0, bold=True),
    "heading": Style(fill=MUTED, size=HEADING, bold=True),
    "title": Style(fill=INK, size=TITLE, bold=True),
    "detail": Style(fill=MUTED, size=DETAIL),
    "text": Style(fill=INK, size=DETAIL),
    "removed": Style(fill=("#fdeeec", "#3a1c1c"), stroke=REMOVED, line_width=2.0, dashed=True),
    "added": Style(fill=("#eaf7ee", "#14301e"), stroke=ADDED, line_width=2.0),
    "changed": Style(fill=("#fff4e2", "#35280f"), stroke=CHANGED, line_width=2.0),
    "resized": Style(fill=("#f6f8fa", "#20262d"), stroke=CHANGED, line_width=1.5, dashed=True),
    **{f"{mark} mark": Style(fill=BACKGROUND, stroke=color, line_width=1.5) for mark, color in MARKS.items()},
    **{f"{mark} note": Style(fill=color, size=DETAIL) for mark, color in MARKS.items()},
    **{f"{mark} label": Style(fill=color, size=DETAIL, bold=True) for mark, color in MARKS.items()},
    "wire removed": Style(stroke=REMOVED, line_width=1.5, dashed=True),
    **{f"wire {number}": Style(stroke=color, line_width=1.5) for number, color in enumerate(WIRES)},
}
"""Styles by name."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"

PIXEL, POINT = 1 / 96, 1 / 72
"""Sizes of a pixel and of a point in inches."""

LIGHT = 0
"""Index of the colors for light screens, which figures use."""

NARROWER = 0.93
"""Scale of text in figures, since the font of matplotlib is wider than most fonts."""


def painted(canvas: Canvas) -> FigurePicture:
    """Convert a drawing to a matplotlib figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = new_figure(canvas.width * PIXEL, canvas.height * PIXEL, None)
    figure.set_facecolor(BACKGROUND[LIGHT])
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


SCOPE = "gemnet-blocks"
"""The CSS class of drawings, which confines their styles to them."""


def svg_text(canvas: Canvas) -> str:
    """Return the content of an SVG file, which is scaled to the available width up to a factor of 1.5."""
    width, height = _number(canvas.width), _number(canvas.height)
    used = {shape.style for shape in canvas.shapes} | {"background"}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{SCOPE}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" '
        f'style="display:block;width:100%;max-width:{_number(1.5 * canvas.width)}px;height:auto;margin:0 auto">',
        f"<title>{escape(canvas.title)}</title>",
        f"<desc>{escape(canvas.description)}</desc>",
        f"<style>{_css(sorted(used))}</style>",
        f'<rect class="background" width="{width}" height="{height}"/>',
        *(line for shape in canvas.shapes for line in _elements(shape)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _css(names: list[str]) -> str:
    light = [f".{SCOPE} text{{font-family:{FONT};stroke:none}}"]
    dark = []
    for name in names:
        style = STYLES[name]
        light.append(_rule(name, style, 0) + _rule_of_arrows(name, style, 0))
        dark.append(_rule(name, style, 1, colors_only=True) + _rule_of_arrows(name, style, 1))
    return "".join(light) + "@media (prefers-color-scheme:dark){" + "".join(dark) + "}"


def _class(name: str) -> str:
    return name.replace(" ", "-")


def _rule(name: str, style: Style, screen: int, colors_only: bool = False) -> str:
    parts = [f"fill:{style.fill[screen] if style.fill else 'none'}"]
    if style.stroke:
        parts.append(f"stroke:{style.stroke[screen]}")
    if not colors_only:
        if style.stroke:
            parts.append(f"stroke-width:{_number(style.line_width)}")
        if style.dashed:
            parts.append("stroke-dasharray:4 3")
        if style.size:
            parts.append(f"font-size:{_number(style.size)}px")
        if style.bold:
            parts.append("font-weight:bold")
    return f".{SCOPE} .{_class(name)}{{{';'.join(parts)}}}"


def _rule_of_arrows(name: str, style: Style, screen: int) -> str:
    """Return the rule of shapes that are filled in the color of the line."""
    if style.fill or not style.stroke:
        return ""
    return f".{SCOPE} .{_class(name)}-solid{{fill:{style.stroke[screen]}}}"


def _elements(shape: Shape) -> list[str]:
    if isinstance(shape, Box):
        size = f'width="{_number(shape.width)}" height="{_number(shape.height)}" rx="{_number(shape.radius)}"'
        return [f'<rect class="{_class(shape.style)}" x="{_number(shape.x)}" y="{_number(shape.y)}" {size}/>']
    if isinstance(shape, Dot):
        place = f'cx="{_number(shape.x)}" cy="{_number(shape.y)}" r="{_number(shape.radius)}"'
        return [f'<circle class="{_class(shape.style)}-solid" {place}/>']
    if isinstance(shape, Label):
        anchor = "" if shape.anchor == "start" else f" text-anchor={quoteattr(shape.anchor)}"
        place = f'x="{_number(shape.x)}" y="{_number(shape.y)}"{anchor}'
        return [f'<text class="{_class(shape.style)}" {place}>{escape(shape.text)}</text>']
    return _line(shape)


def _line(line: Line) -> list[str]:
    (x1, y1), (x2, y2) = line.start, line.end
    ends = f'x1="{_number(x1)}" y1="{_number(y1)}" x2="{_number(x2)}" y2="{_number(y2)}"'
    found = [f'<line class="{_class(line.style)}" {ends}/>']
    if line.arrow:
        corners = " ".join(f"{_number(x)},{_number(y)}" for x, y in arrow_head(line))
        found.append(f'<polygon class="{_class(line.style)}-solid" points="{corners}"/>')
    return found


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


NARROW, WIDE = frozenset("fijlrtI.,:;'!|()[]{} /-·"), frozenset("mwMW@%→←≤≥—")
"""Characters that are narrower or wider than others in all sans-serif fonts."""

ELLIPSIS = "…"


def clean(text: object) -> str:
    """Return text on one line without control characters, which files cannot contain."""
    printable = (" " if character.isspace() else character for character in str(text))
    kept = (character for character in printable if unicodedata.category(character)[0] != "C")
    return " ".join("".join(kept).split())


def width(text: str, size: float, bold: bool = False) -> float:
    """Estimate the width of text in the unit of its size."""
    return size * (1.1 if bold else 1.0) * sum(map(_relative_width, text))


def wrapped(text: str, size: float, available: float, lines: int = 3) -> list[str]:
    """Break text between words into lines of limited width; an ellipsis replaces text that does not fit."""
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
    """Shorten text to a width with an ellipsis."""
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
