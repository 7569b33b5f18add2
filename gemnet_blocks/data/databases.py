"""Frames from databases: ASE's in SQLite (.db) and LMDB (.aselmdb, as OMat24), and Open Catalyst's LMDBs (.lmdb)."""

from __future__ import annotations

import os
import sqlite3
import zlib
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, final
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from gemnet_blocks.data.frame import Frame, FrameSource, array_of, as_text
from gemnet_blocks.data.readers import atoms_of_row, frame_of
from gemnet_blocks.data.restricted_pickle import Held, RefusedPickleError, Shell, load_restricted, plain
from gemnet_blocks.errors import StructureError, told

_MAX_BYTES = 2**30
"""Maximum size of a decompressed entry; a larger entry is treated as malicious."""


def unpacked(content: bytes) -> bytes:
    """Decompress an entry with zlib.

    Raises:
        ValueError: the entry cannot be decompressed, or is larger than 1 GiB.
    """
    reader = zlib.decompressobj()
    try:
        whole = reader.decompress(content, _MAX_BYTES)
    except zlib.error as error:
        raise ValueError(f"it cannot be decompressed: {error}") from None
    if reader.unconsumed_tail:
        raise ValueError(f"it unpacks to more than {_MAX_BYTES} bytes")
    return whole


class _Opened:
    """An LMDB environment, which closes itself when the last reference is gone."""

    def __init__(self, environment: Any) -> None:
        self.environment, self.process = environment, os.getpid()


_OPEN: WeakValueDictionary[Path, _Opened] = WeakValueDictionary()
"""The open environments: a process can open an LMDB only once."""


