"""A report as Markdown."""

from __future__ import annotations

import re

from gemnet_blocks.ablation.report.page import (
    Block,
    Bullets,
    Facts,
    Findings,
    Listing,
    Page,
    Paragraph,
    Picture,
    Section,
    Table,
)

FIGURES = "figures"
"""The folder of the pictures, beside the file."""


def to_markdown(page: Page) -> str:
    """The report; tables as pipes, pictures as files in `FIGURES`."""
    parts = [f"# {escaped(page.title)}"]
    for section in page.sections:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no link."""
    shown = re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", text)
    shown = re.sub(r"^([+-])(\s)", r"\\\1\2", re.sub(r"^(\d+)([.)])(\s)", r"\1\\\2\3", shown))
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # addresses become links by themselves
    return shown.replace("://", "&#58;//").replace("@", "&#64;").replace("www.", "www&#46;")


def _section(section: Section) -> list[str]:
    return [f"## {escaped(section.title)}", *(_block(block) for block in section.blocks)]


def _block(block: Block) -> str:
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
            return _table(block)
        case Picture(name, caption):
            return f"![{escaped(name)}]({FIGURES}/{name}.svg)\n\n{escaped(caption)}"
        case Listing(title, text):
            lines = "\n".join(f"    {line}" for line in text.splitlines())
            return f"{escaped(title)}:\n\n{lines}"


def _table(table: Table) -> str:
    places = [":--" if column < table.words else "--:" for column in range(len(table.headings))]
    rows = [table.headings, *table.rows]
    lines = ["| " + " | ".join(escaped(cell) or " " for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + "|".join(places) + "|")
    text = f"**{escaped(table.caption)}**\n\n" + "\n".join(lines)
    return f"{text}\n\n{escaped(table.note)}" if table.note else text
