"""Frames from the formats that ASE reads, and from numpy archives."""

from __future__ import annotations

import codecs
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from gemnet_blocks.data.completeness import check_counts, check_frame_marks
from gemnet_blocks.data.frame import LABELS, Frame, FrameSource, as_text, periodic_directions
from gemnet_blocks.errors import StructureError, told
from gemnet_blocks.util.ase_io import fixed_atoms
from gemnet_blocks.util.charges import is_charge_or_spin

_OF_ASE = ("numbers", "positions", "tags", "move_mask", "initial_magmoms", "initial_charges", "momenta", "masses")
_NO_LABELS = ("energies", "stresses", "free_energies")


@final
class AseSource(FrameSource):
    """All frames of a file that `ase.io.iread` reads.

    Labels are results of the frame's calculator, or entries of `info` and `arrays` with the same names.

    Args:
        path: the file.
        keys: other names of energy, forces and stress, and the names of further properties.
        name: the file's name in messages.
        format: ASE's name of the format.

    Raises:
        StructureError: ASE cannot read all of the file.
    """

    def __init__(self, path: Path, keys: Mapping[str, str], name: str, format: str) -> None:
        self.name = name
        self._path, self._keys, self._format = path, keys, format
        self._found = list(self._read())
        check_counts(path, format, [len(atoms) for atoms, _ in self._found], name)

    def __len__(self) -> int:
        return len(self._found)

    def frame(self, index: int) -> Frame:
        atoms, more = self._found[index]
        return frame_of(atoms, self._keys, more)

    def atoms(self, index: int) -> Any:
        return self._found[index][0]

    def _read(self) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """Atoms, and values that ASE does not store in them."""
        count = 0
        try:
            check_frame_marks(self._path, self._format, self.name)
            for found in self._rows() if self._format == "json" else self._images():
                yield found
                count += 1
        except StructureError:
            raise
        except Exception as error:  # ASE's readers raise anything
            raise StructureError(
                f"{self.name}, frame {count}: ASE cannot read it: {told(error)}{_byte_order_mark(self._path)}"
            ) from error

    def _images(self) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        from ase.io import iread

        for atoms in iread(self._path, ":", self._format, do_not_split_by_at_sign=True):
            if len(atoms) or self._format != "proteindatabank":  # ASE takes END behind ENDMDL for an empty frame
                yield atoms, {}

    def _rows(self) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        """The rows of a database in JSON, with the key-value pairs and data that `iread` omits."""
        from ase.db import connect

        for index, row in enumerate(connect(str(self._path), type="json").select()):
            more = {**row.data, **row.key_value_pairs}
            yield atoms_of_row(row, more, self.place(index)), more


def _byte_order_mark(path: Path) -> str:
    """A hint for files that begin with a byte-order mark, as editors on Windows write it; else empty."""
    try:
        with path.open("rb") as file:
            start = file.read(3)
    except OSError:
        return ""
    marked = start.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return ". It begins with a byte-order mark: save it as UTF-8 without one" if marked else ""


def atoms_of_row(row: Any, more: Mapping[str, Any], place: str) -> Any:
    """Convert a row of an ASE database to atoms, with the total charge and spin among its other values in `info`.

    Raises:
        StructureError: the periodicity is not three truth values.
    """
    row.pbc = periodic_directions(row.pbc, place)
    atoms = row.toatoms()
    atoms.info |= {key: value for key, value in more.items() if is_charge_or_spin(key)}
    return atoms


