"""Frames from plain and extended XYZ files; errors name the line that cannot be read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any, final

import numpy as np

from gemnet_blocks.data.frame import Frame, FrameSource, periodic_directions
from gemnet_blocks.data.readers import frame_of
from gemnet_blocks.errors import StructureError, told

FORMATS = frozenset({"extxyz", "xyz"})
"""ASE's names of these formats."""


@dataclass(frozen=True, slots=True)
class _Block:
    """The lines of one frame.

    Attributes:
        line: the number of the first line in the file, from 1.
        text: all lines, with their ends.
    """

    line: int
    text: str

    def described(self) -> str:
        """The first line of the frame, and the first line with another number of columns than the line before."""
        columns = [len(line.split()) for line in self.text.splitlines()[2:]]
        odd = next((index for index in range(1, len(columns)) if columns[index] != columns[index - 1]), None)
        start = f"from line {self.line}"
        return start if odd is None else f"{start}; line {self.line + 2 + odd} has {columns[odd]} columns"


@final
class XyzSource(FrameSource):
    """The frames of an XYZ file, split by their numbers of atoms and parsed by ASE at each access.

    Unlike ASE, which stops at the first blank line and accepts any text as periodicity, this source skips blank lines
    between frames, and splits the comment lines of extended XYZ into keys and values: values are converted as in ASE,
    and their text is kept to group frames by, since `007` and `7` are different names.

    Args:
        path: the file, which may be compressed (.gz, .bz2, .xz).
        keys: other names of energy, forces and stress, and the names of further properties.
        name: the file's name in messages.
        format: `extxyz`; or `xyz`, whose comment lines are ignored.

    Raises:
        StructureError: the file cannot be read as text, or a frame is incomplete; names the line.
    """

    def __init__(self, path: Path, keys: Mapping[str, str], name: str, format: str = "extxyz") -> None:
        self.name = name
        self._keys, self._format = keys, format
        self._blocks = list(_blocks(_lines(path, name), name))

    def __len__(self) -> int:
        return len(self._blocks)

    def frame(self, index: int) -> Frame:
        atoms, text = self._read(index)
        return frame_of(atoms, self._keys, text=text)

    def atoms(self, index: int) -> Any:
        atoms, text = self._read(index)
        # so that other files receive names such as 007 unchanged
        atoms.info |= {key: text[key] for key, value in atoms.info.items() if _is_rewritten(value, text.get(key))}
        return atoms

    def _read(self, index: int) -> tuple[Any, Mapping[str, str]]:
        """The atoms of a frame, and the text of each value of its comment line."""
        from ase.io import read

        lines = self._blocks[index].text
        with self._named_errors(index):
            if self._format != "extxyz":
                return read(StringIO(lines), 0, self._format), {}
            values, text = _comment(lines.split("\n", 2)[1].strip(), self.place(index))
            atoms: Any = read(StringIO(lines), 0, self._format, properties_parser=lambda _: dict(values))
            if "stress" in values and atoms.calc is not None:
                atoms.calc.results["stress"] = values["stress"]  # ASE keeps one triangle, symmetric or not
        return atoms, text

    @contextmanager
    def _named_errors(self, index: int) -> Iterator[None]:
        """Name the frame and its first line in errors that ASE raises."""
        try:
            yield
        except StructureError:
            raise
        except Exception as error:  # ASE's readers raise anything
            raise StructureError(
                f"{self.place(index)} ({self._blocks[index].described()}): ASE cannot read it: {told(error)}"
            ) from error


