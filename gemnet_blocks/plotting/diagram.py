"""Drawing of an architecture as a column of boxes with wires on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from gemnet_blocks.plotting.architecture import ATOMS, EDGES, Architecture, Node, read_architecture
from gemnet_blocks.plotting.canvas import (
    DETAIL,
    STYLES,
    TITLE,
    WIRES,
    Box,
    Canvas,
    Dot,
    Label,
    Line,
    Shape,
    clean,
    painted,
    shortened,
    svg_text,
    width,
    wrapped,
)
from gemnet_blocks.plotting.difference import Difference, Mark, compare, difference
from gemnet_blocks.plotting.picture import Format, Picture
from gemnet_blocks.spec.resolve import Spec

Side = Literal["left", "right"]

RIGHT = frozenset((ATOMS, EDGES, "features", "numbers", "energy", "forces"))
"""Wires of embeddings and outputs, which run on the right; those of structures, edges and bases run on the left."""


@dataclass(slots=True)
class Wire:
    """A value that the nodes `writers` write and the nodes `readers` read; lane 0 is next to the boxes."""

    name: str
    color: int
    writers: list[int] = field(default_factory=list)
    readers: list[int] = field(default_factory=list)
    lane: int = 0

    @property
    def side(self) -> Side:
        """The side of the boxes on which the wire runs."""
        return "right" if self.name in RIGHT else "left"

    @property
    def first(self) -> int:
        """The index of the first node on the wire."""
        return min(self.writers + self.readers)

    @property
    def last(self) -> int:
        """The index of the last node on the wire."""
        return max(self.writers + self.readers)


def wires(nodes: Sequence[Node], colors: int) -> list[Wire]:
    """Return the wires between nodes, and distribute them over lanes with the shortest wires next to the boxes."""
    found: dict[str, Wire] = {}
    for number, node in enumerate(nodes):
        for name in dict.fromkeys(node.writes):
            found.setdefault(name, Wire(name, 0)).writers.append(number)
        for name in dict.fromkeys(node.reads):
            found.setdefault(name, Wire(name, 0)).readers.append(number)
    connected = [wire for wire in found.values() if wire.writers and wire.readers]
    for number, wire in enumerate(connected):
        wire.color = number % colors
    taken: dict[tuple[Side, int], list[Wire]] = {}
    for wire in sorted(connected, key=lambda wire: (wire.last - wire.first, wire.first)):
        while any(_meet(wire, other) for other in taken.get((wire.side, wire.lane), [])):
            wire.lane += 1
        taken.setdefault((wire.side, wire.lane), []).append(wire)
    return connected


def _meet(wire: Wire, other: Wire) -> bool:
    return wire.first <= other.last and other.first <= wire.last


BOX_WIDTH = 350.0
"""Width of the boxes, so that the drawing fits on the screen of a phone."""

MARGIN, PADDING, GAP, LANE = 12.0, 10.0, 8.0, 9.0
LINE_HEIGHT, HEADING_HEIGHT = 16.0, 24.0
STUB = 9.0
"""Minimum distance between wires at a box in pixels."""

LABEL_HEIGHT = 17.0


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a drawing: headings by section, marks and notes of changes by the key of the node.

    A section without a heading continues the previous one; the first closing line is a heading.
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
    """The box and the text of one node."""

    node: Node
    box: Box
    lines: tuple[Label, ...]
    mark: Mark | None


def lay_out(content: Content) -> Canvas:
    """Arrange the content on a canvas."""
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
        """Count the ends of wires at a box."""
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
            line_style = "wire removed" if of_removed else style
            if reads:
                yield Line((lane, y), (edge, y), line_style, arrow=True)
                yield Dot(lane, y, style)
            else:
                yield Line((edge, y), (lane, y), line_style, arrow=y != first)

    def _stub(self, wire: Wire, number: int, reads: bool, row: Row) -> float:
        """Return the height of a wire at a box: wires that are read are above, and near lanes come first."""
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


HASH_DIGITS = 12
CHANGES_AT_MOST = 60
"""Maximum number of changed fields in the list."""


@final
class DrawnArchitecture(Picture):
    """Picture of an architecture.

    Args:
        canvas: shapes of the drawing.
        changes: fields that differ from the other spec.
    """

    def __init__(self, canvas: Canvas, changes: tuple[str, ...] = ()) -> None:
        self.canvas = canvas
        self.changes = changes

    @property
    def svg(self) -> str:
        """The content of an SVG file."""
        return svg_text(self.canvas)

    def content(self, format: Format) -> bytes:
        return self.svg.encode() if format == "svg" else painted(self.canvas).content(format)

    def _repr_svg_(self) -> str:
        return self.svg


def draw_architecture(
    spec: Spec,
    against: Spec | None = None,
    *,
    title: str | None = None,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
) -> DrawnArchitecture:
    """Draw the data flow of the model of a spec, from structures at the top to energies and forces at the bottom.

    Args:
        spec: the architecture.
        against: another architecture; the drawing marks what `spec` removes, adds and changes.
        title: title of the drawing; None: a general title.
        extra: custom components, by the name that `type` gives them.
        allow_imports: import types such as `my_lab.blocks:GatedTriplet`, which runs their code; only for specs that
            you trust.

    Raises:
        SpecError: a model cannot be built.
    """
    new = read_architecture(spec, extra, allow_imports)
    if against is None:
        return DrawnArchitecture(lay_out(_one(new, clean(title or "Architecture"))))
    old = read_architecture(against, extra, allow_imports)
    found = difference(old, new, compare(against, spec))
    canvas = lay_out(_two(old, new, found, clean(title or "Difference of two architectures")))
    return DrawnArchitecture(canvas, tuple(map(str, found.changes)))


def _headings(architecture: Architecture) -> dict[str, str]:
    sections = dict.fromkeys(node.section for node in architecture.nodes)
    headings: dict[str, str] = {section: section for section in sections if section != "input"}
    if "shared projections" in headings:
        headings["shared projections"] = "shared projections, computed once"
    headings["block"] = f"block × {architecture.blocks}" + (
        ": the messages are added up" if architecture.blocks else ""
    )
    return headings


def _one(architecture: Architecture, title: str) -> Content:
    introduction = (
        f"{architecture.parameters:,} parameters · architecture {architecture.content_hash[:HASH_DIGITS]}",
        "Each part reads the wires with an arrow to it; its number of parameters is on the right.",
    )
    return Content(title, introduction, architecture.nodes, _headings(architecture), {}, {})


def _two(old: Architecture, new: Architecture, found: Difference, title: str) -> Content:
    same = old.content_hash == new.content_hash
    introduction = (
        f"parameters: {old.parameters:,} → {new.parameters:,}",
        f"architecture: {old.content_hash[:HASH_DIGITS]} → " + ("the same" if same else new.content_hash[:HASH_DIGITS]),
    )
    changed = old.blocks != new.blocks
    headings = {**_headings(old), **_headings(new)}
    listed = tuple(clean(change) for change in found.changes[:CHANGES_AT_MOST])
    if len(found.changes) > len(listed):
        listed = (*listed, f"and {len(found.changes) - len(listed)} more")
    return Content(
        title,
        introduction,
        found.nodes,
        headings | ({"block": f"block × {old.blocks} → {new.blocks}"} if changed else {}),
        found.marks,
        _notes(found),
        "changed" if changed else None,
        ("changed fields of the spec", *(listed or ("none",))),
    )


def _notes(found: Difference) -> dict[str, str]:
    """Describe the changed parts before the change."""
    notes = {}
    for node in found.nodes:
        mark, before = found.marks.get(node.key), found.before.get(node.key)
        if before is None:
            continue
        parts = [before.title] if before.title != node.title else []
        parts += [detail for detail in before.details if detail and detail not in node.details]
        parts = [f"before: {' · '.join(parts)}"] if parts else []
        if before.parameters != node.parameters and mark != "removed":
            parts.append(f"{before.parameters:,} → {node.parameters:,} parameters")
        if parts:
            notes[node.key] = "; ".join(parts)
    return notes
