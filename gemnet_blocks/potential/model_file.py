"""Model files: weights, spec, atomic reference energies, units and training record in one safetensors file."""

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
from gemnet_blocks.spec.build import build, build_shapes
from gemnet_blocks.spec.catalog import Catalog, search_beside
from gemnet_blocks.spec.document import Document, absent
from gemnet_blocks.spec.execution import Execution
from gemnet_blocks.spec.resolve import validate
from gemnet_blocks.util.file_kinds import ENSEMBLE_FORMAT, MODEL_FORMAT, MODELS_OF_RUNS, mistaken, models_of_run
from gemnet_blocks.util.files import checksum, replacing
from gemnet_blocks.util.version import LIBRARY_VERSION
from gemnet_blocks.util.weights import ordinary_tensors

VERSION = 1
"""The format version that is written; older versions are read, newer ones are refused."""

_FIELDS = ("spec", "references", "units", "record")


def save_potential(potential: Potential, path: str | os.PathLike[str]) -> None:
    """Write a potential to one safetensors file; an existing file is replaced only if writing succeeds.

    The weights keep their floating-point type. The metadata of the file contain the format and its version, the
    resolved spec, the atomic reference energies with their meaning and units, the training record, hashes of the
    training and validation structures if they are known, and a checksum of the whole content.

    Args:
        potential: the potential to write.
        path: the file, usually with the suffix `.safetensors`.

    Raises:
        StateError: the file cannot be written.
    """
    write_model_file(weights_of(potential), {**HEADER, **texts_of(potential)}, path)


HEADER: Mapping[str, str] = {
    "format": MODEL_FORMAT,
    "format_version": str(VERSION),
    "library_version": LIBRARY_VERSION,
}
"""The metadata that all written model files have in common."""


def texts_of(potential: Potential) -> dict[str, str]:
    """Return everything but the weights of a potential as the metadata of its file."""
    references = potential.references
    texts = {
        "meaning": references.meaning,
        "spec": _json(potential.spec.to_dict()),
        "references": _json(references.to_dict()),
        "units": _json({"energy": references.energy_unit, "length": references.length_unit}),
        "record": _json(potential.record),
    }
    if potential.frames is not None:
        texts["frames"] = potential.frames.to_text()
    return texts


def weights_of(potential: Potential) -> dict[str, Tensor]:
    """Return the weights of a potential by name."""
    return {name: value.detach().cpu().contiguous() for name, value in _named(potential.model).items()}


def write_model_file(weights: Mapping[str, Tensor], texts: Mapping[str, str], path: str | os.PathLike[str]) -> None:
    """Write weights and metadata with their checksum; an existing file is replaced only if writing succeeds.

    Raises:
        StateError: the file cannot be written.
    """
    from safetensors.torch import save_file

    try:
        with replacing(path) as temporary:
            save_file(dict(weights), temporary, {**texts, "checksum": checksum(weights, texts)})
    except OSError as error:
        raise StateError(f"{path}: cannot be written: {error.strerror or error}") from error
    except Exception as error:  # safetensors has one exception for everything
        raise StateError(f"{path}: cannot be written: {error}") from error


