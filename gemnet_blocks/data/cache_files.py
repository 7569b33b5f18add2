"""Caches on disk: files of tensors that are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from gemnet_blocks.errors import SpecError
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.files import checksum, replacing

_CHECKSUM = "checksum"


def save_arrays(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a file, which appears when it is complete, and create its folders.

    Several processes may write the same file at once: the last one to finish determines its content.

    Raises:
        SpecError: the file cannot be written.
    """
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as temporary:
            temporary.write_bytes(save(whole, metadata={_CHECKSUM: checksum(whole)}))
    except OSError as error:
        raise _unusable(path, "written", error) from None


def load_arrays(path: Path) -> dict[str, Tensor] | None:
    """Read what `save_arrays` wrote; None if the file is missing or damaged.

    A checksum detects files that a full disk or a power failure damaged.

    Raises:
        SpecError: the file exists and cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, "read", error) from None
    try:
        tensors = load(content)
    except SafetensorError:
        return None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    wanted = header.get("__metadata__", {}).get(_CHECKSUM)
    return tensors if wanted == checksum(tensors) else None


def structure_hash(structures: Structures) -> bytes:
    """Hash the atoms and cells of structures on the CPU, to the last bit."""
    parts = [structures.numbers, structures.positions.double(), structures.cells.double(), structures.periodic]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.detach().contiguous().numpy().tobytes())
    return digest.digest()


def _unusable(path: Path, what: str, error: OSError) -> SpecError:
    return SpecError(
        f"{path}: cannot be {what} ({error.strerror or error}): remove it, or choose another folder as data.cache"
    )
