"""Files that are there as a whole or not at all."""

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
    """A temporary path in the same folder, which takes the place of `path` at the end of the block.

    Whatever was at `path` stays as it was until then, and for good when the block raises. The suffix is kept, for
    writers that choose a format by it. Who may read the file is as for any new file, whatever the writer does.

    Args:
        path: the file to be written.
        durable: whether the content must outlive a power failure once the file is there; takes a while.

    Raises:
        OSError: the file cannot be written; it names `path`.
    """
    final = Path(os.path.realpath(path))
    temporary = final.with_name(f".{final.stem}-{uuid.uuid4().hex}{final.suffix}")
    with naming(path):
        try:
            temporary.touch()
            mode = temporary.stat().st_mode
            temporary.unlink()
            yield temporary
            temporary.chmod(mode)  # safetensors writes private files
            if durable:
                with temporary.open("rb+") as written:
                    os.fsync(written.fileno())  # the name must not change before the content is on the disk
            os.replace(temporary, final)
        finally:
            with suppress(OSError):  # it must not hide why the file could not be written
                temporary.unlink()


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name a file in every error of the operating system that its writer raises inside the block.

    Writers leave the name out (a full disk is found when a buffer is flushed), name a temporary file, or, as torch
    does, raise another error on top.

    Raises:
        OSError: with the reason of the first such error, and the file.
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
    """Make a folder, and see that it can be written to before anything is computed.

    Args:
        folder: with parents, if need be.
        entry: of a config, that names it.

    Raises:
        SpecError: it cannot.
    """
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise SpecError(f"{entry}: {folder} cannot be written to: {error.strerror or error}") from error


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that processes which were killed left in a folder, where nothing is being written."""
    for path in folder.iterdir():
        if re.fullmatch(r"\..+-[0-9a-f]{32}(\..*)?", path.name) and path.is_file():
            path.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write plain data; whatever was there is replaced at once."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """What a file holds; None where there is none, or one that cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def checksum(arrays: Mapping[str, Tensor], texts: Mapping[str, str] | None = None) -> str:
    """SHA-256 of all texts and arrays, in the order of their names.

    Args:
        arrays: on the CPU, contiguous.
        texts: what else a file holds.
    """
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
