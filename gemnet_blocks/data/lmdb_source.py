"""Frames from LMDBs of Open Catalyst's S2EF tasks: pickled objects of PyTorch Geometric, one per frame."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from gemnet_blocks.data.frame import Frame, array_of, as_text
from gemnet_blocks.data.handles import LmdbHandle, unpacked
from gemnet_blocks.data.restricted import load_restricted
from gemnet_blocks.data.restricted_pickle import Held, RefusedPickleError, Shell, plain
from gemnet_blocks.data.sources import FrameSource
from gemnet_blocks.errors import StructureError

LABELS: Mapping[str, tuple[str, ...]] = {
    "energy": ("energy", "y"),
    "forces": ("forces", "force"),
    "stress": ("stress",),
}
"""The names of labels, of all versions of the format. `y` is an adsorption energy in OC20 and a total one in OC22."""

_NO_LABELS = ("pos", "cell", "natoms", "atomic_numbers", "tags", "fixed", "pbc", "edge_index", "cell_offsets")


@final
class LmdbSource(FrameSource):
    """One file of numbered frames, read when they are needed; PyTorch Geometric is not used.

    A frame without `pbc` is periodic in all directions, as all frames of OC20 and OC22 are; one without a cell is not.

    Args:
        path: the LMDB, a file.
        keys: other names of energy, forces and stress.
        name: what messages call it.

    Raises:
        StructureError: it is no LMDB.
        ImportError: the package lmdb is not installed.
    """

    streamed: ClassVar[bool] = True

    def __init__(self, path: Path, keys: Mapping[str, str], name: str) -> None:
        self.name = name
        self._keys = keys
        self._handle = LmdbHandle(path, name)
        self._indices: list[int] | None = None
        self._length = self._find_length()

    def __len__(self) -> int:
        return self._length

    def frame(self, index: int) -> Frame:
        """Frame number `index`."""
        number = self._indices[index] if self._indices is not None else index
        content = self._handle.get(str(number))
        if content is None:
            raise StructureError(f"{self.place(index)}: there is no entry {number} in the LMDB")
        try:
            # some files compress each frame: that is zlib's first byte, and pickles begin with 0x80
            loaded = load_restricted(unpacked(content) if content.startswith(b"x") else content)
        except ValueError as error:
            raise StructureError(f"{self.place(index)}: is refused: {error}") from None
        if isinstance(loaded, Shell):
            return self._frame(loaded.attributes(), index)
        if isinstance(loaded, Mapping):
            return self._frame(plain(loaded), index)
        raise StructureError(f"{self.place(index)}: holds {type(loaded).__name__}, no data object of Open Catalyst")

    def _frame(self, values: Mapping[str, Any], index: int) -> Frame:
        for name in ("pos", "atomic_numbers"):
            if name not in values:
                raise StructureError(
                    f"{self.place(index)}: has no {name}, so it is no frame of S2EF: it has {', '.join(sorted(values))}"
                )
        place, fixed = self.place(index), values.get("fixed")
        cell = array_of(values.get("cell", np.zeros((3, 3))), "the cell", place)
        return Frame(
            positions=values["pos"],
            numbers=values["atomic_numbers"],
            cell=cell[0] if cell.shape == (1, 3, 3) else cell,
            periodic=array_of(values.get("pbc", "cell" in values), "periodicity", place).reshape(-1),
            tags=values.get("tags"),
            fixed=None if fixed is None else array_of(fixed, "fixed atoms", place) != 0,
            labels={label: self._label(values, label) for label in LABELS},
            text=as_text(values),
            available=sorted(set(values) - set(_NO_LABELS)),
        )

    def _label(self, values: Mapping[str, Any], label: str) -> Any:
        names = (self._keys[label],) if label in self._keys else LABELS[label]
        return next((values[name] for name in names if name in values), None)

    def _find_length(self) -> int:
        content = self._handle.get("length")
        if content is None:  # some files do not say: count
            self._indices = self._handle.numbered()
            return len(self._indices)
        try:
            length = load_restricted(content)
        except RefusedPickleError as error:
            raise StructureError(f"{self.name}: its length is refused: {error}") from None
        length = length.value.item() if isinstance(length, Held) else length
        if not isinstance(length, int) or length < 0:
            raise StructureError(f"{self.name}: its length is {length!r}: a whole number is needed")
        if length > self._handle.entries():
            raise StructureError(
                f"{self.name}: says that it has {length} frames, and has no more than "
                f"{self._handle.entries() - 1}: copy it again"
            )
        return length
