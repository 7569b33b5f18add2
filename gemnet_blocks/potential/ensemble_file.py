"""Files that hold an ensemble: the weights and documents of all members, and the calibration."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from gemnet_blocks.errors import StateError
from gemnet_blocks.potential.calibration import Calibration
from gemnet_blocks.potential.ensemble import Ensemble
from gemnet_blocks.potential.model_file import (
    HEADER,
    content_of,
    floating_type,
    model_path,
    potential_of,
    read_checked,
    texts_of,
    weights_of,
    write_model_file,
)
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.spec.execution import Execution
from gemnet_blocks.util.file_kinds import ENSEMBLE_FORMAT
from gemnet_blocks.util.weights import ordinary_tensors


def save_ensemble(ensemble: Ensemble, path: str | os.PathLike[str]) -> None:
    """Write an ensemble to one safetensors file, as `save_potential` writes one potential.

    Args:
        ensemble: the ensemble to write.
        path: the file, usually with the suffix `.safetensors`.

    Raises:
        StateError: the file cannot be written.
    """
    texts = {
        **HEADER,
        "format": ENSEMBLE_FORMAT,
        "meaning": ensemble.meaning,
        "members": json.dumps([texts_of(member) for member in ensemble.potentials], ensure_ascii=False),
        "calibration": json.dumps(ensemble.calibration and ensemble.calibration.to_dict()),
    }
    weights = {
        f"{index}.{name}": value
        for index, member in enumerate(ensemble.potentials)
        for name, value in weights_of(member).items()
    }
    write_model_file(weights, texts, path)


@ordinary_tensors()
def load_ensemble(
    path: str | os.PathLike[str],
    execution: Execution | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    *,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
) -> Ensemble:
    """Read an ensemble from a file that `save_ensemble` wrote, without executing code from the file.

    Arguments are those of `load_potential`.

    Raises:
        StateError: the file is not an ensemble, is damaged, was written by a newer version, the weights of a member do
            not fit its spec, or the device is not available.
        SpecError: a spec has unknown components or ones that must be imported, or a model does not fit in memory.
    """
    found = load_potential_or_ensemble(path, execution, dtype, device, extra=extra, allow_imports=allow_imports)
    if isinstance(found, Potential):
        raise StateError(f"{path}: expected an ensemble, but this is a single model: read it with load_potential")
    return found


@ordinary_tensors()
def load_potential_or_ensemble(
    path: str | os.PathLike[str],
    execution: Execution | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    *,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
) -> Potential | Ensemble:
    """Read a file that holds one potential or an ensemble; see `load_potential` for arguments and errors."""
    dtype, path = floating_type(dtype), model_path(path)
    texts, weights = read_checked(path)
    if texts["format"] != ENSEMBLE_FORMAT:
        content = content_of(texts, weights, path)
        return potential_of(content, path, execution, dtype, device, extra, allow_imports)
    members = []
    for index, member in enumerate(_members(texts, path)):
        own = {name.partition(".")[2]: value for name, value in weights.items() if name.partition(".")[0] == str(index)}
        content = content_of(member, own, path)
        members.append(potential_of(content, f"{path}: member {index}", execution, dtype, device, extra, allow_imports))
    try:
        calibration = json.loads(texts.get("calibration", "null"))
        ensemble = Ensemble(members, None if calibration is None else Calibration.from_dict(calibration))
    except (ValueError, RecursionError) as error:
        raise StateError(f"{path}: {error}") from error
    return ensemble.eval()


def _members(texts: Mapping[str, str], path: Path) -> list[dict[str, str]]:
    """Return the metadata of each member."""
    try:
        members = json.loads(texts.get("members", ""))
    except (ValueError, RecursionError) as error:
        raise StateError(f"{path}: cannot read its members: {error}") from error
    if not isinstance(members, list) or not all(isinstance(one, dict) for one in members):
        raise StateError(f"{path}: its members are not a list of mappings")
    return members