def floating_type(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """Return a floating-point type that may be given by its name, such as `float64`.

    Raises:
        ValueError: `dtype` is not a floating-point type.
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
    """Read a potential from a file that `save_potential` wrote, without executing code from the file.

    Args:
        path: the file, or the folder of a training run; from a folder, best.safetensors or else last.safetensors is
            read.
        execution: execution options of the model.
        dtype: floating-point type of the weights, or its name; None: the type in the file.
        device: device of the weights; None: the CPU.
        extra: custom components, by the name that the spec's `type` gives them.
        allow_imports: import custom components such as `my_lab.blocks:GatedTriplet`, which runs their code; only for
            files that you trust. Modules are also searched for in the folder of the file and in the current folder.

    Raises:
        StateError: the file is not a model file, is damaged, was written by a newer version, its weights do not fit its
            spec, or the device is not available.
        SpecError: the spec has unknown components or ones that must be imported, or the model does not fit in memory.
    """
    dtype = floating_type(dtype)
    path = model_path(path)
    return potential_of(read_model_file(path), path, execution, dtype, device, extra, allow_imports)


def potential_of(
    content: ModelFile,
    path: str | os.PathLike[str],
    execution: Execution | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
) -> Potential:
    """Build the potential of a file that was read; for arguments and errors see `load_potential`."""
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
            f"{path}: expected the units {references.energy_unit} and {references.length_unit}, found {units[0]} and "
            f"{units[1]}: convert the file"
        )
    try:  # shapes first: a spec may need more memory than is available
        shapes = build_shapes(spec, extra=extra, allow_imports=allow_imports)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
    except (RuntimeError, MemoryError) as error:
        raise StateError(f"{path}: cannot build the model of its spec: {str(error).splitlines()[0]}") from error
    _check_fit(shapes, content.weights, path)
    with without_initial_values(), torch.device("cpu"):
        model = build(spec, extra=extra, allow_imports=allow_imports, execution=execution, seed=0)
    _fill(model, content.weights)
    potential = Potential(model, spec, references, content.documents["record"], content.frames)
    try:
        return potential.to(device=device, dtype=dtype).eval()
    except (RuntimeError, AssertionError) as error:  # torch raises different errors for different devices
        raise StateError(f"the device {device} is not available: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True, slots=True, eq=False)
class ModelFile:
    """The content of a model file, from which `load_potential` builds the model.

    Attributes:
        documents: dictionaries under the keys "spec", "references", "units" and "record".
        weights: weights by name.
        frames: hashes of the training and validation structures; None if they are not recorded.
    """

    documents: dict[str, dict[str, Any]]
    weights: dict[str, Tensor]
    frames: TrainedFrames | None


def model_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a model file; for the folder of a run, that of the best or else the last model."""
    return next(iter(models_of_run(Path(path))), Path(path))


def read_model_file(path: str | os.PathLike[str]) -> ModelFile:
    """Read a model file and check that it is complete, without building the model.

    Args:
        path: the file, or the folder of a training run.

    Raises:
        StateError: the file is missing, is not a model file, is damaged, or was written by a newer version.
    """
    path = model_path(path)
    texts, weights = read_checked(path)
    if texts["format"] != MODEL_FORMAT:
        raise StateError(f"{path}: expected a model, but this is an ensemble of models: read it with load_ensemble")
    return content_of(texts, weights, path)


def read_checked(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read the metadata and the weights of a file with a model or an ensemble, and check that it is complete.

    Raises:
        StateError: the file is missing, is of another kind, is damaged, or was written by a newer version.
    """
    from safetensors import safe_open

    if path.is_dir():
        raise StateError(f"{path}: is a folder without {' and '.join(MODELS_OF_RUNS)}: name a model file")
    if not path.is_file():
        raise StateError(f"{path}: {absent(path)}")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            texts = dict(file.metadata() or {})
            _check_format(texts, path)
            # copy: weights must not change if the memory-mapped file does
            weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except StateError:
        raise
    except Exception as error:  # safetensors and torch raise anything
        found = mistaken(path, "a model file") or f"is not one, or is damaged: {error}"
        raise StateError(f"{path}: expected a model file, but this {found}") from error
    if texts.pop("checksum", None) != checksum(weights, texts):
        raise StateError(f"{path}: is damaged, since its checksum does not match: copy or save the file again")
    return texts, weights


def content_of(texts: Mapping[str, str], weights: dict[str, Tensor], path: Path) -> ModelFile:
    """Convert metadata and weights to the content of a model file.

    Raises:
        StateError: an entry is missing or damaged.
    """
    try:
        frames = TrainedFrames.from_text(texts["frames"]) if "frames" in texts else None
    except (ValueError, RecursionError) as error:
        raise StateError(f"{path}: cannot read its record of training structures: {error}") from error
    return ModelFile({name: _document(texts, name, path) for name in _FIELDS}, weights, frames)


def _check_format(texts: Mapping[str, str], path: Path) -> None:
    if texts.get("format") not in (MODEL_FORMAT, ENSEMBLE_FORMAT):
        raise StateError(
            f"{path}: is a safetensors file, but not a model file: write one with save_potential, or convert a "
            "published checkpoint with `gemnet-blocks convert`"
        )
    version = texts.get("format_version", "")
    if not version.isdecimal() or not 1 <= int(version[:9]) <= VERSION:
        raise StateError(
            f"{path}: expected a format version up to {VERSION}, found {version[:20]!r}: upgrade gemnet_blocks"
        )


def _document(texts: Mapping[str, str], name: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(texts[name])
    except (KeyError, ValueError, RecursionError) as error:
        raise StateError(f"{path}: cannot read its {name}: {type(error).__name__}: {error}") from error
    if not isinstance(value, dict):
        raise StateError(f"{path}: its {name} is not a mapping")
    return value


def _check_fit(model: nn.Module, weights: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    if problems := misfits(_named(model), weights, model.state_dict()):
        raise StateError(f"{path}: the weights do not fit the spec: {problems}")
    broken = [name for name, value in weights.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if broken:
        raise StateError(
            f"{path}: weights are NaN or infinite ({', '.join(sorted(broken)[:5])}): train the model again"
        )


def misfits(places: Mapping[str, Tensor], weights: Mapping[str, Tensor], needed: Collection[str]) -> str:
    """Describe up to ten weights that do not fit a model; the text is empty if all fit.

    Args:
        places: tensors of the model by name.
        weights: weights to be loaded by name.
        needed: names that the weights must contain.
    """
    problems = [f"{name} is missing" for name in needed if name not in weights]
    problems += [f"{name} is not part of the model" for name in weights if name not in places]
    for name in places.keys() & weights.keys():
        ours, stored = places[name], weights[name]
        if ours.shape != stored.shape or ours.is_floating_point() != stored.is_floating_point():
            problems.append(
                f"{name}: expected {ours.dtype} {tuple(ours.shape)}, found {stored.dtype} {tuple(stored.shape)}"
            )
    return first_few(sorted(problems), 10)


def _fill(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    places = _named(model)
    with torch.no_grad():
        for name in places.keys() & weights.keys():
            places[name].data = weights[name]


def _named(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers, including the buffers that a state dictionary leaves out.

    The latter follow from the spec, but not to the last digit if the model was converted between types.
    """
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
