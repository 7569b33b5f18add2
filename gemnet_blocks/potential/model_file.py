"""One file for a potential: weights, spec, references, units and training record, read without running code."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gemnet_blocks.data.trained_frames import TrainedFrames
from gemnet_blocks.errors import SpecError, StateError, first_few
from gemnet_blocks.layers.initialization import without_initial_values
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec.build import Execution, build, build_shapes
from gemnet_blocks.spec.catalog import Catalog, search_beside
from gemnet_blocks.spec.document import Document, absent
from gemnet_blocks.spec.resolve import validate
from gemnet_blocks.util.file_kinds import MODEL_FORMAT, MODELS_OF_RUNS, mistaken, models_of_run
from gemnet_blocks.util.files import checksum, replacing
from gemnet_blocks.util.version import LIBRARY_VERSION
from gemnet_blocks.util.weights import ordinary_tensors

VERSION = 1
"""The version of the format that is written; older ones are read, newer ones refused."""

_FIELDS = ("spec", "references", "units", "record")


def save_potential(potential: Potential, path: str | os.PathLike[str]) -> None:
    """Write a potential to one safetensors file, whole or not at all.

    The weights keep their type; the file's metadata are texts: format and version, the spec with nothing left to
    resolve, references with meaning and units, the training record, hashes of the structures that it was trained and
    validated on where they are known, and a checksum of everything.

    Args:
        potential: what is written.
        path: the file; `.safetensors` is a good suffix. One that exists is replaced.

    Raises:
        StateError: the file cannot be written.
    """
    references = potential.references
    texts = {
        "format": MODEL_FORMAT,
        "format_version": str(VERSION),
        "library_version": LIBRARY_VERSION,
        "meaning": references.meaning,
        "spec": _json(potential.spec.to_dict()),
        "references": _json(references.to_dict()),
        "units": _json({"energy": references.energy_unit, "length": references.length_unit}),
        "record": _json(potential.record),
    }
    if potential.frames is not None:
        texts["frames"] = potential.frames.to_text()
    weights = {name: value.detach().cpu().contiguous() for name, value in _named(potential.model).items()}
    texts["checksum"] = checksum(weights, texts)
    from safetensors.torch import save_file

    try:
        with replacing(path) as temporary:
            save_file(weights, temporary, texts)
    except OSError as error:
        raise StateError(f"{path}: cannot be written: {error.strerror or error}") from error
    except Exception as error:  # safetensors has one exception for everything
        raise StateError(f"{path}: cannot be written: {error}") from error


def floating_type(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """A floating-point type that may be given by its name, such as `float64`.

    Raises:
        ValueError: it is not one.
    """
    named = getattr(torch, dtype.removeprefix("torch."), dtype) if isinstance(dtype, str) else dtype
    if named is None or (isinstance(named, torch.dtype) and named.is_floating_point):
        return named
    raise ValueError(f"dtype: expected a floating-point type such as torch.float64 or 'float64', got {dtype!r}")


@ordinary_tensors()
def load_potential(
    path: str | os.PathLike[str],
    execution: Execution | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    *,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
) -> Potential:
    """Read a potential that `save_potential` wrote. Reading runs no code and needs nothing but the file.

    Args:
        path: the file, or the folder of a training run, whose best.safetensors is read, else last.safetensors.
        execution: how the model is computed.
        dtype: the floating-point type of the weights, or its name; None: that of the file.
        device: where to; None: the CPU.
        extra: your own parts by the name that the spec's `type` gives them.
        allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported; only for files that you trust.
            Modules in the folder of the file and in the current one are found, too.

    Raises:
        StateError: the file is not a model file, is damaged, of a newer version, or its weights do not fit its spec; or
            there is no such device.
        SpecError: the spec has parts that are not known, or that would have to be imported, or memory does not suffice.
    """
    dtype = floating_type(dtype)
    path = model_path(path)
    content = read_model_file(path)
    if allow_imports:
        search_beside(Path(path))
    spec = validate(Document(content.documents["spec"], {(): f"{path}: spec"}), Catalog().plus(extra, allow_imports))
    try:
        references = References.from_dict(content.documents["references"])
    except ValueError as error:
        raise StateError(f"{path}: {error}") from error
    units = tuple(content.documents["units"].get(name) for name in ("energy", "length"))
    if units != (references.energy_unit, references.length_unit):
        raise StateError(
            f"{path}: its units are {units[0]} and {units[1]}, and this release computes in {references.energy_unit} "
            f"and {references.length_unit}: correct the file"
        )
    try:  # shapes first, as a spec may ask for more memory than there is
        shapes = build_shapes(spec, extra=extra, allow_imports=allow_imports)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
    except (RuntimeError, MemoryError) as error:
        raise StateError(f"{path}: the model of its spec cannot be made: {str(error).splitlines()[0]}") from error
    _check_fit(shapes, content.weights, path)
    with without_initial_values(), torch.device("cpu"):
        model = build(spec, extra=extra, allow_imports=allow_imports, execution=execution, seed=0)
    _fill(model, content.weights)
    potential = Potential(model, spec, references, content.documents["record"], content.frames)
    try:
        return potential.to(device=device, dtype=dtype).eval()
    except (RuntimeError, AssertionError) as error:  # what torch raises differs from device to device
        raise StateError(f"the device {device} cannot be used: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True, slots=True, eq=False)
class ModelFile:
    """The content of a model file, from which `load_potential` builds the model.

    Attributes:
        documents: the spec, atomic reference energies, units and training record, as dictionaries by these names.
        weights: by name.
        frames: hashes of the structures that the model was trained and validated on; None if they are not recorded.
    """

    documents: dict[str, dict[str, Any]]
    weights: dict[str, Tensor]
    frames: TrainedFrames | None


def model_path(path: str | os.PathLike[str]) -> Path:
    """Name the model file that a path means: itself, or the best model, else the last one, in the folder of a run."""
    return next(iter(models_of_run(Path(path))), Path(path))


def read_model_file(path: str | os.PathLike[str]) -> ModelFile:
    """Read a model file and check that it is complete, without building the model.

    Args:
        path: the file; see `model_path`.

    Raises:
        StateError: the file is missing, is not a model file, is damaged, or of a newer version.
    """
    from safetensors import safe_open

    path = model_path(path)
    if path.is_dir():
        raise StateError(f"{path}: is a folder without {' and '.join(MODELS_OF_RUNS)}: name a model file")
    if not path.is_file():
        raise StateError(f"{path}: {absent(path)}")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            texts = dict(file.metadata() or {})
            _check_format(texts, path)
            # copies: a file that changes later must not change the weights
            weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except StateError:
        raise
    except Exception as error:  # safetensors and torch raise anything
        found = mistaken(path, "a model file") or f"is not one, or is damaged: {error}"
        raise StateError(f"{path}: cannot be read as a model file: it {found}") from error
    if texts.pop("checksum", None) != checksum(weights, texts):
        raise StateError(f"{path}: is damaged: its content is not what was written. Copy it again or save it anew")
    try:
        frames = TrainedFrames.from_text(texts["frames"]) if "frames" in texts else None
    except (ValueError, RecursionError) as error:
        raise StateError(f"{path}: its record of training structures cannot be read: {error}") from error
    return ModelFile({name: _document(texts, name, path) for name in _FIELDS}, weights, frames)


def _check_format(texts: Mapping[str, str], path: Path) -> None:
    if texts.get("format") != MODEL_FORMAT:
        raise StateError(
            f"{path}: is a safetensors file, but no model file: make one with save_potential, or with "
            "`gemnet-blocks convert` from a published checkpoint"
        )
    version = texts.get("format_version", "")
    if not version.isdecimal() or not 1 <= int(version[:9]) <= VERSION:
        raise StateError(
            f"{path}: is of format version {version[:20]!r}, and this release reads up to {VERSION}: "
            "upgrade gemnet_blocks"
        )


def _document(texts: Mapping[str, str], name: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(texts[name])
    except (KeyError, ValueError, RecursionError) as error:
        raise StateError(f"{path}: its {name} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(value, dict):
        raise StateError(f"{path}: its {name} is no mapping")
    return value


def _check_fit(model: nn.Module, weights: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Check that a model has a place for all weights, and a weight for all places, of the same shape."""
    if problems := misfits(_named(model), weights, model.state_dict()):
        raise StateError(f"{path}: the weights do not fit the spec: {problems}")
    broken = [name for name, value in weights.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if broken:
        raise StateError(f"{path}: weights are NaN or infinite ({', '.join(sorted(broken)[:5])}): train it anew")


def misfits(places: Mapping[str, Tensor], weights: Mapping[str, Tensor], needed: Collection[str]) -> str:
    """The weights that do not fit a model, up to ten of them; empty if all fit.

    Args:
        places: the tensors of the model by name.
        weights: what is to take their values.
        needed: the names of tensors that the weights must have.
    """
    problems = [f"{name} is missing" for name in needed if name not in weights]
    problems += [f"{name} has no place in the model" for name in weights if name not in places]
    for name in places.keys() & weights.keys():
        ours, stored = places[name], weights[name]
        if ours.shape != stored.shape or ours.is_floating_point() != stored.is_floating_point():
            problems.append(
                f"{name} is {stored.dtype} {tuple(stored.shape)} where {ours.dtype} {tuple(ours.shape)} is needed"
            )
    return first_few(sorted(problems), 10)


def _fill(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put weights that fit into a model, in the types that they have."""
    places = _named(model)
    with torch.no_grad():
        for name in places.keys() & weights.keys():
            places[name].data = weights[name]


def _named(module: nn.Module) -> dict[str, Tensor]:
    """Weights and constants by name, constants that a state dictionary leaves out among them.

    These follow from the spec, but rounding to a type and back loses digits that a prediction shows.
    """
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
