"""The state of a run on disk: whole or not at all, read without running code, and only for the same config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from pydantic import ValidationError

from gemnet_blocks.errors import SpecError, StateError
from gemnet_blocks.spec.catalog import Catalog
from gemnet_blocks.spec.document import Document, entries, shown
from gemnet_blocks.spec.resolve import validate
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.util.files import replacing
from gemnet_blocks.util.torch_files import load_plain

FILE = "checkpoint.ckpt"
"""The name of the file in a run's folder."""

KEY = "gemnet_blocks"
"""Where, in Lightning's checkpoint, our own part is."""

CHANGEABLE = ("output", "training.log.", "training.checkpoint.", "data.workers", "data.cache", "data.ignore")
"""Entries of a config that change nothing in the result; so they may differ when a run goes on."""

CHECKED = ("data.files", "data.train", "data.validation", "data.test", "training.start_from")
"""Paths, which may differ when a run goes on, as the content of their files is compared."""

_ABSENT = object()


@final
class SafeCheckpointIO(CheckpointIO):
    """Checkpoints that replace the one before at once, and hold nothing but tensors, numbers, text and containers."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        with replacing(path) as temporary, temporary.open("wb") as file:  # given a path, torch hides a disk's errors
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint; whatever is asked for, no code in it is run."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `SafeCheckpointIO` wrote.

    Raises:
        StateError: the file cannot be read or is no checkpoint of a training run.
    """
    try:
        checkpoint = load_plain(path)
    except StateError:
        raise
    except Exception as error:  # torch's reader raises anything
        raise StateError(
            f"{path}: cannot be read as a checkpoint ({type(error).__name__}): remove it to start from scratch, which "
            "keeps the other results in a folder of their own"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(KEY), dict):
        raise StateError(f"{path}: is no checkpoint of a training run: choose another output folder")
    return checkpoint


def check_same(
    path: Path, before: Mapping[str, Any], now: Mapping[str, Any], changeable: tuple[str, ...] = CHANGEABLE
) -> None:
    """Check that a checkpoint is of the same run.

    Args:
        path: of the checkpoint, for the message.
        before: the config that it was made with.
        now: the config to go on with.
        changeable: how the names of entries begin that may differ.

    Raises:
        SpecError: they differ in another entry; names every difference.
    """
    old, new = dict(entries(before)), dict(entries(now))
    differing = [
        name
        for name in dict.fromkeys((*old, *new))
        if not name.startswith(changeable) and old.get(name, _ABSENT) != new.get(name, _ABSENT)
    ]
    if differing:
        described = "; ".join(f"{name} was {_said(old, name)}, is {_said(new, name)}" for name in differing)
        raise SpecError(
            f"{path}: is of another run: {described}. Choose another output folder, or change it back to go on"
        )


def check_same_data(path: Path, before: str, now: str) -> None:
    """Check that a run goes on with the data that it began with.

    Args:
        path: of the checkpoint, for the message.
        before: the digest of the data then; see `DataSplits`.
        now: that of the data now.

    Raises:
        SpecError: they differ; names the parts.
    """
    if before != now:
        old, new = (dict(one.split(":") for one in digests.split()) for digests in (before, now))
        parts = [part for part in {**new, **old} if old.get(part) != new.get(part)]
        raise SpecError(
            f"{path}: is of a run with other data: files of data ({', '.join(parts)}) have changed since. Put them "
            "back to go on, or choose another output folder"
        )


def config_of(path: Path, saved: Mapping[str, Any], catalog: Catalog) -> TrainingConfig:
    """Read the config in a checkpoint; fields that a later version added have their defaults.

    Args:
        path: the checkpoint, for the message.
        saved: the config as it was saved.
        catalog: the parts that the model may name.

    Raises:
        StateError: this version cannot read the config.
    """
    try:
        return TrainingConfig.model_validate({**saved, "model": validate(Document(saved["model"]), catalog)})
    except (SpecError, ValidationError) as error:
        raise StateError(
            f"{path}: the training config in this checkpoint cannot be read: {error}. Choose another output folder, or "
            "resume with the version of gemnet_blocks that wrote it"
        ) from error


def _said(entries: Mapping[str, Any], name: str) -> str:
    return shown(entries[name]) if name in entries else "absent"
