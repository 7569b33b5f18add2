"""Caches on disk: tensors in files that hold nothing but numbers, written whole or not at all."""

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
    """Write tensors to a file, which appears when it is complete; folders are made.

    Several processes may write the same file at once: each writes one of its own, and the last one to finish stays.

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
    """What `save_arrays` wrote; None where there is no such file, or anything else in it.

    A disk that was full or lost power leaves files of any content; what they hold is compared with a checksum.

    Raises:
        SpecError: the file is there and cannot be read.
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
    """A name of the atoms and cells of structures on the CPU, to the last bit."""
    parts = [structures.numbers, structures.positions.double(), structures.cells.double(), structures.periodic]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.detach().contiguous().numpy().tobytes())
    return digest.digest()


def _unusable(path: Path, what: str, error: OSError) -> SpecError:
    return SpecError(
        f"{path}: cannot be {what} ({error.strerror or error}): remove it, or choose another folder as data.cache"
    )
