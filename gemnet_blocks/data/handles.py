"""Open LMDBs, one for each file and process."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any, final
from weakref import WeakValueDictionary

from gemnet_blocks.errors import StructureError

_BYTES_AT_MOST = 2**30
"""An entry that unpacks to more is taken for a trap."""


def unpacked(content: bytes) -> bytes:
    """An entry that zlib has compressed.

    Raises:
        ValueError: it cannot be decompressed, or not to anything of a sensible size.
    """
    reader = zlib.decompressobj()
    try:
        whole = reader.decompress(content, _BYTES_AT_MOST)
    except zlib.error as error:
        raise ValueError(f"it cannot be decompressed: {error}") from None
    if reader.unconsumed_tail:
        raise ValueError(f"it unpacks to more than {_BYTES_AT_MOST} bytes")
    return whole


class _Opened:
    """An LMDB environment, which closes itself when nobody uses it any more."""

    def __init__(self, environment: Any) -> None:
        self.environment, self.process = environment, os.getpid()


_OPEN: WeakValueDictionary[Path, _Opened] = WeakValueDictionary()
"""What is open now: a process can open an LMDB only once."""


@final
class LmdbHandle:
    """An LMDB of a single file, which each process opens when it first needs it, and all users in it share.

    It can be copied to worker processes, by forking or pickling: they open the file themselves.

    Args:
        path: the file.
        name: what messages call it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path.resolve(), name
        self._mine: _Opened | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mine": None}

    def get(self, key: str) -> bytes | None:
        """The value of a key; None without one.

        Raises:
            StructureError: it is no LMDB.
            ImportError: the package lmdb is not installed.
        """
        with self._environment().begin() as transaction:
            value: bytes | None = transaction.get(key.encode())
        return value

    def entries(self) -> int:
        """The number of entries, of any key."""
        return int(self._environment().stat()["entries"])

    def numbered(self) -> list[int]:
        """All keys that are whole numbers, ascending."""
        with self._environment().begin() as transaction:
            keys = (bytes(key) for key in transaction.cursor().iternext(values=False))
            return sorted(int(key) for key in keys if key.isdigit())

    def _environment(self) -> Any:
        if self._mine is None or self._mine.process != os.getpid():
            opened = _OPEN.get(self._path)
            if opened is not None and opened.process != os.getpid():
                opened.environment.close()  # this process was forked; of the parent's, it closes only its own copy
                opened = None
            self._mine = _OPEN[self._path] = opened or _Opened(self._open())
        return self._mine.environment

    def _open(self) -> Any:
        try:
            import lmdb
        except ImportError as error:
            raise ImportError("LMDBs need the package lmdb: pip install 'gemnet_blocks[data]'") from error
        try:
            # without read-ahead, as frames are read in any order
            environment = lmdb.open(str(self._path), subdir=False, readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise StructureError(f"{self._name}: is no LMDB that can be read: {error}") from None
        # the file is mapped into memory: to read behind its end would end the process
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        size = self._path.stat().st_size
        if size < needed:
            environment.close()
            raise StructureError(f"{self._name}: has {size} of its {needed} bytes: copy it again, whole")
        return environment
