"""Frames from files that ASE reads: extended XYZ and many others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from gemnet_blocks.data.frame import Frame
from gemnet_blocks.data.sources import FrameSource
from gemnet_blocks.errors import StructureError
from gemnet_blocks.frames import fixed_atoms

REFUSED_FORMATS = frozenset({"bundletrajectory", "gpaw-out"})
"""Formats that ASE reads with pickle or by evaluating text as Python."""

_OF_ASE = ("numbers", "positions", "tags", "move_mask", "initial_magmoms", "initial_charges", "momenta", "masses")
_NO_LABELS = ("energies", "stresses", "magmoms", "charges", "magmom", "dipole", "free_energies")


@final
class AseSource(FrameSource):
    """All frames of a file that `ase.io.iread` understands.

    Labels are the results of the frame's calculator, or what `info` and `arrays` have under the same name.

    Args:
        path: the file.
        keys: other names of energy, forces and stress.
        name: what messages call it.
        format: ASE's name of the format; None: by the file's name and content.
    """

    def __init__(self, path: Path, keys: Mapping[str, str], name: str, format: str | None = None) -> None:
        self.name = name
        self._path, self._keys, self._format = path, keys, format
        self._frames = [frame_of(atoms, keys, more) for atoms, more in self._read()]

    def __len__(self) -> int:
        return len(self._frames)

    def frame(self, index: int) -> Frame:
        """Frame number `index`."""
        return self._frames[index]

    def _read(self) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """Atoms and what else the file says of them."""
        count = 0
        try:
            for found in self._rows() if self._checked_format() == "json" else self._images():
                yield found
                count += 1
        except StructureError:
            raise
        except Exception as error:  # ASE's readers raise anything
            raise StructureError(
                f"{self.name}, frame {count}: ASE cannot read it: {type(error).__name__}: {error}"
            ) from error

    def _images(self) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        from ase.io import iread

        for atoms in iread(self._path, ":", self._format, do_not_split_by_at_sign=True):
            yield atoms, {}

    def _rows(self) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """Those of a database in JSON, of which `iread` leaves out key-value pairs and data."""
        from ase.db import connect

        for row in connect(str(self._path), type="json").select():
            yield row.toatoms(), {**row.data, **row.key_value_pairs}

    def _checked_format(self) -> str:
        from ase.io.formats import filetype

        found: str = self._format or filetype(str(self._path))
        if found in REFUSED_FORMATS:
            raise StructureError(
                f"{self.name}: the format {found} can run code when it is read: convert it to extxyz with ASE first"
            )
        return found


def frame_of(atoms: Any, keys: Mapping[str, str], more: Mapping[str, Any] | None = None) -> Frame:
    """ASE atoms as a frame.

    Args:
        atoms: with a calculator that knows results, or with labels in `info` and `arrays`.
        keys: other names of energy, forces and stress.
        more: further values by name.
    """
    results: Mapping[str, Any] = getattr(atoms.calc, "results", None) or {}
    known: dict[str, Any] = {**(more or {}), **atoms.info, **atoms.arrays, **results}
    per_structure = {**(more or {}), **atoms.info}
    return Frame(
        positions=atoms.positions,
        numbers=atoms.numbers,
        cell=atoms.cell[:],
        periodic=atoms.pbc,
        tags=atoms.get_tags() if atoms.has("tags") else None,
        fixed=fixed_atoms(atoms),
        labels={name: known.get(keys.get(name, name)) for name in ("energy", "forces", "stress")},
        info={key: value for key, value in per_structure.items() if isinstance(value, (str, int, float, np.generic))},
        available=sorted(key for key in known if key not in (*_OF_ASE, *_NO_LABELS)),
    )
