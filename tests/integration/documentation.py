"""The documentation as tests read it: where it is, what its pages show, and how their commands are run."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REQUIRED = ("sphinx", "myst_nb", "furo", "latex2mathml", "ziamath", "matplotlib", "lightning")

needs_what_builds_it = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in REQUIRED), reason="pip install 'gemnet_blocks[dev]'"
)


def written_pages() -> list[Path]:
    """All pages that are written by hand."""
    return [*sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("[!_g]*/*.md"))]


def environment(scripts: Path = Path(sys.executable).parent) -> dict[str, str]:
    """Commands of one environment first; one thread, so that tests do not fight for cores."""
    path = os.pathsep.join([str(scripts), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


def run(command: list[str], folder: Path, variables: dict[str, str] | None = None) -> str:
    """What a command prints that must succeed."""
    variables = variables or environment()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=variables, timeout=600)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """The language and content of every block of code, in order; cells are none: they run when the site is built."""
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        yield found[1], found[2]


def blocks_in(path: Path, language: str) -> list[str]:
    """The content of every block in a language."""
    return [content for found, content in blocks(path) if found == language]


def commands(text: str) -> list[str]:
    """The commands of a block."""
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