def _lines(path: Path, name: str) -> list[str]:
    from ase.io.formats import open_with_compression

    try:
        # with or without a byte-order mark
        with open_with_compression(str(path), "rb") as binary, TextIOWrapper(binary, encoding="utf-8-sig") as text:
            return list(text)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise StructureError(
            f"{name}: expected UTF-8 text, found the byte 0x{byte:02x}: save the file as UTF-8"
        ) from None
    except Exception as error:  # decompressing raises anything
        raise StructureError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _blocks(lines: Sequence[str], name: str) -> Iterator[_Block]:
    """Split a file into frames: a number of atoms, a comment, a line per atom, and cell vectors (ADF's VEC1 to VEC3).

    Raises:
        StructureError: the number of lines does not match the number of atoms.
    """
    start = found = 0
    while start < len(lines):
        header = lines[start].strip()
        if not header:
            start += 1
            continue
        place = f"{name}, line {start + 1}"
        if not (header.isascii() and header.isdigit()):
            raise StructureError(
                f"{place}: expected the number of atoms of frame {found}, found {header[:40]!r}: correct the number of "
                "atoms of the frame before, or remove the line"
            )
        atoms = start + 2
        end = atoms + int(header)
        blank = next((line for line in range(atoms, min(end, len(lines))) if not lines[line].strip()), None)
        if blank is not None or end > len(lines):
            what = f"line {blank + 1} is blank" if blank is not None else f"the file ends after line {len(lines)}"
            raise StructureError(
                f"{place}: expected {header} atoms of frame {found} from line {atoms + 1} on, but {what}: correct the "
                "number of atoms, or remove the frame if it is cut off"
            )
        while end < len(lines) and lines[end].lstrip().startswith("VEC"):
            end += 1
        yield _Block(start + 1, "".join(lines[start:end]))
        start, found = end, found + 1


_DELIMITERS = {'"': '"', "'": "'", "{": "}", "[": "]"}
_DELIMITED = "|".join(
    rf"{re.escape(first)}(?:\\.|[^\\{re.escape(last)}])*(?:{re.escape(last)}|\\?\Z)"
    for first, last in _DELIMITERS.items()
)
_PIECE = rf"""(?:{_DELIMITED}|\\.|\\\Z|[^\s=\\"'{{\[])"""
_ITEM = re.compile(rf"({_PIECE}+)(?:\s*=\s*((?:{_PIECE}|=)*))?", re.DOTALL)
"""A key, and its value if it has one, which may contain white space in quotes and brackets or after a backslash."""

_MATRICES = ("Lattice", "stress", "virial")
"""The keys of matrices, which extended XYZ stores column by column."""


def _comment(line: str, place: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Convert the values of a comment line as ASE does, and keep their text.

    Raises:
        StructureError: the periodicity, the lattice or a label has a wrong value.
    """
    from ase.calculators.calculator import all_properties
    from ase.io.extxyz import key_val_str_to_dict

    values: dict[str, Any] = {}
    text: dict[str, str] = {}
    for match in _ITEM.finditer(line):
        raw = "T" if match[2] is None else match[2]  # a key alone is true
        plain = _plain(match[1])
        if not plain:
            continue
        name = plain if plain.lower() == "uid" else "_"  # ASE has special rules for names of matrices, and for uid
        value = key_val_str_to_dict(f"{name}={raw}")[name]
        key = _spelled(plain, value)
        if key in ("pbc", "Lattice") and key in text and text[key] != _plain(raw):
            raise StructureError(f"{place}: {key} is given twice, as {text[key]!r} and {_plain(raw)!r}: remove one")
        if key in _MATRICES and np.shape(value) == (9,):
            value = value.reshape(3, 3, order="F")
        if key == "Lattice" and np.shape(value) != (3, 3):
            raise StructureError(f"{place}: Lattice: expected nine numbers, found {_plain(raw)!r}: correct the frame")
        if isinstance(value, str) and key in all_properties:
            raise StructureError(f"{place}: {key}: expected numbers, found {value[:40]!r}: correct or remove the frame")
        values[key], text[key] = value, _plain(raw)
    if "pbc" in values:
        values["pbc"] = periodic_directions(values["pbc"], place)
    return values, {key: value for key, value in text.items() if not value.startswith("_JSON ")}


def _spelled(key: str, value: Any) -> str:
    """ASE's spelling of keys that other programs write as `lattice` or `PBC`."""
    lower = key.lower()
    if lower == "pbc":
        return lower
    if lower == "lattice" and np.size(value) == 9:
        return "Lattice"
    return "Properties" if lower == "properties" and isinstance(value, str) and ":" in value else key


def _is_rewritten(value: Any, text: str | None) -> bool:
    return text is not None and isinstance(value, np.integer) and str(value) != text


def _plain(raw: str) -> str:
    """A key or value without its quotes, brackets and backslashes."""
    return "".join(_within(piece) for piece in re.findall(f"{_PIECE}|=", raw, re.DOTALL))


def _within(piece: str) -> str:
    if piece[0] in _DELIMITERS:
        piece = piece[1:].removesuffix(_DELIMITERS[piece[0]])
    return re.sub(r"\\(.?)", r"\1", piece, flags=re.DOTALL)
