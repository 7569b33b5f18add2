"""Where everything of a drawn architecture is: a column of boxes, with wires on both sides of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gemnet_blocks.plotting.architecture import Node
from gemnet_blocks.plotting.canvas import Box, Canvas, Dot, Label, Line, Shape
from gemnet_blocks.plotting.difference import Mark
from gemnet_blocks.plotting.styles import DETAIL, STYLES, TITLE, WIRES
from gemnet_blocks.plotting.text import shortened, width, wrapped
from gemnet_blocks.plotting.wiring import Side, Wire, wires

BOX_WIDTH = 350.0
"""Of the column of boxes, so that all of it fits a phone's screen."""

MARGIN, PADDING, GAP, LANE = 12.0, 10.0, 8.0, 9.0
LINE_HEIGHT, HEADING_HEIGHT = 16.0, 24.0
STUB = 9.0
"""Least distance between wires that meet a box, in pixels."""

LABEL_HEIGHT = 17.0


@dataclass(frozen=True, slots=True)
class Content:
    """The text of a drawing.

    Attributes:
        title: above everything.
        introduction: lines below it.
        nodes: from top to bottom.
        headings: by section; none where two sections belong together.
        marks: by node.
        notes: a line of text for each node that has one, in the style of its mark.
        block_mark: that of the number of blocks.
        closing: lines of text at the end; the first is their heading.
    """

    title: str
    introduction: tuple[str, ...]
    nodes: tuple[Node, ...]
    headings: Mapping[str, str]
    marks: Mapping[str, Mark]
    notes: Mapping[str, str]
    block_mark: Mark | None = None
    closing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """The box of one node."""

    node: Node
    box: Box
    lines: tuple[Label, ...]
    mark: Mark | None


def lay_out(content: Content) -> Canvas:
    """Find a place for everything."""
    layout = _Layout(content)
    shapes = tuple(layout.shapes())
    return Canvas(layout.width, layout.height, content.title, "; ".join(content.introduction), shapes)


