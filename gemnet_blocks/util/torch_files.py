"""Reading of files of torch.save without running code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.torch_version import TorchVersion

from gemnet_blocks.errors import StateError

SAFE = "2.10"
"""The first version of torch whose `weights_only` is safe: before 2.6, files could run code (CVE-2025-32434), and
before 2.10, corrupt memory (CVE-2026-24747)."""


def load_plain(path: Path) -> Any:
    """Read tensors, numbers, text and containers from a file that contains nothing else.

    Raises:
        StateError: the installed version of torch cannot read files safely.
        Exception: any error of torch, if the file cannot be read.
    """
    check_torch(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def check_torch(path: Path) -> None:
    """Check that the installed version of torch reads files safely.

    Raises:
        StateError: torch is too old.
    """
    if TorchVersion(str(torch.__version__)) < SAFE:
        raise StateError(
            f"{path}: reading the file safely needs torch {SAFE} or newer, and torch {torch.__version__} is installed, "
            f"which may run code in a file: upgrade it with pip install 'torch>={SAFE}'"
        )
