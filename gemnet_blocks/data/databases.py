"""Frames from ASE databases: SQLite (.db) and LMDB (.aselmdb, as OMat24 and other sets of fairchem have)."""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from gemnet_blocks.data.frame import Frame
from gemnet_blocks.data.handles import LmdbHandle, unpacked
from gemnet_blocks.data.readers import atoms_of_row, frame_of
from gemnet_blocks.data.sources import FrameSource
from gemnet_blocks.errors import StructureError


class DatabaseSource(FrameSource):
    """The rows of one ASE database, in the order of their ids, read when they are needed.

    Key-value pairs and data of a row are information that frames can be grouped by; labels may be among them.

    Args:
        path: the database.
        keys: other names of energy, forces and stress.
        name: what messages call it.

    Raises:
        StructureError: it cannot be opened.
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
            raise StructureError(f"{name}: is no ASE database that can be read: {error}") from error

    def __len__(self) -> int:
        return len(self._ids)

    @final
    def frame(self, index: int) -> Frame:
        """Frame number `index`; its row's id is named in messages."""
        atoms, more = self._read(index)
        return frame_of(atoms, self._keys, more)

    @final
    def atoms(self, index: int) -> Any:
        """Frame number `index` as ASE atoms."""
        return self._read(index)[0]

    def _read(self, index: int) -> tuple[Any, Mapping[str, Any]]:
        """The atoms of a row, and its key-value pairs and data."""
        place = self.place(index)
        try:
            row = self._row(int(self._ids[index]))
            more = {**_mapping(row.data), **_mapping(row.key_value_pairs)}
            return atoms_of_row(row, more, place), more
        except StructureError:
            raise
        except Exception as error:  # backends raise anything
            raise StructureError(f"{place}: the row cannot be read: {type(error).__name__}: {error}") from error

    def place(self, index: int) -> str:
        """What messages call a frame."""
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

        # it opens the file for each row, so that nothing is shared between processes
        return connect(str(self._path), type="db").get(id=row_id)


@final
class AseLmdbSource(DatabaseSource):
    """An ASE database in an LMDB, in the format of the package ase-db-backends.

    Rows are compressed JSON. They are read here, as that package cannot be used in forked worker processes.
    """

    def _find_ids(self) -> npt.NDArray[np.int64]:
        self._handle = LmdbHandle(self._path, self.name)
        following = self._value("nextid")
        deleted = set(self._value("deleted_ids") or ())
        if (following or 1) - 1 - len(deleted) > self._handle.entries():
            raise StructureError(f"{self.name}: says that it has more rows than it holds: copy it again")
        return np.array([i for i in range(1, following or 1) if i not in deleted], dtype=np.int64)

    def _row(self, row_id: int) -> Any:
        from ase.calculators.calculator import all_properties
        from ase.db.row import AtomsRow

        values = self._value(str(row_id))
        if values is None:
            raise KeyError("there is no such row")
        results = {key: np.array(value) for key, value in values.items() if key in all_properties}
        return AtomsRow({**values, **results, "id": row_id})

    def _value(self, key: str) -> Any:
        from ase.io.jsonio import decode

        content = self._handle.get(key)
        return None if content is None else decode(unpacked(content).decode())


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
