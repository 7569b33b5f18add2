"""Where specs, studies and training configs are: paths, and the names of the files that the library ships."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.document import STANDARD_INPUT, Document, absent, shown
from gemnet_blocks.util.shipped import ShippedKind, shipped_file, shipped_names

if TYPE_CHECKING:
    from os import PathLike

_YAML = (".yaml", ".yml")


def list_specs(pattern: str = "*") -> list[str]:
    """List the names of the specs that the library ships, all of which `load_spec` and `extends` take.

    Args:
        pattern: a wildcard pattern that the names match, such as `gemnet-*`, `*dt*` or `bridge/*`.
    """
    return shipped_names("a spec", pattern)


def find_document(path: str | PathLike[str], folder: Path = Path()) -> Path:
    """The file at a path relative to a folder; if there is none, the file that the library ships under this name.

    A file of exactly this name takes precedence over a shipped one; a directory of the name does not.
    """
    file = folder / path
    return file if file.is_file() else shipped_file(Path(path).as_posix()) or file


def folder_of(path: Path) -> Path:
    """The folder that paths of data and results in a document are relative to: that of the file.

    For a document that the library ships, or that is read from standard input, it is the current folder.
    """
    return path.parent if path.is_file() else Path()


def check_found(found: Path, path: str | PathLike[str], kind: ShippedKind) -> None:
    """Check that the file that `find_document` found for a path exists.

    Raises:
        SpecError: the file is missing; the message suggests a similar name.
    """
    if found != STANDARD_INPUT and not found.exists():
        raise SpecError(f"{found}: {absent(found)}{_suggestion(found, Path(path), kind)}")


def existing_document(path: str, folder: Path, place: str, kind: ShippedKind = "a spec") -> Path:
    """Find the file that another file names.

    Args:
        path: relative to `folder`, or the name of a file that the library ships.
        folder: the folder of the file that names it.
        place: the entry that names it, for the message.
        kind: the kind of the file.

    Raises:
        SpecError: the file does not exist; suggests a similar name.
    """
    found = find_document(path, folder)
    if found.is_file():
        return found
    if found.is_dir():
        raise SpecError(f"{place}: {found} is a directory")
    missing = absent(found) if found.is_symlink() else "does not exist"
    raise SpecError(f"{place}: {found} {missing}{_suggestion(found, Path(path), kind)}")


def extended_document(
    document: Document, folder: Path, kind: ShippedKind, expected: str, chain: Sequence[Path]
) -> Path:
    """Find the file that a study or training config extends.

    Args:
        document: the file that has the entry `extends`.
        folder: the folder that its path is relative to.
        kind: the kind of both files.
        expected: what the entry must be, for the message.
        chain: the file and those that extend it.

    Raises:
        SpecError: the entry is not a path, the file does not exist, or it is one of those that extend it.
    """
    extended, where = document.data["extends"], f"{document.place(('extends',))}: extends"
    if not isinstance(extended, str):
        raise SpecError(f"{where}: {expected}, got {shown(extended)}")
    other = existing_document(extended, folder, where, kind)
    if other.resolve() in chain:
        raise SpecError(f"{where}: {other} extends this file in turn: remove one of the two entries")
    return other


def _suggestion(missing: Path, path: Path, kind: ShippedKind) -> str:
    """End an error with the file in the same folder or the shipped name that a missing path may mean."""
    if missing.is_symlink():
        return ""
    names = shipped_names(kind)
    by_last_part = {name.rpartition("/")[2]: name for name in reversed(names)}
    beside = [file.name for file in missing.parent.glob("*") if file.suffix in _YAML and file != missing]
    known = {**by_last_part, **{name: name for name in names}, **{name: name for name in beside}}
    if path.suffix in _YAML:  # a file, which may be that of a shipped spec
        return _closest(path.name, {name: name for name in beside}) or _closest(path.stem, by_last_part, 1.0)
    close = _closest(path.name, {name: name for name in beside}) or _closest(path.as_posix().lower(), known)
    return f"{close or ';'} `gemnet-blocks specs` lists the names that the library ships"


def _closest(name: str, known: Mapping[str, str], cutoff: float = 0.6) -> str:
    found = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"; did you mean {known[found[0]]!r}?" if found else ""
