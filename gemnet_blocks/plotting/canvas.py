"""Lines, boxes and text at places in pixels, from which any kind of file is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Anchor = Literal["start", "end", "middle"]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with round corners.

    Attributes:
        x: its left side.
        y: its upper side.
        width: to the right.
        height: downwards.
        style: the name of its style.
        radius: of the corners.
    """

    x: float
    y: float
    width: float
    height: float
    style: str
    radius: float = 5.0


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line.

    Attributes:
        start: (x, y).
        end: (x, y).
        style: the name of its style.
        arrow: whether it ends in an arrow head.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    style: str
    arrow: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """A small disk.

    Attributes:
        x: its centre.
        y: its centre.
        style: the name of its style.
        radius: of the disk.
    """

    x: float
    y: float
    style: str
    radius: float = 2.6


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text.

    Attributes:
        x: where it starts, ends, or has its middle.
        y: of the line that letters stand on.
        text: without control characters.
        style: the name of its style.
        anchor: what is at x.
    """

    x: float
    y: float
    text: str
    style: str
    anchor: Anchor = "start"


Shape = Box | Line | Dot | Label


@dataclass(frozen=True, slots=True)
class Canvas:
    """All shapes of a drawing, the ones behind first.

    Attributes:
        width: in pixels.
        height: in pixels.
        title: of the drawing, for those who cannot see it.
        description: likewise.
        shapes: what is drawn.
    """

    width: float
    height: float
    title: str
    description: str
    shapes: tuple[Shape, ...]


ARROW_LENGTH, ARROW_WIDTH = 5.5, 5.0


def arrow_head(line: Line) -> tuple[tuple[float, float], ...]:
    """The corners of the arrow head of a line that is horizontal or vertical."""
    (x0, y0), (x, y) = line.start, line.end
    along_x, along_y = (x > x0) - (x < x0), (y > y0) - (y < y0)
    back_x, back_y = x - ARROW_LENGTH * along_x, y - ARROW_LENGTH * along_y
    side_x, side_y = ARROW_WIDTH / 2 * along_y, ARROW_WIDTH / 2 * along_x
    return (x, y), (back_x + side_x, back_y + side_y), (back_x - side_x, back_y - side_y)
