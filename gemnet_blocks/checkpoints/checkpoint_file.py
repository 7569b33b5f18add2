"""What training runs of published models leave behind: a checkpoint file and its sections."""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gemnet_blocks.checkpoints.fairchem_keys import scale_names, shared_suffixes, unused_prefixes
from gemnet_blocks.errors import StateError, first_few
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.util.file_kinds import mistaken
from gemnet_blocks.util.torch_files import load_plain
from gemnet_blocks.util.weights import without_wrappers

_READ = ("state_dict", "normalizers", "elementrefs", "ema", "scale_dict", "config", "epoch", "step")
"""The sections that are read; all others are of use to training only."""

SCALE = ".scale_factor"
"""What the names of scale factors end in, where they are among the weights."""

Section = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The sections of a checkpoint that say what a model predicts.

    Attributes:
        state: weights by their published names.
        normalizers: mean and standard deviation of each target, by its name.
        element_references: energies of elements for each target, by its name.
        averages: the moving average of the weights, if there is one.
        scales: scale factors by published name, where they are not among the weights.
        config: the configuration of the training run, if it is there.
        progress: epoch and step, where known.
        ignored: names of all other sections.
    """

    state: Mapping[str, Tensor]
    normalizers: Mapping[str, Section] = field(default_factory=dict)
    element_references: Mapping[str, Section] = field(default_factory=dict)
    averages: Section | None = None
    scales: Section = field(default_factory=dict)
    config: Section | None = None
    progress: Mapping[str, float] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def read_checkpoint(path: str | os.PathLike[str], trust: bool = False) -> Checkpoint:
    """Read a checkpoint file: a dictionary with `state_dict` and other sections, or the weights alone.

    Args:
        path: the file.
        trust: whether anything pickled may be read, which runs code that the file names. Only for files whose origin
            you trust.

    Raises:
        StateError: the file cannot be read, or not without running code, or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise StateError(f"{path}: is a folder" if path.is_dir() else f"{path}: there is no such file")
    found = mistaken(path, "a checkpoint") or (
        "is text in JSON: give it with --scales" if path.suffix == ".json" else ""
    )
    if found:
        raise StateError(f"{path}: expected a published checkpoint, but this {found}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=False) if trust else load_plain(path)
    except StateError:
        raise
    except ModuleNotFoundError as error:
        raise StateError(f"{path}: needs the package {error.name} to be read: install it here for the time") from error
    except Exception as error:  # torch's reader raises anything
        advice = "" if trust else ". If it holds pickled objects and you trust its origin, read it with trust (--trust)"
        raise StateError(f"{path}: cannot be read{'' if trust else ' safely'}: {reason_of(error)}{advice}") from error
    return checkpoint_of(content, str(path))


def reason_of(error: Exception) -> str:
    """Why torch's reader refused a file, without its advice to Python programmers."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named:
        return f"it names {named[1]}, which is no part of weights"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return error.strerror
    return f"it is no file of torch.save, or is damaged ({type(error).__name__})"


def checkpoint_of(content: Any, name: str = "the checkpoint") -> Checkpoint:
    """The sections of what a checkpoint file holds.

    Args:
        content: a dictionary with `state_dict` and other sections, or the weights alone.
        name: what errors call it.

    Raises:
        StateError: it holds no weights, or a section is of another form.
    """
    if not isinstance(content, Mapping):
        raise StateError(f"{name}: holds {type(content).__name__}, no dictionary of weights by name or of sections")
    if {"gemnet_blocks", "state_dict"} <= content.keys():
        raise StateError(
            f"{name}: is the checkpoint of a training run of gemnet_blocks, which has model files of its own: name "
            "best.safetensors or last.safetensors of its output folder"
        )
    sections: Section = content if "state_dict" in content else {"state_dict": content}
    for section in ("normalizers", "elementrefs", "ema", "scale_dict"):
        if sections.get(section) is not None and not isinstance(sections[section], Mapping):
            raise StateError(f"{name}: its section {section} is {type(sections[section]).__name__}, no dictionary")
    state = sections["state_dict"]
    if state is content and state and all(_is_single_number(value) for value in state.values()):
        raise StateError(
            f"{name}: expected weights by name, found single numbers, such as scale factors: give these with --scales"
        )
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()) or not state:
        raise StateError(f"{name}: holds no dictionary of weights by name")
    problems = {str(key): what for key, value in state.items() if (what := _problem(value))}
    if problems:
        shown = first_few([f"{key} {what}" for key, what in problems.items()])
        raise StateError(f"{name}: weights that no model has: {shown}")
    config = sections.get("config")
    return Checkpoint(
        state={str(key): value for key, value in state.items()},
        normalizers=_sections(sections, "normalizers", name),
        element_references=_sections(sections, "elementrefs", name),
        averages=sections.get("ema"),
        scales=sections.get("scale_dict") or {},
        config=config if isinstance(config, Mapping) else None,
        progress={
            key: float(sections[key]) for key in ("epoch", "step") if isinstance(sections.get(key), (int, float))
        },
        ignored=tuple(str(key) for key in sections if key not in _READ),
    )


def _problem(weight: Tensor) -> str:
    """Why an array is no weight; empty where it is one."""
    if weight.layout != torch.strided or weight.is_quantized or weight.is_meta:
        return "is no plain array of numbers"
    if weight.is_complex():
        return "is complex"
    return "" if bool(weight.isfinite().all()) else "is NaN or infinite"


def with_scales(checkpoint: Checkpoint, scales: Section) -> Checkpoint:
    """The same with scale factors that were stored apart.

    Raises:
        StateError: there are some among the weights already.
    """
    if any(name.endswith(SCALE) for name in checkpoint.state):
        raise StateError("the checkpoint has scale factors among its weights: convert it without others (--scales)")
    return replace(checkpoint, scales=scales)


def number(values: Section, key: str, place: str) -> float:
    """A single finite number of a section.

    Raises:
        StateError: it is none; names the place.
    """
    value = values[key]
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise StateError(f"{place}: {key} is no single number: {value!r}") from error
    if not math.isfinite(found):
        raise StateError(f"{place}: {key} is {found}: it must be finite")
    return found


def _is_single_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.numel() == 1)


def _sections(sections: Section, which: str, name: str) -> dict[str, Section]:
    found = sections.get(which) or {}
    for key, entry in found.items():
        if not isinstance(entry, Mapping):
            raise StateError(f"{name}: {which}.{key} is {type(entry).__name__}, no dictionary of numbers")
    return {str(key): entry for key, entry in found.items()}


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
            factors[str(name).removesuffix(SCALE)] = number = float(value)
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
    suffixes = shared_suffixes(module)
    places = [
        (scale, scale_names(f"{key}.factor", suffixes))
        for key, scale in module.named_modules()
        if isinstance(scale, ScaleFactor)
    ]
    known = {name for _, names in places for name in names}
    found = read_scale_file(source)
    factors = {name: found[key] for key, name in without_wrappers(found, known).items()}
    # a factor with several names needs only the one that is there
    missing = [names[0] for _, names in places if names and not any(name in factors for name in names)]
    if missing:
        raise StateError(f"the scale file lacks {len(missing)} factors of this model: {', '.join(missing)}")
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
