"""Writing of structures with ASE, and their tags and constraints."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gemnet_blocks.errors import StructureError, told
from gemnet_blocks.util.files import replacing

_WITH_RESULTS = ("extxyz", "traj", "json", "db")
"""Formats that store energies and forces."""


def output_format(path: Path, several: bool = False, results: bool = False) -> str:
    """Return the format in which ASE writes a file by its name; extxyz for other names.

    Args:
        path: the file.
        several: require a format for several structures.
        results: require a format for energies and forces.

    Raises:
        StructureError: ASE does not write the format, or the format does not meet the requirements.
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
        raise StructureError(f"{path}: the format {known.name} cannot store {what}: choose a name in .extxyz")
    if results and known.name not in _WITH_RESULTS:
        raise StructureError(
            f"{path}: the format {known.name} cannot store energies and forces: choose a name in .extxyz, .traj, .json "
            "or .db"
        )
    return known.name


def write_frames(path: Path, frames: Sequence[Any]) -> None:
    """Write structures with the results of their calculators, if the format of the file stores results.

    Raises:
        StructureError: the file cannot be written; an existing file is not changed.
    """
    from ase.io import write

    if path.is_dir():  # in which ASE would write a bundle
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
    """Return a copy in which untagged atoms have a tag."""
    if frame.has("tags"):
        return frame
    frame = frame.copy()
    frame.set_tags([tag] * len(frame))
    return frame


def fixed_atoms(frame: Any) -> npt.NDArray[np.bool_]:
    """Return a mask of the atoms that constraints of ASE fix in all three directions.

    Besides `FixAtoms`, these are `FixCartesian` and `FixScaled`, which readers of extended XYZ and VASP files
    create for all fixed atoms if one atom is fixed in some directions only.
    """
    from ase.constraints import FixAtoms, FixCartesian, FixScaled

    fixed = np.zeros(len(frame), dtype=bool)
    for constraint in frame.constraints:
        wholly = isinstance(constraint, (FixCartesian, FixScaled)) and constraint.mask.all()
        if wholly or isinstance(constraint, FixAtoms):
            fixed[constraint.index] = True
    return fixed


def set_results(atoms: Any, results: Mapping[str, Any], of_atoms: Collection[str] = ()) -> None:
    """Store results so that files contain them.

    Args:
        atoms: the atoms, which are changed.
        results: values by name. Those with names of ASE become results of a calculator, the others entries of `arrays`
            or `info`.
        of_atoms: the names of the results with a value per atom.
    """
    from ase.calculators.calculator import all_properties
    from ase.calculators.singlepoint import SinglePointCalculator

    known = {name: value for name, value in results.items() if name in all_properties}
    atoms.calc = SinglePointCalculator(atoms, **known)
    for name in results.keys() - known.keys():
        if name in of_atoms:
            atoms.arrays[name] = results[name]
        else:
            atoms.info[name] = results[name]