def frame_of(
    atoms: Any, keys: Mapping[str, str], more: Mapping[str, Any] | None = None, text: Mapping[str, str] | None = None
) -> Frame:
    """Convert ASE atoms to a frame.

    Args:
        atoms: atoms with labels in the results of a calculator, or in `info` and `arrays`.
        keys: other names of energy, forces and stress, and the names of further properties.
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
        labels={name: known.get(keys.get(name, name)) for name in (*LABELS, *keys)},
        text={**as_text(per_structure), **{key: value for key, value in (text or {}).items() if key in atoms.info}},
        initial_charges=atoms.arrays.get("initial_charges"),
        available=sorted(key for key in known if key not in (*_OF_ASE, *_NO_LABELS)),
    )


POSITIONS = ("coords", "R", "positions")
NUMBERS = ("nuclear_charges", "z", "numbers")
ENERGY = ("energies", "E", "energy")
FORCES = ("forces", "F")
CELLS = ("cells", "cell", "lattice")
PERIODIC = ("pbc",)
"""Names of arrays: those of rMD17, those of MD17, and plain ones."""

LETTERS = {"Q": "charge (Q)", "S": "spin (S)"}
"""Names of the total charge and spin in archives with R, E and F, such as those of PhysNet and SpookyNet."""


@final
class NpzSource(FrameSource):
    """The frames of a numpy archive (.npz), which is read without unpickling.

    Arrays are positions (frames, atoms, 3), atomic numbers (atoms,) or (frames, atoms), energies (frames,) and forces
    (frames, atoms, 3). Cells, (frames, 3, 3) or (3, 3) for all, make frames periodic in all directions, or in those
    that `pbc`, (frames, 3) or (3,), names. Frames can be grouped by all other arrays with an entry per frame.

    Args:
        path: the archive.
        keys: other names of energy, forces and stress, and the names of further properties.
        name: the file's name in messages.

    Raises:
        StructureError: the file is not an archive of numbers, or arrays are missing or of inconsistent shapes.
    """

    def __init__(self, path: Path, keys: Mapping[str, str], name: str) -> None:
        self.name = name
        arrays = _arrays(path, name)
        self._positions = self._find(arrays, "positions", POSITIONS)
        if self._positions.ndim != 3 or self._positions.shape[2] != 3:
            shape = self._positions.shape
            raise StructureError(f"{name}: positions: expected the shape (frames, atoms, 3), found {shape}")
        numbers = self._find(arrays, "atomic numbers", NUMBERS)
        shape = self._positions.shape[:2]
        if numbers.shape not in (shape, shape[1:]):
            raise StructureError(f"{name}: atomic numbers: expected the shape {shape[1:]}, found {numbers.shape}")
        self._numbers = np.broadcast_to(numbers, shape)
        self._arrays = {key: array for key, array in arrays.items() if array.shape[:1] == shape[:1]}
        named = dict(arrays)
        if {"R", "Q"} <= arrays.keys() and not arrays.keys().isdisjoint(("E", "F")):
            named |= {name: arrays[key] for key, name in LETTERS.items() if _are_whole(arrays.get(key))}
        # such an array may be a column, or one value for all frames
        for key, array in named.items():
            if is_charge_or_spin(key) and array.size in (1, shape[0]):
                self._arrays[key] = np.broadcast_to(array.reshape(-1), shape[:1])
        self._labels = {
            "energy": self._label(arrays, keys.get("energy"), ENERGY),
            "forces": self._label(arrays, keys.get("forces"), FORCES),
            "stress": self._label(arrays, keys.get("stress"), ("stress",)),
        }
        self._labels |= {name: self._label(arrays, key, ()) for name, key in keys.items() if name not in LABELS}
        self._cells = self._of_frames(arrays, "cells", CELLS, (3, 3))
        self._periodic = self._of_frames(arrays, "periodicity", PERIODIC, (3,))
        self._available = sorted(arrays)
        self.known_counts = np.full(shape[0], shape[1], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._positions)

    def frame(self, index: int) -> Frame:
        cells, periodic = self._cells, self._periodic
        return Frame(
            positions=self._positions[index],
            numbers=self._numbers[index],
            cell=np.zeros((3, 3)) if cells is None else cells[index],
            periodic=cells is not None if periodic is None else periodic[index],
            labels={name: values[index] for name, values in self._labels.items() if values is not None},
            text=as_text({key: array[index] for key, array in self._arrays.items() if array.ndim == 1}),
            available=self._available,
        )

    def _find(self, arrays: Mapping[str, Any], what: str, names: tuple[str, ...]) -> npt.NDArray[Any]:
        for key in names:
            if key in arrays:
                return arrays[key]
        raise StructureError(
            f"{self.name}: has no {what}: expected an array {' or '.join(names)}, found {', '.join(arrays)}"
        )

    def _of_frames(
        self, arrays: Mapping[str, Any], what: str, names: tuple[str, ...], shape: tuple[int, ...]
    ) -> npt.NDArray[Any] | None:
        """An array with an entry of this shape for every frame, or one entry for all frames."""
        key = next((name for name in names if name in arrays), None)
        if key is None:
            return None
        values: npt.NDArray[Any] = arrays[key]
        every = (len(self), *shape)
        if values.shape not in (every, shape):
            raise StructureError(
                f"{self.name}: {what} ({key}): expected the shape {every} or {shape}, found {values.shape}"
            )
        return np.broadcast_to(values, every)

    def _label(self, arrays: Mapping[str, Any], key: str | None, names: tuple[str, ...]) -> npt.NDArray[Any] | None:
        found = next((name for name in ((key,) if key else names) if name in arrays), None)
        if found is None:
            return None
        values: npt.NDArray[Any] = arrays[found]
        if values.shape[:1] != (len(self),):
            raise StructureError(
                f"{self.name}: {found}: expected a row for each of {len(self)} frames, found the shape {values.shape}"
            )
        return values


def _are_whole(values: npt.NDArray[Any] | None) -> bool:
    """Whether an array may hold total charges or numbers of electrons."""
    return values is not None and values.dtype.kind in "iuf" and bool((np.abs(values - np.rint(values)) < 0.01).all())


_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    MemoryError,  # a header that states too large a shape
    RuntimeError,  # encryption, or an unknown compression
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors of numpy and zipfile for damaged archives."""


def _arrays(path: Path, name: str) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, npt.NDArray[Any]] = {}
            for key in archive.files:
                try:
                    array = archive[key]
                except ValueError as error:
                    if "pickle" not in str(error).lower():
                        raise
                    # unpickling an object array could run code
                    continue
                if isinstance(array, np.ndarray):  # other files of the archive are bytes
                    arrays[key] = array
            return arrays
    except _UNREADABLE as error:
        raise StructureError(f"{name}: is not a numpy archive, or is damaged: {error}") from None
