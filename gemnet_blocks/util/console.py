"""Consoles for text that comes from users: names of groups, paths and keys are shown as they are written."""

from __future__ import annotations

import io
import sys
from typing import Any

from rich.console import Console


def plain_console(**options: Any) -> Console:
    """A console in which neither `[brackets]` nor `:names:` are markup; styles are given as `rich.text.Text`.

    Args:
        options: of `rich.console.Console`, such as stderr=True.
    """
    return Console(markup=False, emoji=False, **options)


def replace_unencodable() -> None:
    """Let stdout and stderr replace the characters that their encoding lacks, instead of raising an error.

    Otherwise an Å or a name in Greek letters ends a command on a terminal of ASCII or Latin-1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
