"""A report as plain values, before it becomes Markdown or HTML.

All text is plain: the writers escape it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

from gemnet_blocks.ablation.report.formatting import inline
from gemnet_blocks.ablation.report.statistics import Verdict


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


_MARKS = {"worse": "▲", "better": "▼", "no difference shown": "●", "inconclusive": "◇"}

_WIDE = 24
"""Columns of longer words are wrapped."""

_LONG = 100
"""Facts of more characters have a row of their own."""

# Should an escape ever be missing, the browser still runs and loads nothing.
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header><p class="kind">Ablation study</p><h1>{title}</h1></header>
<nav aria-label="Sections">{links}</nav>
<main>
"""
_FOOT = "</main>\n</body>\n</html>\n"


def to_html(page: Page) -> str:
    """The report; light or dark as the reader's system is, from the width of a telephone on."""
    style = files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    links = "".join(f'<a href="#s{index}">{escape(one.title)}</a>' for index, one in enumerate(page.sections))
    head = _HEAD.format(title=escape(page.title), style=style, links=links)
    return head + "".join(_section(one, f"s{index}") for index, one in enumerate(page.sections)) + _FOOT


def _section(section: Section, name: str) -> str:
    body = "".join(_block(block) for block in section.blocks)
    title = escape(section.title)
    if section.folded:
        return f'<section id="{name}"><details><summary><h2>{title}</h2></summary>\n{body}</details></section>\n'
    return f'<section id="{name}"><h2>{title}</h2>\n{body}</section>\n'


def _fact(name: str, value: str) -> str:
    wide = ' class="wide"' if len(value) > _LONG else ""
    return f"<div{wide}><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{escape(text)}</p>\n"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{escape(item)}</li>\n" for item in items) + "</ul>\n"
        case Facts(items):
            rows = "".join(_fact(name, value) for name, value in items)
            return f'<dl class="facts">{rows}</dl>\n'
        case Findings():
            return _findings(block)
        case Table():
            return _table(block)
        case Picture(name, caption, svg):
            label = escape(caption.split(".")[0])
            drawing = inline(svg, name).replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
            return f"<figure>{drawing}<figcaption>{escape(caption)}</figcaption></figure>\n"
        case Listing(title, text):
            return (
                f"<details><summary>{escape(title)}</summary>"
                f'<div class="scroll" tabindex="0"><pre>{escape(text)}</pre></div></details>\n'
            )


def _findings(findings: Findings) -> str:
    items = (
        f'<li class="{_class(one.verdict)}"><p class="name"><span>{escape(one.name)}</span>{_badge(one.verdict)}</p>'
        f"<p>{escape(one.text)}</p></li>\n"
        for one in findings.items
    )
    return f'<ol class="findings">{"".join(items)}</ol>\n'


def _table(table: Table) -> str:
    headings = (
        f'<th scope="col"{_alignment(table, place)}>{escape(text)}</th>' for place, text in enumerate(table.headings)
    )
    rows = (
        "<tr>" + "".join(_cell(table, place, text) for place, text in enumerate(row)) + "</tr>\n" for row in table.rows
    )
    note = f'<p class="note">{escape(table.note)}</p>\n' if table.note else ""
    # a region that scrolls must be reached by keyboard, and say what it is
    return (
        f'<h3>{escape(table.caption)}</h3>\n<div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(table.caption)}"><table>\n<thead><tr>{"".join(headings)}</tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody></table></div>\n{note}"
    )


def _cell(table: Table, place: int, text: str) -> str:
    content = _badge(text) if place == table.verdicts else escape(text)
    return f"<td{_alignment(table, place)}>{content}</td>"


def _alignment(table: Table, place: int) -> str:
    if place >= table.words:
        return ""
    longest = max((len(row[place]) for row in table.rows), default=0)
    return ' class="words wide"' if longest > _WIDE else ' class="words"'


def _badge(verdict: str) -> str:
    return f'<span class="badge {_class(verdict)}">{_MARKS.get(verdict, "")} {escape(verdict)}</span>'


def _class(verdict: str) -> str:
    return verdict.split()[0] if verdict in _MARKS else ""


FIGURES = "figures"
"""The folder of the pictures, beside the file."""


def to_markdown(page: Page) -> str:
    """The report; tables as pipes, pictures as files in `FIGURES`."""
    parts = [f"# {escaped(page.title)}"]
    for section in page.sections:
        parts += _markdown_section(section)
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no link."""
    shown = re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", text)
    shown = re.sub(r"^([+-])(\s)", r"\\\1\2", re.sub(r"^(\d+)([.)])(\s)", r"\1\\\2\3", shown))
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # addresses become links by themselves
    return shown.replace("://", "&#58;//").replace("@", "&#64;").replace("www.", "www&#46;")


def _markdown_section(section: Section) -> list[str]:
    return [f"## {escaped(section.title)}", *(_markdown_block(block) for block in section.blocks)]


def _markdown_block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return escaped(text)
        case Bullets(items):
            return "\n".join(f"- {escaped(item)}" for item in items)
        case Facts(items):
            return "\n".join(f"- **{escaped(name)}:** {escaped(value)}" for name, value in items)
        case Findings(items):
            return "\n".join(f"- **{escaped(one.name)}: {one.verdict}.** {escaped(one.text)}" for one in items)
        case Table():
            return _markdown_table(block)
        case Picture(name, caption):
            return f"![{escaped(name)}]({FIGURES}/{name}.svg)\n\n{escaped(caption)}"
        case Listing(title, text):
            lines = "\n".join(f"    {line}" for line in text.splitlines())
            return f"{escaped(title)}:\n\n{lines}"


def _markdown_table(table: Table) -> str:
    places = [":--" if column < table.words else "--:" for column in range(len(table.headings))]
    rows = [table.headings, *table.rows]
    lines = ["| " + " | ".join(escaped(cell) or " " for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + "|".join(places) + "|")
    text = f"**{escaped(table.caption)}**\n\n" + "\n".join(lines)
    return f"{text}\n\n{escaped(table.note)}" if table.note else text
