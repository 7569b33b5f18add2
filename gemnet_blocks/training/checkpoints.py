"""Checkpoints of training runs: read without running code, and checked against the config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gemnet_blocks.errors import SpecError, StateError
from gemnet_blocks.potential.model_file import ModelFile, potential_of
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec.catalog import Catalog
from gemnet_blocks.spec.document import Document, entries, shown
from gemnet_blocks.spec.resolve import validate
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.util.torch_files import load_plain

FILE = "checkpoint.ckpt"
"""The name of the file in a run's folder."""

KEY = "gemnet_blocks"
"""The key of this library's part of Lightning's checkpoint."""

CHANGEABLE = ("output", "loggers", "training.log.", "training.checkpoint.", "data.workers", "data.cache", "data.ignore")
"""Entries of a config that do not affect results, and may differ when a run is resumed."""

CHECKED = ("data.files", "data.train", "data.validation", "data.test", "training.start_from")
"""Paths that may differ when a run is resumed, since the content of their files is compared."""

_ABSENT = object()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `checkpoint_io.SafeCheckpointIO` wrote.

    Raises:
        StateError: the file cannot be read, or is not a checkpoint of a training run.
    """
    try:
        checkpoint = load_plain(path)
    except StateError:
        raise
    except Exception as error:  # torch's reader raises anything
        raise StateError(
            f"{path}: is not a checkpoint, or is damaged ({type(error).__name__}): remove it to start from scratch, "
            "which moves the other results to a folder earlier-1"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(KEY), dict):
        raise StateError(f"{path}: is not a checkpoint of a training run: choose another output folder")
    return checkpoint


def check_same(
    path: Path, before: Mapping[str, Any], now: Mapping[str, Any], changeable: tuple[str, ...] = CHANGEABLE
) -> None:
    """Check that a checkpoint and a config belong to the same run.

    Args:
        path: path of the checkpoint, for the message.
        before: the config of the checkpoint.
        now: the config to resume with.
        changeable: beginnings of the names of entries that may differ.

    Raises:
        SpecError: the configs differ in other entries; names all of them.
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
            f"{path}: is of another run: {described}. Choose another output folder, or change it back to resume"
        )


def check_same_data(path: Path, before: str, now: str) -> None:
    """Check that a run resumes with the data that it began with.

    Args:
        path: path of the checkpoint, for the message.
        before: `DataSplits.digest` of the data at the beginning.
        now: `DataSplits.digest` of the present data.

    Raises:
        SpecError: the data differ; names the parts.
    """
    if before != now:
        old, new = (dict(one.split(":") for one in digests.split()) for digests in (before, now))
        parts = [part for part in {**new, **old} if old.get(part) != new.get(part)]
        raise SpecError(
            f"{path}: is of a run with other data: files of data ({', '.join(parts)}) have changed since. "
            "Restore them to resume, or choose another output folder"
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


def potential_of_checkpoint(path: Path, catalog: Catalog) -> Potential:
    """Read the model in a checkpoint: the mean of the weights, if there is one, else the last weights.

    Args:
        path: the checkpoint.
        catalog: the parts that the model may name.

    Raises:
        StateError: the file is not a checkpoint of a training run, is damaged, or its weights do not fit its config.
        SpecError: the model cannot be built.
    """
    try:
        content = read_checkpoint(path)
    except StateError as error:
        raise StateError(f"{path}: is not a checkpoint of a training run, or is damaged: name a model file") from error
    saved = content[KEY]
    try:
        spec = (saved.get("start_from") or {}).get("spec") or saved["config"]["model"]
        documents = {
            "spec": dict(spec),
            "references": saved["references"],
            "units": {"energy": References.energy_unit, "length": References.length_unit},
            "record": {},
        }
        begin = "potential.model."
        weights = {name.removeprefix(begin): one for name, one in content["state_dict"].items() if begin in name}
    except (KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{path}: is not a complete checkpoint of a training run: name a model file") from error
    return potential_of(
        ModelFile(documents, weights, None), path, extra=catalog.extra, allow_imports=catalog.allow_imports
    )


def _said(entries: Mapping[str, Any], name: str) -> str:
    return shown(entries[name]) if name in entries else "absent"
