"""What tells damaged files from whole ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor


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
