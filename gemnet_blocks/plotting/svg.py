"""Shapes as the text of an SVG file, which follows the screen's light or dark mode."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from gemnet_blocks.plotting.canvas import Box, Canvas, Dot, Label, Line, Shape, arrow_head
from gemnet_blocks.plotting.styles import FONT, STYLES, Style

SCOPE = "gemnet-blocks"
"""The class of the whole drawing, so that its styles change nothing else on a page that contains it."""


def svg_text(canvas: Canvas) -> str:
    """The content of an SVG file; the same for the same shapes.

    It is as wide as there is room for, up to one and a half times its size, which is for a phone.
    """
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
    """The rule of what is filled in a line's colour."""
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
