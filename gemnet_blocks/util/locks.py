"""Locks that let only one process at a time write to a folder or a file.

The operating system holds a lock for a process and releases it when the process ends, however it ends.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gemnet_blocks.errors import SpecError
from gemnet_blocks.util.files import check_folder

LOCK = ".lock"
"""The lock file of a folder, and the beginning of the names of those of several writers; the process that holds a lock
removes its file at the end."""


@contextmanager
def only_writer_to_folder(folder: Path, entry: str) -> Iterator[None]:
    """Be the only process that writes to a folder inside the block.

    The lock belongs to the folder itself, by whichever path it is named. A folder that does not exist is made, and is
    removed if it is still empty at the end.

    Args:
        folder: where results go.
        entry: the entry of a config, or the option, that names the folder.

    Raises:
        SpecError: another process writes there, or the folder cannot be written to.
    """
    protected = f"{entry}: {folder}"
    with _folder(folder, entry), _only_writer(folder / LOCK, protected):
        for shared in folder.glob(f"{LOCK}-*"):
            with _only_writer(shared, protected):
                pass  # its process was killed
        yield


@contextmanager
def one_of_several_writers_to_folder(folder: Path, entry: str) -> Iterator[None]:
    """Write to a folder inside the block; other processes may do so in the same way, but not as the only writer.

    Args:
        folder: where results go.
        entry: the entry of a config, or the option, that names the folder.

    Raises:
        SpecError: a process is the only writer there, or the folder cannot be written to.
    """
    protected = f"{entry}: {folder}"
    with _folder(folder, entry), _only_writer(folder / f"{LOCK}-{uuid.uuid4().hex[:16]}", protected):
        if (folder / LOCK).exists():
            with held(folder / LOCK, protected, wait=1):  # others look at the same time
                pass
        yield


@contextmanager
def only_writer_of_file(path: Path, entry: str) -> Iterator[None]:
    """Be the only process that writes a file inside the block; other files in its folder stay free.

    Args:
        path: the file, or a link to it.
        entry: the option that names it.

    Raises:
        SpecError: another process writes it, or its folder cannot be written to.
    """
    target = Path(os.path.realpath(path))
    check_folder(target.parent, entry)
    with _only_writer(target.with_name(f".{target.name}{LOCK}"), f"{entry}: {path}"):
        yield


@contextmanager
def held(path: Path, protected: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of a lock file inside the block.

    Some file systems have no locks that end with their process: there a warning says that nothing is locked.

    Args:
        path: the lock file, which is made if need be.
        protected: what must not be written by two processes, at the beginning of messages.
        wait: how many seconds to wait for the process that holds the lock.

    Raises:
        SpecError: another process still holds the lock; names the process if it is known.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    lock = FileLock(path, mode=0o666)  # for every user who may write to the folder
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lock.acquire(timeout=wait)
        problem = "its file system has no locks" if isinstance(lock, SoftFileLock) else ""
    except Timeout:
        raise SpecError(
            f"{protected} is in use by {_holder(path)}: wait until that process has ended, or choose another place"
        ) from None
    except (OSError, NotImplementedError) as error:
        problem = str(getattr(error, "strerror", None) or error)
    if problem:
        lock.release(force=True)
        warnings.warn(
            f"{protected} cannot be locked ({problem}): make sure that no other process writes there", stacklevel=4
        )
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _folder(folder: Path, entry: str) -> Iterator[None]:
    """Make a folder if need be, and remove it if it was made and is still empty at the end."""
    new = not folder.exists()
    check_folder(folder, entry)
    try:
        yield
    finally:
        if new:
            with suppress(OSError):  # it holds something
                folder.rmdir()


@contextmanager
def _only_writer(lock: Path, protected: str) -> Iterator[None]:
    """Hold a lock, leave a note in its file that says who holds it, and remove the file at the end."""
    with held(lock, protected):
        with suppress(OSError):
            lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}), encoding="utf-8")
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no open file
                lock.unlink()  # while the lock is held: afterwards the file may be that of another process


def _holder(lock: Path) -> str:
    """The process that holds a lock, as far as its note can be read."""
    try:
        note = json.loads(lock.read_text(encoding="utf-8"))
        return f"process {int(note['pid'])} on {str(note['host'])[:200]}"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return "another process"
