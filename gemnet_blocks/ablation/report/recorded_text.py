"""Comparison of the files of a report with the text that follows from the results."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from gemnet_blocks.ablation.runs.comparison import Mismatch


def recorded_text(path: Path) -> str:
    """Read a file of a report, whose bytes may have been changed."""
    return path.read_bytes().decode("utf-8", errors="replace")


_DRAWING = re.compile(r'<svg.*?</svg>|<meta name="generator"[^>]*>', re.DOTALL)


def differing_text(path: Path, name: str, text: str, drawn: bool) -> Iterator[Mismatch]:
    """Compare a file with the text that follows from the results, and name what differs.

    Args:
        path: the file.
        name: its name in the report.
        text: the text that it should have.
        drawn: whether the same version drew the figures, so that drawings are compared, too.
    """
    if not path.is_file():
        yield Mismatch(name, "file", "nothing", "a file that follows from the results")
        return
    recorded = recorded_text(path)
    if name.endswith(".html") and not drawn:
        recorded, text = (_DRAWING.sub("", one) for one in (recorded, text))
    if recorded == text:
        return
    if name.endswith(".csv"):
        yield from _differing_cells(name, recorded, text)
        return
    lines = zip_longest(recorded.splitlines(), text.splitlines(), fillvalue="")
    number, (old, new) = next(
        ((number, pair) for number, pair in enumerate(lines, 1) if pair[0] != pair[1]), (0, ("", "other line ends"))
    )
    start = max(0, next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), 0) - 20)
    yield Mismatch(name, f"line {number}", *(repr(one[start : start + 60]) for one in (old, new)))


def _differing_cells(name: str, recorded: str, text: str) -> Iterator[Mismatch]:
    (headings, *old), (_, *new) = (list(csv.reader(io.StringIO(one))) or [[]] for one in (recorded, text))
    if recorded.partition("\n")[0] != text.partition("\n")[0]:
        yield Mismatch(name, "headings", recorded.partition("\n")[0], text.partition("\n")[0])
        return
    pairs: Iterator[tuple[list[str], list[str]]] = zip_longest(old, new, fillvalue=[])
    for number, (row, should) in enumerate(pairs, 1):
        if row == should:
            continue
        whose = ", ".join((row or should)[:2])
        if len(row) != len(should):
            yield Mismatch(name, f"row {number} ({whose})", f"{len(row)} cells", f"{len(should)} cells")
        for heading, cell, other in zip(headings, row, should, strict=False):
            if cell != other:
                yield Mismatch(name, f"row {number} ({whose}), {heading}", cell or "nothing", other or "nothing")
