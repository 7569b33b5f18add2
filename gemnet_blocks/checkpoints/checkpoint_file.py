"""Checkpoint files and scale files of the published implementation."""

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

from gemnet_blocks.checkpoints.fairchem_keys import GEMNET_2021, scale_names, shared_suffixes, unused_prefixes
from gemnet_blocks.errors import StateError, first_few
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.util.file_kinds import mistaken
from gemnet_blocks.util.torch_files import load_plain
from gemnet_blocks.util.weights import without_wrappers

_READ = ("state_dict", "normalizers", "elementrefs", "ema", "scale_dict", "config", "epoch", "step")
"""The sections that are read; all others serve training only."""

SCALE = ".scale_factor"
"""Suffix of the names of scale factors that are stored among the weights."""

Section = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The sections of a checkpoint that determine the predictions of a model.

    Attributes:
        state: weights by published name.
        normalizers: mean and standard deviation of each target, by the name of the target.
        element_references: atomic reference energies of each target, by the name of the target.
        averages: exponential moving average of the weights, if stored.
        scales: scale factors by published name, if they are not among the weights.
        config: configuration of the training run, if stored.
        progress: epoch and step, if stored.
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
        trust: unpickle arbitrary objects, which runs code that the file names; only for files that you trust.

    Raises:
        StateError: the file cannot be read, cannot be read without running code, or does not contain weights.
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
        raise StateError(
            f"{path}: reading it needs the package {error.name}: install the package for this conversion"
        ) from error
    except Exception as error:  # torch's reader raises anything
        advice = (
            "" if trust else ". If it contains pickled objects and you trust its origin, read it with trust (--trust)"
        )
        safely = "" if trust else " safely"
        raise StateError(f"{path}: cannot be read{safely}: {_reason(error)}{advice}") from error
    return checkpoint_of(content, str(path))


