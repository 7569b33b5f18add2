"""The content of a report as plain values, and its pages in HTML and Markdown.

All text in the values is plain; the template and the Markdown writer escape it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gemnet_blocks.ablation.report.formatting import inline
from gemnet_blocks.ablation.report.statistics import Verdict
from gemnet_blocks.util.version import LIBRARY_VERSION


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A bulleted list."""

    kind: ClassVar[str] = "bullets"
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with their values."""

    kind: ClassVar[str] = "facts"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one variant.

    Attributes:
        verdict: the verdict.
        name: name of the variant.
        change: its changes in words.
        text: the numbers.
    """

    verdict: Verdict
    name: str
    change: str
    text: str


@dataclass(frozen=True, slots=True)
class Findings:
    """The results for all variants."""

    kind: ClassVar[str] = "findings"
    items: tuple[Finding, ...]


WIDE_COLUMN = 24
"""Columns with cells of more characters are wrapped."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        caption: the title.
        headings: one for each column.
        rows: the cells of each row.
        words: number of columns, from the left, that contain words; the others contain numbers.
        verdicts: index of the column of verdicts, if any.
        note: explanation below the table.
    """

    kind: ClassVar[str] = "table"
    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    verdicts: int | None = None
    note: str = ""

    def alignment(self, column: int) -> Markup:
        """Return the HTML attribute that aligns the cells of a column."""
        if column >= self.words:
            return Markup("")
        longest = max((len(row[column]) for row in self.rows), default=0)
        return Markup(' class="words wide"' if longest > WIDE_COLUMN else ' class="words"')


Cell: TypeAlias = "str | float | None"
"""A value of a table of data; None if it is unknown."""


@dataclass(frozen=True, slots=True)
class FigureData:
    """The numbers that a figure shows, in the units of its axes, with a row for each mark.

    Attributes:
        headings: one for each column.
        rows: the values of each row.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure.

    Attributes:
        name: name of its files, without extension.
        caption: title and explanation.
        svg: the drawing, from `formatting.drawn`.
        data: the numbers that it shows, which reports write to a CSV file beside the drawing.
    """

    kind: ClassVar[str] = "picture"
    name: str
    caption: str
    svg: str
    data: FigureData


@dataclass(frozen=True, slots=True)
class Listing:
    """Preformatted text, such as a traceback."""

    kind: ClassVar[str] = "listing"
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Folded:
    """Blocks that are shown only when the reader opens them."""

    kind: ClassVar[str] = "folded"
    title: str
    blocks: tuple[Block, ...]


Block: TypeAlias = "Paragraph | Bullets | Facts | Findings | Table | Picture | Listing | Folded"
"""An element of a section."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a report.

    Attributes:
        title: the title.
        blocks: the content.
        folded: whether the section is shown only when the reader opens it.
        question: the question that the section answers.
    """

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False
    question: str = ""

    @property
    def pictures(self) -> Iterator[Picture]:
        """The figures of the section, also those that are folded."""
        return _pictures(self.blocks)


def _pictures(blocks: Iterable[Block]) -> Iterator[Picture]:
    for block in blocks:
        if isinstance(block, Folded):
            yield from _pictures(block.blocks)
        elif isinstance(block, Picture):
            yield block


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report."""

    title: str
    sections: tuple[Section, ...] = ()


_MARKS = {"worse": "▲", "better": "▼", "no difference shown": "●", "inconclusive": "◇"}


def to_html(page: Page) -> str:
    """Render a report as one HTML page.

    The page follows the light or dark color scheme of the reader's system and fits screens from phones upward.
    """
    environment = Environment(
        loader=PackageLoader("gemnet_blocks.ablation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"css_class": _css_class, "drawing": _drawing}
    return environment.get_template("report.html").render(page=page, marks=_MARKS, generator=generator())


def generator() -> str:
    """Return the versions on which the text and the drawings of a report depend."""
    try:
        drawn_by = f"matplotlib {version('matplotlib')}"
    except PackageNotFoundError:  # reports without figures do not need it
        drawn_by = "no drawings"
    return f"gemnet_blocks {LIBRARY_VERSION}, {drawn_by}"


def _css_class(verdict: str) -> str:
    return verdict.split()[0]


def _drawing(picture: Picture) -> Markup:
    """Return the SVG of a picture with a label for screen readers."""
    label = escape(picture.caption.split(".")[0])
    drawing = inline(picture.svg, picture.name)
    return Markup(drawing.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))


FIGURES = "figures"
"""The folder of the figures, beside the Markdown file."""


def to_markdown(page: Page) -> str:
    """Render a report as Markdown, with pipe tables and with pictures as files in `FIGURES`."""
    parts = [f"# {escaped(page.title)}"]
    for section in page.sections:
        question = [f"*{escaped(section.question)}*"] if section.question else []
        parts += [f"## {escaped(section.title)}", *question, *map(_markdown_block, section.blocks)]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Escape text so that Markdown shows it literally, without markup, HTML or links."""
    shown = re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", text)
    shown = re.sub(r"^([+-])(\s)", r"\\\1\2", re.sub(r"^(\d+)([.)])(\s)", r"\1\\\2\3", shown))
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # renderers turn bare addresses into links
    return shown.replace("://", "&#58;//").replace("@", "&#64;").replace("www.", "www&#46;")


def _markdown_block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return escaped(text)
        case Bullets(items):
            return "\n".join(f"- {escaped(item)}" for item in items)
        case Facts(items):
            return "\n".join(f"- **{escaped(name)}:** {escaped(value)}" for name, value in items)
        case Findings(items):
            return "\n".join(
                f"- **{escaped(one.name)}: {one.verdict}.** {escaped(f'{one.change} {one.text}')}" for one in items
            )
        case Table():
            return _markdown_table(block)
        case Picture(name, caption):
            return f"![{escaped(name)}]({FIGURES}/{name}.svg)\n\n{escaped(caption)}"
        case Listing(title, text):
            lines = "\n".join(f"    {line}" for line in text.splitlines())
            return f"{escaped(title)}:\n\n{lines}"
        case Folded(_, blocks):
            return "\n\n".join(map(_markdown_block, blocks))


def _markdown_table(table: Table) -> str:
    alignments = [":--" if column < table.words else "--:" for column in range(len(table.headings))]
    lines = ["| " + " | ".join(escaped(cell) or " " for cell in row) + " |" for row in (table.headings, *table.rows)]
    lines.insert(1, "|" + "|".join(alignments) + "|")
    text = f"**{escaped(table.caption)}**\n\n" + "\n".join(lines)
    return f"{text}\n\n{escaped(table.note)}" if table.note else text
