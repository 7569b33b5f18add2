"""Files of torch.save, read without running code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.torch_version import TorchVersion

from gemnet_blocks.errors import StateError

SAFE = "2.10"
"""The first version of torch whose `weights_only` keeps its promise: before 2.6 a file could run code all the same
(CVE-2025-32434), before 2.10 corrupt memory (CVE-2026-24747)."""


def load_plain(path: Path) -> Any:
    """Read tensors, numbers, text and containers from a file; anything else is refused.

    Raises:
        StateError: this version of torch cannot read files safely.
        Exception: torch's reader raises anything for files that it cannot read.
    """
    check_torch(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def check_torch(path: Path) -> None:
    """Check that torch reads files without running code in them.

    Raises:
        StateError: it is too old.
    """
    if TorchVersion(str(torch.__version__)) < SAFE:
        raise StateError(
            f"{path}: reading it safely needs torch {SAFE} or newer, and torch {torch.__version__} is installed: "
            f"older versions may run code that a file contains. Upgrade it: pip install 'torch>={SAFE}'"
        )
