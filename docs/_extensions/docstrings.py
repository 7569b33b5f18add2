"""Conversion of this project's docstrings to reStructuredText.

The docstrings are plain text with `code`, equations between dollars, literal indented lines, and the sections Args,
Attributes, Returns and Raises, which napoleon reads. Other symbols, such as |x| or h_a*, are literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx

SECTION = re.compile(r"(Args|Arguments|Attributes|Returns|Raises|Yields|Example|Examples|Note):$")
PIECES = re.compile(r"(``[^`]+``|`[^`]+`|(?<!\$)\$[^$]+\$(?!\$))")
HANGING = re.compile(r"(\S[^:]{0,40}):\s(.*)")


def to_rst(lines: list[str]) -> list[str]:
    """Convert a docstring."""
    return list(_paragraphs(_displayed(lines)))


def _displayed(lines: list[str]) -> list[str]:
    """Convert equations between $$ to directives."""
    text = "\n".join(lines)

    def directive(found: re.Match[str]) -> str:
        indent = re.match(r" *", found[1])
        margin = indent[0] if indent else ""
        body = " ".join(found[2].split())
        following = found[3].strip()
        return f"\n{margin}.. math:: {body}\n\n{margin}{following}"

    return re.sub(r"^( *)\$\$(.+?)\$\$([^\n]*)$", directive, text, flags=re.DOTALL | re.MULTILINE).split("\n")


def _paragraphs(lines: list[str]) -> Iterator[str]:
    section, number = False, 0
    while number < len(lines):
        paragraph = []
        while number < len(lines) and lines[number].strip():
            paragraph.append(lines[number])
            number += 1
        if paragraph:
            section = section and paragraph[0].startswith(" ")
            section = section or bool(SECTION.match(paragraph[0]))
            yield from _paragraph(paragraph, section)
        yield ""
        number += 1


def _paragraph(lines: list[str], section: bool) -> Iterator[str]:
    if any(line.lstrip().startswith(".. math::") for line in lines):
        yield from lines
    elif lines[0].lstrip().startswith(">>>"):
        yield from (line.strip("\n") for line in lines)
    elif section:
        yield from map(_escaped, lines)
    elif lines[0].startswith("    "):
        yield from ("::", "", *lines)
    else:
        yield from _with_hanging(lines)


def _with_hanging(lines: list[str]) -> Iterator[str]:
    """Convert words with hanging descriptions to a list."""
    hanging = [number for number, line in enumerate(lines) if line.startswith("    ")]
    listed = [bool(HANGING.match(line)) and not line.startswith("-") for line in lines]
    if not hanging or not listed[hanging[0] - 1]:
        yield from (_escaped(line) for line in lines)
        return
    yield ""
    for line, entry in zip(lines, listed, strict=True):
        word = HANGING.match(line)
        if entry and word and not line.startswith(" "):
            yield f"- {_escaped(word[1])}: {_escaped(word[2])}"
        else:
            yield f"  {_escaped(line.strip())}"


def _escaped(line: str) -> str:
    # a letter and a full stop would start a list
    line = re.sub(r"^(\s*(?:\w+: )?[A-Za-z])\.(?=\s|$)", r"\1,,", line)
    margin = line[: len(line) - len(line.lstrip())]
    bullet = re.match(r"[-*] |\d+\. ", line.lstrip())
    start = bullet[0] if bullet else ""
    text = "".join(map(_piece, PIECES.split(line.lstrip()[len(start) :])))
    return margin + start + text.replace(",,", "\\.", 1)


def _piece(text: str) -> str:
    if text.startswith("``"):
        return text
    if text.startswith("`"):
        return f"`{text}`"
    if text.startswith("$") and len(text) > 2:
        return f":math:`{text[1:-1]}`"
    text = text.replace("\\", "\\\\")
    text = re.sub(r"([*|])", r"\\\1", text)
    return re.sub(r"(\w)_(?!\w)", r"\1\\_", text)


def convert(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Convert the docstring that autodoc found."""
    lines[:] = to_rst(lines)
    if what in ("attribute", "data", "property"):
        lines[:] = untyped(lines)


def untyped(lines: list[str]) -> list[str]:
    """Prevent napoleon from reading words before a colon as a type, by a leading `\\ `, which is invisible."""
    first = next((line for line in lines if line.strip()), "")
    if ":" not in first:
        return lines
    return ["\\ ", *([""] if first.startswith((".", "-", ":", " ")) else []), *lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx, in front of napoleon."""
    app.connect("autodoc-process-docstring", convert, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
