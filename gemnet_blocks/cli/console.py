"""The console of the commands."""

from __future__ import annotations

import os
from pathlib import Path

from gemnet_blocks.util.console import plain_console

console = plain_console()
if not console.is_terminal:
    console = plain_console(width=150)  # files and pipes have no width


def announce(text: str) -> None:
    """Print at once what a command is about to do, before packages are imported and files are read.

    Of several processes that torchrun or Slurm started, only the first one prints.
    """
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
        print(text, flush=True)


def print_written(*paths: Path) -> None:
    """Print the written files on one line."""
    console.print(f"written: {', '.join(map(str, paths))}", soft_wrap=True, highlight=False)
