"""Which reader a file or folder needs, and structures from files of all kinds."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gemnet_blocks.data.databases import AseLmdbSource, SqliteSource
from gemnet_blocks.data.lmdb_source import LmdbSource
from gemnet_blocks.data.npz_source import NpzSource
from gemnet_blocks.data.options import matching
from gemnet_blocks.data.readers import AseSource
from gemnet_blocks.data.sources import FrameSource
from gemnet_blocks.data.xyz_source import FORMATS as XYZ_FORMATS
from gemnet_blocks.data.xyz_source import XyzSource
from gemnet_blocks.errors import StructureError

DATABASES = (".lmdb", ".aselmdb", ".db")
"""Endings of the files that a folder may hold."""

REFUSED_FORMATS = frozenset({"bundletrajectory", "gpaw-out"})
"""Formats that ASE reads with pickle or by evaluating text as Python."""

METADATA = "metadata.npz"
"""The file in a folder of fairchem's databases that lists the numbers of atoms of all frames, as `natoms`."""


def open_sources(name: str, folder: Path, keys: Mapping[str, str], format: str | None = None) -> list[FrameSource]:
    """Open a file, all databases in a folder, or all files that match a pattern, in the order of their names.

    Args:
        name: the path or pattern, which is also its name in messages.
        folder: what relative paths are relative to.
        keys: other names of energy, forces and stress.
        format: ASE's name of the format; None: by the file's name and content.

    Raises:
        StructureError: there is no such file, or nothing in it, or it cannot be read.
        ImportError: a package is not installed that is needed to read it.
    """
    found = matching(name, folder)
    if not found:
        raise StructureError(f"{name}: no file matches this pattern (looked in {folder.absolute()})")
    return [source for file, path in found.items() for source in _opened(path, file, keys, format)]


def read_atoms(path: Path, index: str = ":") -> list[Any]:
    """Read structures from everything that models are trained on, as ASE atoms; lengths are taken to be in Å.

    Args:
        path: a file, a folder of databases, or a pattern of files.
        index: which frames of all these, as ASE writes slices.

    Raises:
        StructureError: the file cannot be read or holds no such structure.
    """
    from ase.io import string2index

    sources = open_sources(str(path), Path(), {})
    places = [(source, number) for source in sources for number in range(len(source))]
    try:
        wanted: Any = string2index(index)
        numbers: int | range = range(len(places))[wanted]
    except IndexError:
        numbers = range(0)
    except (TypeError, ValueError):
        raise StructureError(
            f"{path}: expected a number or a slice as index, such as -1 or 0:10, found {index!r}"
        ) from None
    chosen = [places[number] for number in ([numbers] if isinstance(numbers, int) else numbers)]
    if not chosen:
        raise StructureError(f"{path}: there is no structure at index {index}, as there are only {len(places)}")
    return [source.atoms(number) for source, number in chosen]


def _opened(path: Path, name: str, keys: Mapping[str, str], format: str | None) -> list[FrameSource]:
    """The frames of a file, or those of all databases in a folder."""
    if not path.exists():
        if path.is_symlink():
            raise StructureError(f"{name}: is a symbolic link to {path.readlink()}, which does not exist: correct it")
        raise StructureError(f"{name}: there is no such file (looked for {path.absolute()})")
    sources = _folder(path, name, keys) if path.is_dir() else [_file(path, name, keys, format)]
    for source in sources:
        if len(source) == 0 and len(sources) == 1:
            raise StructureError(f"{source.name}: there is no frame in it")
    return [source for source in sources if len(source)]


def _file(path: Path, name: str, keys: Mapping[str, str], format: str | None) -> FrameSource:
    if format is None:
        if path.suffix == ".npz":
            return NpzSource(path, keys, name)
        if path.suffix == ".lmdb":
            return LmdbSource(path, keys, name)
        if path.suffix == ".db":
            return SqliteSource(path, keys, name)
        if path.suffix == ".aselmdb":
            return AseLmdbSource(path, keys, name)
    found = format or _format(path, name)
    if found in REFUSED_FORMATS:
        raise StructureError(
            f"{name}: the format {found} can run code when it is read: convert it to extxyz with ASE first"
        )
    return XyzSource(path, keys, name, found) if found in XYZ_FORMATS else AseSource(path, keys, name, found)


def _format(path: Path, name: str) -> str:
    """ASE's name of a file's format, by the file's name and content."""
    from ase.io.formats import filetype

    try:
        found: str = filetype(str(path))
    except Exception as error:  # what decompresses and guesses raises anything
        raise StructureError(f"{name}: ASE cannot read it: {type(error).__name__}: {error}") from error
    return found


def _folder(path: Path, name: str, keys: Mapping[str, str]) -> list[FrameSource]:
    for suffix in DATABASES:
        files = sorted(path.glob(f"*{suffix}"))
        if files:
            sources = [_file(file, f"{name.rstrip('/')}/{file.name}", keys, None) for file in files]
            _share_counts(path / METADATA, sources)
            return sources
    raise StructureError(f"{name}: is a folder without files that end in {', '.join(DATABASES)}: name a file")


def _share_counts(path: Path, sources: list[FrameSource]) -> None:
    """Tell databases how many atoms their frames have, if the folder's metadata does and fits."""
    if not path.is_file():
        return
    try:
        with np.load(path, allow_pickle=False) as metadata:
            counts = np.asarray(metadata["natoms"], dtype=np.int64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return  # it saves time and nothing else
    ends = np.cumsum([len(source) for source in sources])
    if counts.shape == (ends[-1],):
        for source, share in zip(sources, np.split(counts, ends[:-1]), strict=True):
            source.known_counts = share
