"""Caches on disk: tensors in files that hold nothing but numbers, written whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from gemnet_blocks.atomic import replacing
from gemnet_blocks.structures import Structures


def save_arrays(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a file, which appears when it is complete; folders are made.

    Several processes may write the same file at once: each writes one of its own, and the last one to finish stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as temporary:
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def load_arrays(path: Path) -> dict[str, Tensor] | None:
    """What `save_arrays` wrote; None where there is no such file, or something else in it."""
    try:
        return load(path.read_bytes())
    except (FileNotFoundError, SafetensorError):
        return None


def structure_hash(structures: Structures) -> bytes:
    """A name of the atoms and cells of structures on the CPU, to the last bit."""
    parts = [structures.numbers, structures.positions.double(), structures.cells.double(), structures.periodic]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.detach().contiguous().numpy().tobytes())
    return digest.digest()
