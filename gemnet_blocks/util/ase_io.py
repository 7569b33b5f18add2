"""Structures from files and into files, as ASE reads and writes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gemnet_blocks.errors import StructureError, told
from gemnet_blocks.util.files import replacing

_WITH_RESULTS = ("extxyz", "traj", "json", "db")
"""Formats from which energies and forces can be read again."""


def output_format(path: Path, several: bool = False, results: bool = False) -> str:
    """The format of a file that is to be written, by its name: any that ASE writes; extxyz where the name says nothing.

    Args:
        path: the file.
        several: whether it must hold several structures.
        results: whether it must hold energies and forces.

    Raises:
        StructureError: ASE does not write this format, no more than one structure, or no results with it.
    """
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        known = ioformats.get(filetype(str(path), read=False))
    except UnknownFileTypeError:
        known = None
    if known is None or known.name == "xyz":
        return "extxyz"
    if not known.can_write or (several and known.single):
        what = "several structures" if several and known.can_write else "structures"
        raise StructureError(f"{path}: cannot hold {what}, as its name says {known.name}: choose a name in .extxyz")
    if results and known.name not in _WITH_RESULTS:
        raise StructureError(
            f"{path}: cannot hold energies and forces, as its name says {known.name}: choose a name in .extxyz, .traj, "
            ".json or .db"
        )
    return known.name


def write_frames(path: Path, frames: Sequence[Any]) -> None:
    """Write structures with the results that their calculators hold, as far as the format by the file's name has them.

    Raises:
        StructureError: the file cannot be written; what was there before stays.
    """
    from ase.io import write

    if path.is_dir():  # of which ASE would make a bundle of files
        raise StructureError(f"{path}: cannot be written: Is a directory")
    format = output_format(path, len(frames) > 1)
    try:
        with replacing(path) as temporary:
            write(temporary, frames, format=format)
    except (OSError, sqlite3.Error) as error:
        raise StructureError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
    except Exception as error:  # ASE's writers raise anything
        raise StructureError(
            f"{path}: ASE cannot write it as {format}: {told(error)}: choose a name in .extxyz"
        ) from error


def with_tag(frame: Any, tag: int) -> Any:
    """A copy in which atoms without tags have this one."""
    if frame.has("tags"):
        return frame
    frame = frame.copy()
    frame.set_tags([tag] * len(frame))
    return frame


def fixed_atoms(frame: Any) -> npt.NDArray[np.bool_]:
    """Whether each atom is held in place, in all three directions, by a constraint of ASE.

    Beside `FixAtoms` those are `FixCartesian` and `FixScaled`, which readers of extended XYZ and of VASP's files make
    of all fixed atoms as soon as one atom is held in some directions only.
    """
    from ase.constraints import FixAtoms, FixCartesian, FixScaled

    fixed = np.zeros(len(frame), dtype=bool)
    for constraint in frame.constraints:
        wholly = isinstance(constraint, (FixCartesian, FixScaled)) and constraint.mask.all()
        if wholly or isinstance(constraint, FixAtoms):
            fixed[constraint.index] = True
    return fixed
