"""Atomic writing of files, checks of folders, JSON and checksums."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gemnet_blocks.errors import SpecError


@contextmanager
def replacing(path: str | os.PathLike[str], durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder that replaces `path` at the end of the block.

    If the block raises an error, `path` is not changed. The temporary path has the same suffix, by which writers may
    choose a format. The file has the default permissions of new files.

    Args:
        path: file to write.
        durable: wait until the content is on the disk, so that it survives a power failure.

    Raises:
        OSError: the file cannot be written; the error names `path`.
    """
    final = Path(os.path.realpath(path))
    temporary = final.with_name(f".{final.stem}-{uuid.uuid4().hex}{final.suffix}")
    with naming(path):
        try:
            temporary.touch()
            mode = temporary.stat().st_mode
            temporary.unlink()
            yield temporary
            temporary.chmod(mode)  # safetensors writes files that only their owner can read
            if durable:
                with temporary.open("rb+") as written:
                    os.fsync(written.fileno())  # before the file is renamed
            os.replace(temporary, final)
        finally:
            with suppress(OSError):  # which must not hide an earlier error
                temporary.unlink()


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Add the name of a file to errors of the operating system inside the block.

    Writers omit the name (for example if the disk is full), name a temporary file, or raise another error on top, as
    torch does.

    Raises:
        OSError: the original error with the name of the file.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        found: BaseException | None = error
        while found is not None and not isinstance(found, OSError):
            found = found.__context__
        if found is None:
            raise
        raise OSError(found.errno, found.strerror or str(found), os.fspath(path)) from error


def check_folder(folder: Path, entry: str) -> None:
    """Create a folder and its parents, and check that it is writable.

    Raises:
        SpecError: the folder is not writable.
    """
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise SpecError(f"{entry}: {folder} cannot be written to: {error.strerror or error}") from error


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder in which no other process writes."""
    for path in folder.iterdir():
        if re.fullmatch(r"\..+-[0-9a-f]{32}(\..*)?", path.name) and path.is_file():
            path.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, replacing an existing file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file; None if it is missing or cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def checksum(arrays: Mapping[str, Tensor], texts: Mapping[str, str] | None = None) -> str:
    """Compute the SHA-256 checksum of texts and arrays in the order of their names."""
    total = hashlib.sha256()
    for name, text in sorted((texts or {}).items()):
        total.update(_json([name, text]))
    for name in sorted(arrays):
        value = arrays[name]
        total.update(_json([name, str(value.dtype), list(value.shape)]))
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
