"""Tables of Markdown."""

from __future__ import annotations

from collections.abc import Sequence

NONE = "–"
"""Where there is no number."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def number(value: float | None, form: str) -> str:
    """A number, or a dash for none."""
    return NONE if value is None else format(value, form)


def cell(text: str, most: int = 120) -> str:
    """Text that cannot break a table."""
    text = " ".join(text.replace("|", "/").split())
    return text if len(text) <= most else text[:most] + "…"
