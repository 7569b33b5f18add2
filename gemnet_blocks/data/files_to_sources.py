"""Which reader a file or folder needs."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gemnet_blocks.data.ase_source import AseSource
from gemnet_blocks.data.database_source import AseLmdbSource, SqliteSource
from gemnet_blocks.data.lmdb_source import LmdbSource
from gemnet_blocks.data.npz_source import NpzSource
from gemnet_blocks.data.sources import FrameSource
from gemnet_blocks.errors import StructureError

DATABASES = (".lmdb", ".aselmdb", ".db")
"""Endings of the files that a folder may hold."""

METADATA = "metadata.npz"
"""The file in a folder of fairchem's databases that lists the numbers of atoms of all frames, as `natoms`."""


def open_sources(path: Path, name: str, keys: Mapping[str, str], format: str | None = None) -> list[FrameSource]:
    """The frames of a file, or those of all databases in a folder, by their names.

    Args:
        path: the file or folder.
        name: what messages call it.
        keys: other names of energy, forces and stress.
        format: ASE's name of the format; None: by the file's name and content.

    Raises:
        StructureError: there is no such file, or nothing in it, or it cannot be read.
        ImportError: a package is not installed that is needed to read it.
    """
    if not path.exists():
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
    return AseSource(path, keys, name, format)


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
