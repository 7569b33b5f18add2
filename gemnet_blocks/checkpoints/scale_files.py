"""Scale factors of published models, from their files."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gemnet_blocks.checkpoints.checkpoint_file import SCALE, reason_of
from gemnet_blocks.checkpoints.fairchem_keys import scale_names, shared_suffixes, unused_prefixes
from gemnet_blocks.errors import StateError
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.util.torch_files import load_plain
from gemnet_blocks.util.weights import without_wrappers


def read_scale_file(source: str | PathLike[str] | Mapping[str, Any]) -> dict[str, float]:
    """Scale factors by published name, from a .pt file (read without running code), a .json file or a dictionary.

    Raises:
        StateError: the file cannot be read safely, or holds something else than numbers by name.
    """
    values = source if isinstance(source, Mapping) else _read(Path(source))
    factors = {}
    for name, value in values.items():
        if name == "comment" and not isinstance(value, int | float):
            continue  # older files have one
        try:
            factors[without_wrappers(str(name)).removesuffix(SCALE)] = number = float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise StateError(f"scale factor {name} is no number: {value!r}") from error
        if not math.isfinite(number):
            raise StateError(f"scale factor {name} is {number}: it must be finite")
    return factors


def load_scales(module: nn.Module, source: str | PathLike[str] | Mapping[str, Any]) -> None:
    """Set the scale factors of a model from a file or dictionary of a published model.

    Factors that the model has no place for are left out with a warning.

    Raises:
        StateError: the file cannot be read, or lacks a factor that the model needs; nothing is changed then.
    """
    factors = read_scale_file(source)
    suffixes = shared_suffixes(module)
    places = [
        (scale, scale_names(f"{key}.factor", suffixes))
        for key, scale in module.named_modules()
        if isinstance(scale, ScaleFactor)
    ]
    # a factor with several names needs only the one that is there
    missing = [names[0] for _, names in places if names and not any(name in factors for name in names)]
    if missing:
        raise StateError(f"the scale file lacks {len(missing)} factors of this model: {', '.join(missing)}")
    known = {name for _, names in places for name in names}
    unused = unused_prefixes(module)
    unexpected = [name for name in factors if name not in known and not name.startswith(unused)]
    if unexpected:
        warnings.warn(
            f"{len(unexpected)} scale factors have no place in this model: {', '.join(unexpected)}", stacklevel=2
        )
    with torch.no_grad():
        for scale, names in places:
            for name in names[::-1]:
                if name in factors:
                    scale.factor.fill_(factors[name])


def _load(path: Path) -> Any:
    try:
        return load_plain(path)
    except StateError:
        raise
    except Exception as error:  # torch's reader raises anything
        raise StateError(f"{path}: cannot be read safely as a scale file: {reason_of(error)}") from error


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".json":
            values = json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".pt":
            values = _load(path)
        else:
            raise StateError(f"{path}: a scale file ends in .pt or .json")
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StateError(f"{path}: cannot be read as a scale file: {error}") from error
    if not isinstance(values, Mapping):
        raise StateError(f"{path}: must hold numbers by name, not {type(values).__name__}")
    return values