def _reason(error: Exception) -> str:
    """Say why torch could not read a file, without its advice to Python programmers."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named:
        return f"it contains {named[1]}, which is not part of weights"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return error.strerror
    return f"it is not a file of torch.save, or is damaged ({type(error).__name__})"


def checkpoint_of(content: Any, name: str = "the checkpoint") -> Checkpoint:
    """Sort the content of a checkpoint file into its sections.

    Args:
        content: a dictionary with `state_dict` and other sections, or the weights alone.
        name: name of the checkpoint in errors.

    Raises:
        StateError: the content does not contain weights, or a section is malformed.
    """
    if not isinstance(content, Mapping):
        raise StateError(f"{name}: expected a dictionary of weights or sections, found {type(content).__name__}")
    if {"gemnet_blocks", "state_dict"} <= content.keys():
        raise StateError(
            f"{name}: expected a published checkpoint, found one of a training run of gemnet_blocks: use the model "
            "file best.safetensors or last.safetensors in the output folder of the run"
        )
    if "state_dict" not in content and isinstance(content.get("model"), Mapping):
        content = {"state_dict" if key == "model" else key: value for key, value in content.items()}
    sections: Section = content if "state_dict" in content else {"state_dict": content}
    for section in ("normalizers", "elementrefs", "ema", "scale_dict"):
        if sections.get(section) is not None and not isinstance(sections[section], Mapping):
            found = type(sections[section]).__name__
            raise StateError(f"{name}: expected a dictionary in the section {section}, found {found}")
    state = sections["state_dict"]
    if state is content and state and all(_is_single_number(value) for value in state.values()):
        raise StateError(
            f"{name}: expected weights by name, found single numbers, such as scale factors: pass those with --scales"
        )
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()) or not state:
        raise StateError(f"{name}: does not contain a dictionary of weights by name")
    problems = {str(key): what for key, value in state.items() if (what := _problem(value))}
    if problems:
        shown = first_few([f"{key} {what}" for key, what in problems.items()])
        raise StateError(f"{name}: contains invalid weights: {shown}")
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
    """Say why a tensor cannot be a weight; empty if it can."""
    if weight.layout != torch.strided or weight.is_quantized or weight.is_meta:
        return "is not a dense array of numbers"
    if weight.is_complex():
        return "is complex"
    return "" if bool(weight.isfinite().all()) else "is NaN or infinite"


def with_scales(checkpoint: Checkpoint, scales: Section) -> Checkpoint:
    """Add scale factors from a separate file to a checkpoint.

    Raises:
        StateError: the checkpoint already contains scale factors.
    """
    if any(name.endswith(SCALE) for name in checkpoint.state):
        raise StateError("the checkpoint already contains scale factors: convert it without --scales")
    return replace(checkpoint, scales=scales)


def number(values: Section, key: str, place: str) -> float:
    """Return the entry `key` of a section as a finite number.

    Args:
        values: the section.
        key: the entry.
        place: name of the section in errors.

    Raises:
        StateError: the entry is not a finite number.
    """
    value = values[key]
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise StateError(f"{place}: {key} must be a single number, got {value!r}") from error
    if not math.isfinite(found):
        raise StateError(f"{place}: {key} must be finite, got {found}")
    return found


def _is_single_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.numel() == 1)


def _sections(sections: Section, which: str, name: str) -> dict[str, Section]:
    found = sections.get(which) or {}
    for key, entry in found.items():
        if not isinstance(entry, Mapping):
            raise StateError(f"{name}: expected a dictionary of numbers in {which}.{key}, found {type(entry).__name__}")
    return {str(key): entry for key, entry in found.items()}


def read_scale_file(source: str | PathLike[str] | Mapping[str, Any]) -> dict[str, float]:
    """Read scale factors by published name from a .pt file, a .json file or a dictionary, without running code.

    Raises:
        StateError: the file cannot be read safely, or does not contain numbers by name.
    """
    values = source if isinstance(source, Mapping) else _read(Path(source))
    factors = {}
    for name, value in values.items():
        if name == "comment" and not isinstance(value, int | float):
            continue  # older files contain a comment
        factors[str(name).removesuffix(SCALE)] = number(values, name, "scale factors")
    return factors


def load_scales(module: nn.Module, source: str | PathLike[str] | Mapping[str, Any]) -> None:
    """Set the scale factors of a model from a scale file or dictionary of the published implementation.

    Factors that the model does not have are ignored with a warning. For GemNet-Q and GemNet-T of 2021, which share one
    file, they are ignored without one, and missing factors become 1.

    Raises:
        StateError: the file cannot be read, or a factor of the model is missing; the model is not changed.
    """
    suffixes = shared_suffixes(module)
    for_several_models = GEMNET_2021 in suffixes
    places = [
        (scale, scale_names(f"{key}.factor", suffixes))
        for key, scale in module.named_modules()
        if isinstance(scale, ScaleFactor)
    ]
    known = {name for _, names in places for name in names}
    found = read_scale_file(source)
    factors = {name: found[key] for key, name in without_wrappers(found, known).items()}
    # one of the names of a factor suffices
    missing = [names[0] for _, names in places if names and not any(name in factors for name in names)]
    if missing and not for_several_models:
        raise StateError(f"the scale file lacks {len(missing)} factors of the model: {', '.join(missing)}")
    unused = unused_prefixes(module)
    unexpected = [name for name in factors if name not in known and not name.startswith(unused)]
    if unexpected and not for_several_models:
        warnings.warn(
            f"ignored {len(unexpected)} scale factors that the model does not have: {', '.join(unexpected)}",
            stacklevel=2,
        )
    with torch.no_grad():
        for scale, names in places:
            if for_several_models:
                scale.factor.fill_(1)
            for name in names[::-1]:
                if name in factors:
                    scale.factor.fill_(factors[name])


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix not in (".json", ".pt"):
        raise StateError(f"{path}: expected a scale file that ends in .pt or .json")
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else load_plain(path)
    except StateError:
        raise
    except Exception as error:  # torch's reader raises anything
        reason = error if path.suffix == ".json" else f"safely: {_reason(error)}"
        raise StateError(f"{path}: cannot be read as a scale file: {reason}") from error
    if not isinstance(values, Mapping):
        raise StateError(f"{path}: expected numbers by name, found {type(values).__name__}")
    return values
