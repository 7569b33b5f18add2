"""Frames from files that ASE reads: extended XYZ and many others."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from gemnet_blocks.data.frame import Frame, as_text, periodic_directions
from gemnet_blocks.data.sources import FrameSource
from gemnet_blocks.errors import StructureError
from gemnet_blocks.util.ase_io import fixed_atoms
from gemnet_blocks.util.charges import is_charge_or_spin

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
        format: ASE's name of the format.

    Raises:
        StructureError: ASE cannot read the file, or not all of it.
    """

    def __init__(self, path: Path, keys: Mapping[str, str], name: str, format: str) -> None:
        self.name = name
        self._path, self._keys, self._format = path, keys, format
        self._found = list(self._read())
        _check_complete(path, format, [len(atoms) for atoms, _ in self._found], name)

    def __len__(self) -> int:
        return len(self._found)

    def frame(self, index: int) -> Frame:
        """Frame number `index`."""
        atoms, more = self._found[index]
        return frame_of(atoms, self._keys, more)

    def atoms(self, index: int) -> Any:
        """Frame number `index` as ASE atoms."""
        return self._found[index][0]

    def _read(self) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """Atoms and what else the file says of them."""
        count = 0
        try:
            for found in self._rows() if self._format == "json" else self._images():
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

        for index, row in enumerate(connect(str(self._path), type="json").select()):
            more = {**row.data, **row.key_value_pairs}
            yield atoms_of_row(row, more, self.place(index)), more


def atoms_of_row(row: Any, more: Mapping[str, Any], place: str) -> Any:
    """The atoms of a row of an ASE database, with the total charge and spin among its other values.

    Raises:
        StructureError: its periodicity is not three truth values.
    """
    row.pbc = periodic_directions(row.pbc, place)
    atoms = row.toatoms()
    atoms.info |= {key: value for key, value in more.items() if is_charge_or_spin(key)}
    return atoms


_FRAMES: Mapping[str, str] = {
    "lammps-dump-text": r"^ITEM: NUMBER OF ATOMS\s*\n\s*(\d+)",
    "vasp-xdatcar": r"^\s*Direct configuration=()",
    "vasp-out": r"POSITION +TOTAL-FORCE()",
    "vasp-xml": r"<calculation>()",
    "proteindatabank": r"^MODEL\b()",
    "castep-md": r"<-- +E\s*$()",
    "castep-geom": r"<-- +E\s*$()",
    "runnerdata": r"^\s*begin\b()",
}
"""What begins a frame, and its number of atoms where it follows, in formats of which ASE leaves out frames silently."""

_OF_RUNS = ("vasp-out", "vasp-xml")
"""Formats that programs write while they run, and that end within a frame when they are killed."""


def _check_complete(path: Path, format: str, counts: Sequence[int], name: str) -> None:
    """Check that ASE has read all frames of a text file; the last one of a VASP run that was killed gives a warning.

    Args:
        path: the file.
        format: ASE's name of the format.
        counts: the numbers of atoms of the frames that ASE has read.
        name: the file's name in messages.

    Raises:
        StructureError: there are more frames, or atoms, in the file.
    """
    from ase.io.formats import open_with_compression

    if format not in _FRAMES:
        return
    with open_with_compression(str(path), "rb") as file:
        promised = re.findall(_FRAMES[format], file.read().decode(errors="replace"), re.MULTILINE)
    if format in _OF_RUNS and len(counts) == len(promised) - 1:
        warnings.warn(f"{name}: frame {len(counts)}, the last one, is incomplete and is left out", stacklevel=3)
    elif len(counts) < len(promised):
        raise StructureError(
            f"{name}: has {len(promised)} frames, of which ASE ({format}) reads {len(counts)}: remove frames that are "
            "cut off, and blank or foreign lines between frames"
        )
    for index, (count, wanted) in enumerate(zip(counts, promised, strict=False)):
        if wanted and count != int(wanted):
            raise StructureError(
                f"{name}, frame {index}: has {count} of its {wanted} atoms: remove the frame if it is cut off"
            )


def frame_of(
    atoms: Any, keys: Mapping[str, str], more: Mapping[str, Any] | None = None, text: Mapping[str, str] | None = None
) -> Frame:
    """ASE atoms as a frame.

    Args:
        atoms: with a calculator that knows results, or with labels in `info` and `arrays`.
        keys: other names of energy, forces and stress.
        more: further values by name.
        text: values in `info` as the file writes them.
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
        text={**as_text(per_structure), **{key: value for key, value in (text or {}).items() if key in atoms.info}},
        initial_charges=atoms.arrays.get("initial_charges"),
        available=sorted(key for key in known if key not in (*_OF_ASE, *_NO_LABELS)),
    )
