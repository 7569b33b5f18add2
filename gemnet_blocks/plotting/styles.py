"""Colours and fonts of drawings, on light and dark screens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Style:
    """How a shape looks.

    Attributes:
        fill: its colour on light and on dark screens; None for none.
        stroke: the colour of its line, likewise.
        line_width: in pixels.
        dashed: whether its line is dashed.
        size: of text, in pixels; 0 for what is no text.
        bold: whether text is.
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
"""Colours of wires, in turn; each stands out from the background by a contrast of 4.5 or more."""

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
    "removed mark": Style(fill=BACKGROUND, stroke=REMOVED, line_width=1.5),
    "added mark": Style(fill=BACKGROUND, stroke=ADDED, line_width=1.5),
    "changed mark": Style(fill=BACKGROUND, stroke=CHANGED, line_width=1.5),
    "resized mark": Style(fill=BACKGROUND, stroke=CHANGED, line_width=1.5),
    "removed note": Style(fill=REMOVED, size=DETAIL),
    "changed note": Style(fill=CHANGED, size=DETAIL),
    "resized note": Style(fill=CHANGED, size=DETAIL),
    "removed label": Style(fill=REMOVED, size=DETAIL, bold=True),
    "added label": Style(fill=ADDED, size=DETAIL, bold=True),
    "changed label": Style(fill=CHANGED, size=DETAIL, bold=True),
    "resized label": Style(fill=CHANGED, size=DETAIL, bold=True),
    "wire removed": Style(stroke=REMOVED, line_width=1.5, dashed=True),
    **{f"wire {number}": Style(stroke=color, line_width=1.5) for number, color in enumerate(WIRES)},
}
"""Every style by name."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
