"""Consoles that print text of users, such as names, paths and keys, without interpreting markup."""

from __future__ import annotations

import io
import sys
from typing import Any

from rich.console import Console


def plain_console(**options: Any) -> Console:
    """Create a console that interprets neither `[brackets]` nor `:names:`; styled text needs `rich.text.Text`.

    Args:
        options: options of `rich.console.Console`, such as stderr=True.
    """
    return Console(markup=False, emoji=False, **options)


def replace_unencodable() -> None:
    """Make stdout and stderr replace characters that their encoding lacks instead of raising an error.

    Otherwise, an Å or a Greek letter would end a command on a terminal with ASCII or Latin-1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
