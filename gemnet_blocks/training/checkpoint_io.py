"""Checkpoints of training runs as Lightning writes and reads them, without code and atomically."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from torch import Tensor

from gemnet_blocks.errors import StateError
from gemnet_blocks.training.checkpoints import read_checkpoint
from gemnet_blocks.util.files import replacing


@final
class SafeCheckpointIO(CheckpointIO):
    """Checkpoint files of tensors, numbers, text and containers, which replace the previous one atomically."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        for name, state in checkpoint.get("callbacks", {}).items():
            _check_plain(name, state)
        with replacing(path) as temporary, temporary.open("wb") as file:  # with a path, torch hides errors of the disk
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def _check_plain(name: str, state: Any) -> None:
    """Check that the state of a callback can be read again without running code.

    Raises:
        StateError: it contains another object than a tensor, number, text, list or mapping.
    """
    if isinstance(state, Mapping | list | tuple):
        for one in state.values() if isinstance(state, Mapping) else state:
            _check_plain(name, one)
    elif not isinstance(state, Tensor | bool | int | float | str | None):
        raise StateError(
            f"callbacks: expected tensors, numbers, text, lists and mappings in the state of {name}, found "
            f"{type(state).__name__}: change its state_dict, so that the run can resume"
        )
