"""HTML for notebooks, in which all text is escaped."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from html import escape
from types import ModuleType

ROWS = 20
"""Number of rows of a table that are shown."""

_STYLE = (
    "<style>.gemnet-blocks table{margin:.3em 0;border-collapse:collapse}.gemnet-blocks th,.gemnet-blocks td"
    "{padding:.15em .7em;text-align:right}.gemnet-blocks .words{text-align:left}.gemnet-blocks thead th"
    "{border-bottom:1px solid currentColor}.gemnet-blocks pre{margin:.2em 0 .2em 1.2em}.gemnet-blocks summary"
    "{cursor:pointer}.gemnet-blocks svg{max-width:100%;height:auto}</style>"
)


def upper_layer(module: str) -> ModuleType:
    """Import the module that shows values in notebooks, which needs the layers above that of the value.

    Only `_repr_html_` and similar conveniences may use this: nothing that is computed depends on an upper layer.
    """
    return importlib.import_module(f"gemnet_blocks.{module}")


def block(title: str, *parts: str) -> str:
    """Join parts below a title; the parts are HTML, and the title is text."""
    return f'<div class="gemnet-blocks">{_STYLE}<strong>{escape(title)}</strong>{"".join(parts)}</div>'


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Format a table of text; longer tables are cut after `ROWS` rows.

    Args:
        headings: the headings of the columns.
        rows: the cells of each row.
        words: number of columns, from the left, that contain words; the others contain numbers.
    """

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = (' class="words"' if column < words else "" for column in range(len(cells)))
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows[:ROWS])
    more = f"<p>… and {len(rows) - ROWS:,} more</p>" if len(rows) > ROWS else ""
    return f"<table><thead><tr>{line(headings, 'th')}</tr></thead><tbody>{body}</tbody></table>{more}"


def collapsible(title: str, content: str, opened: bool = False) -> str:
    """Format a section that opens with a click; the content is HTML, and the title is text."""
    return f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>{content}</details>"


def listing(text: str) -> str:
    """Format preformatted text."""
    return f"<pre>{escape(text)}</pre>"


def page(content: str, height: str, scripts: bool = False) -> str:
    """Embed a whole HTML page, which cannot reach the notebook, and which is loaded when it becomes visible."""
    sandbox = "allow-scripts" if scripts else ""
    return (
        f'<iframe srcdoc="{escape(content)}" sandbox="{sandbox}" loading="lazy" '
        f'style="width:100%;height:{height};border:0"></iframe>'
    )


def bars(counts: Sequence[int], label: str) -> str:
    """Draw a histogram of counts of 0, 1, 2, … as a small picture."""
    highest, width, height = max(counts, default=0), 6, 40
    drawn = "".join(
        f'<rect x="{width * place}" y="{height - height * count / highest:.1f}" width="{width - 1}" '
        f'height="{height * count / highest:.1f}"><title>{place}: {count:,}</title></rect>'
        for place, count in enumerate(counts)
        if count
    )
    size = f'width="{width * len(counts)}" height="{height}" viewBox="0 0 {width * len(counts)} {height}"'
    return f'<svg role="img" aria-label="{escape(label)}" fill="currentColor" {size}>{drawn}</svg>'
