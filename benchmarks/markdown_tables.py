"""Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

NONE = "–"
"""Cell without a number."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def number(value: float | None, form: str) -> str:
    """Format a number; None becomes a dash."""
    return NONE if value is None else format(value, form)


def cell(text: str, most: int = 120) -> str:
    """Format text for a table cell: one line, without column separators, at most `most` characters."""
    text = " ".join(text.replace("|", "/").split())
    return text if len(text) <= most else text[:most] + "…"