class _Layout:
    def __init__(self, content: Content) -> None:
        self.content = content
        self.wires = wires(content.nodes, len(WIRES))
        self.left, self.right = (
            MARGIN + LANE * (1 + max((wire.lane + 1 for wire in self.wires if wire.side == side), default=0))
            for side in ("left", "right")
        )
        self.width = self.left + BOX_WIDTH + self.right
        self.y = MARGIN
        self.height = 0.0

    def shapes(self) -> Iterator[Shape]:
        available = self.width - 2 * MARGIN
        text = [*self._lines([self.content.title], "headline", available, 2), *self._introduction(available)]
        self.y += PADDING
        rows: list[Row] = []
        headings: list[Shape] = []
        frame: list[float] = []
        section = None
        for number, node in enumerate(self.content.nodes):
            if node.section != section:
                section = node.section
                if frame and len(frame) == 1:
                    frame.append(self.y - GAP / 2)
                    self.y += GAP / 2
                if section == "block":
                    self.y += GAP / 2
                    frame.append(self.y)
                headings += self._heading(section)
            rows.append(self._row(number, node))
        text += headings
        if len(frame) == 1:
            frame.append(self.y - GAP / 2)
        closing = list(self._closing(available))
        self.height = self.y + MARGIN
        if frame:
            yield Box(self.left - 5, frame[0], BOX_WIDTH + 10, frame[1] - frame[0], "frame", 8)
        yield from self._wire_shapes(rows)
        for row in rows:
            yield row.box
            yield from row.lines
            if row.mark is not None:
                yield from self._mark(row.mark, row.box.x + row.box.width - 8, row.box.y)
        yield from text
        yield from closing

    def _introduction(self, available: float) -> Iterator[Shape]:
        for line in self.content.introduction:
            yield from self._lines([line], "detail", available, 3)

    def _lines(self, texts: Sequence[str], style: str, available: float, most: int) -> Iterator[Label]:
        size = STYLES[style].size
        scale = 1.1 if STYLES[style].bold else 1.0
        for text in texts:
            for line in wrapped(text, scale * size, available, most):
                self.y += 1.3 * size
                yield Label(MARGIN, self.y - 0.3 * size, line, style)

    def _heading(self, section: str) -> Iterator[Shape]:
        heading = self.content.headings.get(section)
        if heading is None:
            return
        mark = self.content.block_mark if section == "block" else None
        self.y += HEADING_HEIGHT
        style = f"{mark} label" if mark else "heading"
        text = shortened(f"{heading} ({mark})" if mark else heading, STYLES[style].size, BOX_WIDTH, bold=True)
        yield Label(self.left + 2, self.y - 6, text, style)

    def _row(self, number: int, node: Node) -> Row:
        mark = self.content.marks.get(node.key)
        x, inner = self.left + PADDING, BOX_WIDTH - 2 * PADDING
        self.y += LABEL_HEIGHT / 2 if mark else 0
        top = self.y
        count = f"{node.parameters:,}" if node.parameters else ""
        reserved = width(count, DETAIL) + PADDING if count else 0.0
        baseline = top + (LABEL_HEIGHT / 2 if mark else 0) + 18
        title = shortened(node.title, TITLE, inner - reserved, bold=True)
        lines = [Label(x, baseline, title, "title")]
        if count:
            lines.append(Label(x + inner, baseline, count, "detail", "end"))
        details = " · ".join(filter(None, node.details))
        after_title = inner - reserved - width(title, TITLE, bold=True) - PADDING
        if details and width(details, DETAIL) <= after_title:
            lines.append(Label(x + width(title, TITLE, bold=True) + PADDING, baseline, details, "detail"))
        elif details:
            for line in wrapped(details, DETAIL, inner):
                baseline += LINE_HEIGHT
                lines.append(Label(x, baseline, line, "detail"))
        if note := self.content.notes.get(node.key):
            for line in wrapped(note, DETAIL, inner):
                baseline += LINE_HEIGHT
                lines.append(Label(x, baseline, line, f"{mark} note"))
        height = max(baseline + 9 - top, *(STUB * (self._met(number, side) + 1) for side in ("left", "right")))
        self.y = top + height + GAP
        style = mark or ("node" if node.used else "unused")
        return Row(node, Box(self.left, top, BOX_WIDTH, height, style), tuple(lines), mark)

    def _met(self, number: int, side: str) -> int:
        """How many wires meet a box."""
        met = [wire for wire in self.wires if wire.side == side]
        return sum((number in wire.readers) + (number in wire.writers) for wire in met)

    def _mark(self, mark: Mark, right: float, middle: float) -> Iterator[Shape]:
        length = width(mark, DETAIL, bold=True) + 12
        yield Box(right - length, middle - LABEL_HEIGHT / 2, length, LABEL_HEIGHT, f"{mark} mark", LABEL_HEIGHT / 2)
        yield Label(right - length / 2, middle + 4, mark, f"{mark} label", "middle")

    def _closing(self, available: float) -> Iterator[Shape]:
        if self.content.closing:
            self.y += GAP
            yield from self._lines(self.content.closing[:1], "heading", available, 1)
            self.y += GAP / 2
            for text in self.content.closing[1:]:
                yield from self._lines([text], "text", available, 4)

    def _wire_shapes(self, rows: Sequence[Row]) -> Iterator[Shape]:
        for wire in sorted(self.wires, key=lambda wire: -wire.lane):
            yield from self._wire(wire, rows)

    def _lane(self, wire: Wire) -> float:
        offset = LANE * (wire.lane + 1.5)
        return self.left - offset if wire.side == "left" else self.left + BOX_WIDTH + offset

    def _wire(self, wire: Wire, rows: Sequence[Row]) -> Iterator[Shape]:
        gone = any(all(rows[end].mark == "removed" for end in ends) for ends in (wire.writers, wire.readers))
        lane, style = self._lane(wire), "wire removed" if gone else f"wire {wire.color}"
        edge = self.left if wire.side == "left" else self.left + BOX_WIDTH
        stubs = [(number, True) for number in wire.readers] + [(number, False) for number in wire.writers]
        places = {stub: self._stub(wire, *stub, rows[stub[0]]) for stub in stubs}
        yield Line((lane, min(places.values())), (lane, max(places.values())), style)
        first = places[wire.writers[0], False]
        for (number, reads), y in sorted(places.items(), key=lambda place: place[1]):
            of_removed = rows[number].mark == "removed"
            own = "wire removed" if of_removed else style
            if reads:
                yield Line((lane, y), (edge, y), own, arrow=True)
                yield Dot(lane, y, style)
            else:
                yield Line((edge, y), (lane, y), own, arrow=y != first)

    def _stub(self, wire: Wire, number: int, reads: bool, row: Row) -> float:
        """The height at which a wire meets a box: what is read above what is written, the nearest lane first."""
        side: Side = wire.side
        met = sorted(
            (0 if reading else 1, other.lane, other.name)
            for other in self.wires
            if other.side == side
            for reading in (True, False)
            if number in (other.readers if reading else other.writers)
        )
        place = met.index((0 if reads else 1, wire.lane, wire.name))
        return row.box.y + row.box.height * (place + 1) / (len(met) + 1)