@final
class LmdbHandle:
    """An LMDB in a single file, which each process opens at the first access and shares among its handles.

    Worker processes may receive a copy, by forking or pickling: they open the file themselves.

    Args:
        path: the file.
        name: the file's name in messages.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path.resolve(), name
        self._mine: _Opened | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mine": None}

    def get(self, key: str) -> bytes | None:
        """The value of a key; None if the key is missing.

        Raises:
            StructureError: the file is not an LMDB.
            ImportError: the package lmdb is not installed.
        """
        with self._environment().begin() as transaction:
            value: bytes | None = transaction.get(key.encode())
        return value

    def entries(self) -> int:
        """The number of entries, of any key."""
        return int(self._environment().stat()["entries"])

    def numbered(self) -> list[int]:
        """All keys that are integers, ascending."""
        with self._environment().begin() as transaction:
            keys = (bytes(key) for key in transaction.cursor().iternext(values=False))
            return sorted(int(key) for key in keys if key.isdigit())

    def _environment(self) -> Any:
        if self._mine is None or self._mine.process != os.getpid():
            opened = _OPEN.get(self._path)
            if opened is not None and opened.process != os.getpid():
                opened.environment.close()  # in a forked process, this closes only the copy of the parent's
                opened = None
            self._mine = _OPEN[self._path] = opened or _Opened(self._open())
        return self._mine.environment

    def _open(self) -> Any:
        try:
            import lmdb
        except ImportError as error:
            raise ImportError("LMDBs need the package lmdb: pip install 'gemnet_blocks[data]'") from error
        try:
            # without read-ahead, since frames are read in random order
            environment = lmdb.open(str(self._path), subdir=False, readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise StructureError(f"{self._name}: is not an LMDB, or is damaged: {error}") from None
        # the file is mapped into memory: reading beyond its end would crash the process
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        size = self._path.stat().st_size
        if size < needed:
            environment.close()
            raise StructureError(f"{self._name}: has {size} of its {needed} bytes: copy it again")
        return environment


class DatabaseSource(FrameSource):
    """The rows of an ASE database in the order of their ids, read at each access.

    Frames can be grouped by the key-value pairs and data of their rows, which may include labels.

    Args:
        path: the database.
        keys: other names of energy, forces and stress, and the names of further properties.
        name: the file's name in messages.

    Raises:
        StructureError: the database cannot be opened.
    """

    streamed: ClassVar[bool] = True

    def __init__(self, path: Path, keys: Mapping[str, str], name: str) -> None:
        self.name = name
        self._path, self._keys = path, keys
        try:
            self._ids = self._find_ids()
        except (ImportError, StructureError):
            raise
        except Exception as error:  # backends raise anything
            raise StructureError(f"{name}: is not an ASE database, or is damaged: {error}") from error

    def __len__(self) -> int:
        return len(self._ids)

    @final
    def frame(self, index: int) -> Frame:
        atoms, more = self._read(index)
        return frame_of(atoms, self._keys, more)

    @final
    def atoms(self, index: int) -> Any:
        return self._read(index)[0]

    def _read(self, index: int) -> tuple[Any, Mapping[str, Any]]:
        place = self.place(index)
        try:
            row = self._row(int(self._ids[index]))
            more = {**_mapping(row.data), **_mapping(row.key_value_pairs)}
            return atoms_of_row(row, more, place), more
        except StructureError:
            raise
        except Exception as error:  # backends raise anything
            raise StructureError(f"{place}: the row cannot be read: {told(error)}") from error

    def place(self, index: int) -> str:
        return f"{self.name}, frame {index} (row {int(self._ids[index])})"

    @abstractmethod
    def _find_ids(self) -> npt.NDArray[np.int64]: ...

    @abstractmethod
    def _row(self, row_id: int) -> Any:
        """An `ase.db.row.AtomsRow`."""


@final
class SqliteSource(DatabaseSource):
    """An ASE database in SQLite."""

    def _find_ids(self) -> npt.NDArray[np.int64]:
        # ASE would read whole rows, and write to the file where a table is missing
        connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            rows = connection.execute("SELECT id, natoms FROM systems ORDER BY id").fetchall()
        finally:
            connection.close()
        table = np.array(rows, dtype=np.int64).reshape(-1, 2)
        self.known_counts = table[:, 1]
        return table[:, 0]

    def _row(self, row_id: int) -> Any:
        from ase.db import connect

        # opens the file for each row, so that processes share no connection
        return connect(str(self._path), type="db").get(id=row_id)


@final
class AseLmdbSource(DatabaseSource):
    """An ASE database in an LMDB, in the format of the package ase-db-backends.

    Rows are compressed JSON. That package does not work in forked worker processes, so it is not used.
    """

    def _find_ids(self) -> npt.NDArray[np.int64]:
        self._handle = LmdbHandle(self._path, self.name)
        following = self._value("nextid")
        deleted = set(self._value("deleted_ids") or ())
        if (following or 1) - 1 - len(deleted) > self._handle.entries():
            raise StructureError(f"{self.name}: has fewer rows than it states: copy it again")
        return np.array([i for i in range(1, following or 1) if i not in deleted], dtype=np.int64)

    def _row(self, row_id: int) -> Any:
        from ase.calculators.calculator import all_properties
        from ase.db.row import AtomsRow

        values = self._value(str(row_id))
        if values is None:
            raise KeyError("the row is missing")
        results = {key: np.array(value) for key, value in values.items() if key in all_properties}
        return AtomsRow({**values, **results, "id": row_id})

    def _value(self, key: str) -> Any:
        from ase.io.jsonio import decode

        content = self._handle.get(key)
        return None if content is None else decode(unpacked(content).decode())


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


LABELS: Mapping[str, tuple[str, ...]] = {
    "energy": ("energy", "y"),
    "forces": ("forces", "force"),
    "stress": ("stress",),
}
"""Names of labels in all versions of the format. `y` is an adsorption energy in OC20 and a total energy in OC22."""

_NO_LABELS = ("pos", "cell", "natoms", "atomic_numbers", "tags", "fixed", "pbc", "edge_index", "cell_offsets")


@final
class LmdbSource(FrameSource):
    """The numbered frames of one LMDB of Open Catalyst, read at each access without PyTorch Geometric.

    A frame without `pbc` is periodic in all directions, as all frames of OC20 and OC22 are, unless it has no cell.

    Args:
        path: the file.
        keys: other names of energy, forces and stress, and the names of further properties.
        name: the file's name in messages.

    Raises:
        StructureError: the file is not an LMDB.
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
        number = self._indices[index] if self._indices is not None else index
        content = self._handle.get(str(number))
        if content is None:
            raise StructureError(f"{self.place(index)}: there is no entry {number} in the LMDB: copy it again")
        try:
            # some files compress each frame: zlib's first byte is x, that of pickles 0x80
            loaded = load_restricted(unpacked(content) if content.startswith(b"x") else content)
        except ValueError as error:
            raise StructureError(f"{self.place(index)}: is refused: {error}") from None
        if isinstance(loaded, Shell):
            return self._frame(loaded.attributes(), index)
        if isinstance(loaded, Mapping):
            return self._frame(plain(loaded), index)
        raise StructureError(
            f"{self.place(index)}: expected a data object of Open Catalyst, found {type(loaded).__name__}"
        )

    def _frame(self, values: Mapping[str, Any], index: int) -> Frame:
        for name in ("pos", "atomic_numbers"):
            if name not in values:
                found = ", ".join(sorted(values))
                raise StructureError(
                    f"{self.place(index)}: expected a frame of Open Catalyst with {name}, found {found}"
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
            labels={label: self._label(values, label) for label in (*LABELS, *self._keys)},
            text=as_text(values),
            available=sorted(set(values) - set(_NO_LABELS)),
        )

    def _label(self, values: Mapping[str, Any], label: str) -> Any:
        names = (self._keys[label],) if label in self._keys else LABELS[label]
        return next((values[name] for name in names if name in values), None)

    def _find_length(self) -> int:
        content = self._handle.get("length")
        if content is None:  # some files do not state it
            self._indices = self._handle.numbered()
            return len(self._indices)
        try:
            length = load_restricted(content)
        except RefusedPickleError as error:
            raise StructureError(f"{self.name}: its length is refused: {error}") from None
        length = length.value.item() if isinstance(length, Held) else length
        if not isinstance(length, int) or length < 0:
            raise StructureError(f"{self.name}: expected an integer as length, found {length!r}")
        if length > self._handle.entries():
            raise StructureError(
                f"{self.name}: states {length} frames, but has at most {self._handle.entries() - 1}: copy it again"
            )
        return length
