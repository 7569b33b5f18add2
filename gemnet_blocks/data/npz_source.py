"""Frames of one molecule in a numpy archive, as the data sets rMD17 and MD17 have them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from gemnet_blocks.data.frame import Frame, as_text
from gemnet_blocks.data.sources import FrameSource
from gemnet_blocks.errors import StructureError
from gemnet_blocks.util.charges import is_charge_or_spin

POSITIONS = ("coords", "R", "positions")
NUMBERS = ("nuclear_charges", "z", "numbers")
ENERGY = ("energies", "E", "energy")
FORCES = ("forces", "F")
CELLS = ("cells", "cell", "lattice")
PERIODIC = ("pbc",)
"""The names under which archives have them: those of rMD17, of MD17, and plain ones."""


@final
class NpzSource(FrameSource):
    """Positions (frames, atoms, 3), atomic numbers (atoms,), energies (frames,), forces (frames, atoms, 3).

    Atomic numbers may have a row per frame. Cells, (frames, 3, 3) or (3, 3) for all, make frames periodic, in all
    directions or where `pbc`, (frames, 3) or (3,), says so. All other arrays with an entry per frame are information
    that frames can be grouped by. Nothing is unpickled.

    Args:
        path: the archive.
        keys: other names of energy, forces and stress.
        name: what messages call it.

    Raises:
        StructureError: it is no archive of numbers, or its arrays are missing or do not fit each other.
    """

    def __init__(self, path: Path, keys: Mapping[str, str], name: str) -> None:
        self.name = name
        arrays = _arrays(path, name)
        self._positions = self._find(arrays, "positions", POSITIONS)
        if self._positions.ndim != 3 or self._positions.shape[2] != 3:
            shape = self._positions.shape
            raise StructureError(f"{name}: positions: the shape is {shape}, (frames, atoms, 3) is needed")
        numbers = self._find(arrays, "atomic numbers", NUMBERS)
        shape = self._positions.shape[:2]
        if numbers.shape not in (shape, shape[1:]):
            raise StructureError(f"{name}: atomic numbers: the shape is {numbers.shape}, {shape[1:]} is needed")
        self._numbers = np.broadcast_to(numbers, shape)
        self._arrays = {key: array for key, array in arrays.items() if array.shape[:1] == shape[:1]}
        # also in a column, or one for all frames
        for key, array in arrays.items():
            if is_charge_or_spin(key) and array.size in (1, shape[0]):
                self._arrays[key] = np.broadcast_to(array.reshape(-1), shape[:1])
        self._labels = {
            "energy": self._label(arrays, keys.get("energy"), ENERGY),
            "forces": self._label(arrays, keys.get("forces"), FORCES),
            "stress": self._label(arrays, keys.get("stress"), ("stress",)),
        }
        self._cells = self._of_frames(arrays, "cells", CELLS, (3, 3))
        self._periodic = self._of_frames(arrays, "periodicity", PERIODIC, (3,))
        self._available = sorted(arrays)
        self.known_counts = np.full(shape[0], shape[1], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._positions)

    def frame(self, index: int) -> Frame:
        """Frame number `index`."""
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
            f"{self.name}: has no {what}: an array {' or '.join(names)} is needed, there are {', '.join(arrays)}"
        )

    def _of_frames(
        self, arrays: Mapping[str, Any], what: str, names: tuple[str, ...], shape: tuple[int, ...]
    ) -> npt.NDArray[Any] | None:
        """An array that has an entry of this shape for every frame, or one for all."""
        key = next((name for name in names if name in arrays), None)
        if key is None:
            return None
        values: npt.NDArray[Any] = arrays[key]
        every = (len(self), *shape)
        if values.shape not in (every, shape):
            raise StructureError(
                f"{self.name}: {what}: the shape of {key} is {values.shape}, {every} or {shape} is needed"
            )
        return np.broadcast_to(values, every)

    def _label(self, arrays: Mapping[str, Any], key: str | None, names: tuple[str, ...]) -> npt.NDArray[Any] | None:
        found = next((name for name in ((key,) if key else names) if name in arrays), None)
        if found is None:
            return None
        values: npt.NDArray[Any] = arrays[found]
        if values.shape[:1] != (len(self),):
            raise StructureError(
                f"{self.name}: {found}: the shape is {values.shape}, a row for each of {len(self)} frames is needed"
            )
        return values


_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    MemoryError,  # a heading that claims too much
    RuntimeError,  # encrypted, or compressed in an unknown way
    zipfile.BadZipFile,
    zlib.error,
)
"""What broken archives make numpy and zipfile raise."""


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
                    # an object array: it could run code, and nothing here needs it
                    continue
                if isinstance(array, np.ndarray):  # or else a file of another kind
                    arrays[key] = array
            return arrays
    except _UNREADABLE as error:
        raise StructureError(f"{name}: is no numpy archive that can be read: {error}") from None
