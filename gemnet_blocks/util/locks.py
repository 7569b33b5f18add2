"""Locks that let only one process at a time write to a folder or a file.

The operating system releases the lock of a process when the process ends for any reason.
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
"""Name of the lock file of a folder, and prefix of the lock files of several writers; processes remove their lock files
at the end."""


@contextmanager
def only_writer_to_folder(folder: Path, entry: str) -> Iterator[None]:
    """Lock a folder, which the config entry or option `entry` names, for exclusive writing inside the block.

    The lock does not depend on the path by which the folder is named. A missing folder is created, and removed if it is
    still empty at the end.

    Raises:
        SpecError: another process writes to the folder, or the folder is not writable.
    """
    protected = f"{entry}: {folder}"
    with _folder(folder, entry), _only_writer(folder / LOCK, protected):
        for shared in folder.glob(f"{LOCK}-*"):
            with _only_writer(shared, protected):
                pass  # left by a process that was killed
        yield


@contextmanager
def one_of_several_writers_to_folder(folder: Path, entry: str) -> Iterator[None]:
    """Lock a folder for shared writing inside the block, which excludes exclusive writers.

    Raises:
        SpecError: another process has an exclusive lock, or the folder is not writable.
    """
    protected = f"{entry}: {folder}"
    with _folder(folder, entry), _only_writer(folder / f"{LOCK}-{uuid.uuid4().hex[:16]}", protected):
        if (folder / LOCK).exists():
            with held(folder / LOCK, protected, wait=1):  # several shared writers may check at the same time
                pass
        yield


@contextmanager
def only_writer_of_file(path: Path, entry: str) -> Iterator[None]:
    """Lock a single file for exclusive writing inside the block.

    Raises:
        SpecError: another process writes the file, or its folder is not writable.
    """
    target = Path(os.path.realpath(path))
    check_folder(target.parent, entry)
    with _only_writer(target.with_name(f".{target.name}{LOCK}"), f"{entry}: {path}"):
        yield


@contextmanager
def held(path: Path, protected: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of a lock file inside the block.

    File systems without locks that end with their process cause a warning, and nothing is locked.

    Args:
        path: lock file, which is created if necessary.
        protected: description of the locked folder or file at the beginning of messages.
        wait: time in seconds to wait for another process.

    Raises:
        SpecError: another process holds the lock; the message names the process if it is known.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    lock = FileLock(path, mode=0o666)  # for every user who may write to the folder
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lock.acquire(timeout=wait)
        problem = "its file system does not have locks" if isinstance(lock, SoftFileLock) else ""
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
    """Create a missing folder, and remove it if it is still empty at the end."""
    new = not folder.exists()
    check_folder(folder, entry)
    try:
        yield
    finally:
        if new:
            with suppress(OSError):  # the folder is not empty
                folder.rmdir()


@contextmanager
def _only_writer(lock: Path, protected: str) -> Iterator[None]:
    """Hold a lock, write the process to the lock file, and remove the file at the end."""
    with held(lock, protected):
        with suppress(OSError):
            lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}), encoding="utf-8")
        try:
            yield
        finally:
            with suppress(OSError):  # Windows does not remove open files
                lock.unlink()  # while the lock is held: afterwards the file may be that of another process


def _holder(lock: Path) -> str:
    """Describe the process that holds a lock."""
    try:
        note = json.loads(lock.read_text(encoding="utf-8"))
        return f"process {int(note['pid'])} on {str(note['host'])[:200]}"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return "another process"
