"""A report as plain values, before it becomes Markdown or HTML.

All text is plain: the writers escape it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gemnet_blocks.ablation.comparison import Verdict


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with their values."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one variant.

    Attributes:
        verdict: what may be concluded.
        name: of the variant.
        text: the numbers.
    """

    verdict: Verdict
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found of all variants."""

    items: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows.
        headings: of the columns.
        rows: as many cells each.
        words: how many columns from the left hold words, the others numbers.
        verdicts: the column of verdicts, if there is one.
        note: how to read it.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    verdicts: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure.

    Attributes:
        name: of its file, without an ending.
        caption: what it shows and how to read it.
        svg: the drawing, as `figures.drawn` makes it.
    """

    name: str
    caption: str
    svg: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Text whose lines matter, such as an error."""

    title: str
    text: str


Block = Paragraph | Bullets | Facts | Findings | Table | Picture | Listing
"""What a section is made of."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report.

    Attributes:
        title: its heading.
        blocks: in order.
        folded: whether a reader opens it only when needed.
    """

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report."""

    title: str
    sections: tuple[Section, ...] = field(default=())
