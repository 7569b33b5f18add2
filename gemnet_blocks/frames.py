"""Structures from files, as ASE reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gemnet_blocks.errors import StructureError


def read_frames(path: Path, index: str = ":") -> list[Any]:
    """Structures from a file that ASE reads.

    Raises:
        StructureError: the file cannot be read or holds no structure.
    """
    from ase.io import read

    if not path.is_file():
        raise StructureError(f"{path}: is a folder" if path.is_dir() else f"{path}: there is no such file")
    try:
        frames = read(path, index=index)
    except (IndexError, StopIteration) as error:
        raise StructureError(f"{path}: there is no structure at index {index}") from error
    except Exception as error:  # ASE's readers raise anything
        raise StructureError(f"{path}: ASE cannot read it: {type(error).__name__}: {error}") from error
    frames = frames if isinstance(frames, list) else [frames]
    if not frames:
        raise StructureError(f"{path}: there is no structure at index {index}")
    return frames


def with_tag(frame: Any, tag: int) -> Any:
    """A copy in which atoms without tags have this one."""
    if frame.has("tags"):
        return frame
    frame = frame.copy()
    frame.set_tags([tag] * len(frame))
    return frame
