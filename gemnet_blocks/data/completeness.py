"""Checks that ASE reads every frame and every atom of a text file, where the format states how many there are."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemnet_blocks.errors import StructureError

_FRAMES: Mapping[str, str] = {
    "lammps-dump-text": r"^ITEM: NUMBER OF ATOMS\s*\n\s*(\d+)",
    "gromacs": r"\A.*\n\s*(\d+)\s*$",
    "mol": r"\A(?:.*\n){3}([ \d]{3})",
    "vasp-xdatcar": r"^\s*Direct configuration=()",
    "vasp-out": r"POSITION +TOTAL-FORCE()",
    "vasp-xml": r"<calculation>()",
    "castep-md": r"<-- +h\s*\n(?!.*<-- +h)()",  # after the cell
    "castep-geom": r"<-- +h\s*\n(?!.*<-- +h)()",  # after the cell
    "xsf": r"^\s*(?:PRIMCOORD\b.*\n\s*|ATOMS\b)(\d*)",
}
"""Text that each frame contains once, and its number of atoms if the format states it, in formats of which ASE omits or
splits frames silently."""

_OF_ONE_SYSTEM = ("castep-md", "castep-geom")
"""Formats whose frames all have the same number of atoms, and of which ASE splits frames at blank lines."""

_OF_RUNS = ("vasp-out", "vasp-xml")
"""Formats that programs write while they run, and that end within a frame when the program is killed."""


@dataclass(frozen=True, slots=True)
class _Marks:
    """Patterns of the lines that begin and end the frames of a format.

    Attributes:
        begin: the first line of a frame.
        end: the last line of a frame; the same line again, without atoms in between, is allowed.
        atom: an atom; group 1, if it matches, is the number of the atom within the frame.
    """

    begin: str
    end: str
    atom: str


_DMOL = _Marks(r"!DATE", r"end\b", r"(?!PBC)[A-Za-z]+(\d*)\w*(?:\s+[-+.\deE]+){3}\s")

_MARKS: Mapping[str, _Marks] = {
    "runnerdata": _Marks(r"\s*begin\b", r"\s*end\b", r"\s*atom\b()"),
    # the record that ends a chain is numbered like an atom
    "proteindatabank": _Marks(r"MODEL\b", r"END(?:MDL)?\b", r"(?:ATOM  |HETATM|TER   ) {0,4}(\d*)"),
    "dmol-arc": _DMOL,
    "dmol-car": _DMOL,
}
"""Formats that do not state numbers of atoms, but enclose each frame in keywords or number its atoms."""


def check_frame_marks(path: Path, format: str, name: str) -> None:
    """Check that the keywords of a format enclose every frame of a file; warn of gaps in the numbers of atoms.

    Args:
        path: the file.
        format: ASE's name of the format; formats without such keywords are not read.
        name: the file's name in messages.

    Raises:
        StructureError: a frame lacks its first or last line; names the line.
    """
    if format in _MARKS:
        _check_marks(_text(path).splitlines(), _MARKS[format], name)


def check_counts(path: Path, format: str, counts: Sequence[int], name: str) -> None:
    """Check that ASE has read all frames of a file whole; a VASP run that was killed causes a warning.

    Args:
        path: the file.
        format: ASE's name of the format; formats that state no counts are not read again.
        counts: the numbers of atoms of the frames that ASE has read.
        name: the file's name in messages.

    Raises:
        StructureError: the file contains another number of frames or atoms than ASE reads.
    """
    if format not in _FRAMES:
        return
    stated: list[str] = re.findall(_FRAMES[format], _text(path), re.MULTILINE)
    if format in _OF_RUNS and len(counts) == len(stated) - 1:
        warnings.warn(f"{name}: frame {len(counts)}, the last one, is incomplete and is left out", stacklevel=3)
    elif len(counts) < len(stated) or (len(counts) > len(stated) and format in _OF_ONE_SYSTEM):
        raise StructureError(
            f"{name}: has {len(stated)} frames, but ASE ({format}) reads {len(counts)}: remove frames that are cut "
            "off, and blank or foreign lines within and between frames"
        )
    if format in _OF_ONE_SYSTEM:
        stated = [str(max(counts, default=0))] * len(counts)
    for index, (count, wanted) in enumerate(zip(counts, stated, strict=False)):
        if wanted.strip() and count != int(wanted):
            raise StructureError(
                f"{name}, frame {index}: has {count} of its {wanted.strip()} atoms: remove the frame if it is cut off"
            )


def _text(path: Path) -> str:
    from ase.io.formats import open_with_compression

    with open_with_compression(str(path), "rb") as file:
        return file.read().decode(errors="replace")


def _check_marks(lines: Sequence[str], marks: _Marks, name: str) -> None:
    begin, end, atom = (re.compile(pattern) for pattern in (marks.begin, marks.end, marks.atom))
    begins, ends = (any(map(mark.match, lines)) for mark in (begin, end))
    opened = unended = 0  # lines: of the current frame's beginning, and of its first atom
    largest: int | None = None
    gap: str | None = None
    for number, line in enumerate(lines, start=1):
        found = atom.match(line)
        if begin.match(line):
            if opened or unended:
                raise _cut(f"{name}, line {number}", f"the end of the frame of line {opened or unended}", line)
            opened, largest = number, None
        elif end.match(line):
            if begins and unended and not opened:
                raise _cut(f"{name}, line {unended}", "the beginning of a frame", lines[unended - 1])
            opened, unended, largest = 0, 0, None
        elif found:
            unended = unended or number
            if found[1]:
                if largest is not None and int(found[1]) > largest + 1:
                    gap = gap or f"{name}, line {number}: atom {found[1]} follows atom {largest}"
                largest = max(int(found[1]), largest or 0)
    if (opened or unended) and (begins or ends):
        raise StructureError(
            f"{name}, line {len(lines)}: expected the end of the frame of line {opened or unended}, but the file ends: "
            "remove the frame if it is cut off"
        )
    if gap is not None:  # editors that remove atoms leave gaps, too
        warnings.warn(f"{gap}: check whether lines are missing; renumber the atoms if not", stacklevel=4)


def _cut(place: str, wanted: str, line: str) -> StructureError:
    return StructureError(
        f"{place}: expected {wanted}, found {line.strip()[:40]!r}: restore the missing lines, or remove the frame"
    )
