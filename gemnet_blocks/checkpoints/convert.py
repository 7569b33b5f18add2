"""Conversion of published checkpoints to potentials."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gemnet_blocks.checkpoints.checkpoint_file import SCALE, Checkpoint, number
from gemnet_blocks.checkpoints.fairchem import LoadReport, averaged_state, energy_weights, load_fairchem_state
from gemnet_blocks.errors import SpecError, StateError
from gemnet_blocks.layers.initialization import without_initial_values
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec.build import build
from gemnet_blocks.spec.document import read_document
from gemnet_blocks.spec.published import from_published
from gemnet_blocks.spec.published.gemnet_2021 import is_gemnet_2021
from gemnet_blocks.structures import StoredMeaning
from gemnet_blocks.util.weights import ordinary_tensors

ENERGY = ("target", "energy")
"""The name of the energy in older and in newer versions."""
FORCES = ("grad_target", "forces")
"""The name of the forces in older and in newer versions."""
HEAVIEST = 118


@dataclass(frozen=True, slots=True)
class Normalization:
    """The normalizers of a checkpoint in the form of `References`.

    Attributes:
        references: atomic reference energies, scale and offset.
        energy_factor: factor for the last layer of the energy head, since references have one scale for energies and
            forces.
        notes: lines for a report.
    """

    references: References
    energy_factor: float
    notes: tuple[str, ...]


def normalization(checkpoint: Checkpoint, meaning: StoredMeaning, elements: int, forces: str | None) -> Normalization:
    """Convert E = s_E·E_model + m + Σ reference[Z] and F = s_F·F_model to references.

    Args:
        checkpoint: contains s_E, s_F and m in its normalizers, and the references in `elementrefs`; missing scales
            are 1 and missing energies 0.
        meaning: what the energy is relative to.
        elements: largest atomic number of the model.
        forces: "direct", "gradient", or None without forces.

    Raises:
        StateError: a number is missing or invalid, or gradient forces have another scale than the energy.
    """
    notes: list[str] = []
    energy = _chosen(checkpoint.normalizers, ENERGY)
    offset, energy_scale = _mean_and_scale(energy, "normalizers: the energy's", notes, "energies")
    force_mean, force_scale = 0.0, energy_scale
    if forces is not None:
        found = _chosen(checkpoint.normalizers, FORCES)
        force_mean, force_scale = _mean_and_scale(found, "normalizers: the forces'", notes, "forces")
    if force_mean:
        raise StateError(f"normalizers: the forces' mean must be 0, got {force_mean}")
    if forces == "gradient" and abs(force_scale / energy_scale - 1) > 1e-6:
        raise StateError(
            f"normalizers: gradient forces must have the scale of the energy, {energy_scale}, but have {force_scale}: "
            "predictions would not conserve energy"
        )
    scale = force_scale if forces == "direct" else energy_scale
    per_element = _per_element(checkpoint, elements, notes)
    references = References(per_element, scale, meaning, offset)
    others = sorted({*checkpoint.normalizers, *checkpoint.element_references} - {*ENERGY, *FORCES})
    if others:
        notes.append(f"normalizers of other targets are ignored: {', '.join(others)}")
    return Normalization(references, energy_scale / scale, tuple(notes))


def _chosen(sections: Mapping[str, Mapping[str, Any]], names: tuple[str, ...]) -> Mapping[str, Any]:
    present = [name for name in names if sections.get(name)]
    if len(present) > 1:
        raise StateError(f"the checkpoint contains {' and '.join(present)}, which are names of the same target")
    return sections[present[0]] if present else {}


def _mean_and_scale(values: Mapping[str, Any], place: str, notes: list[str], what: str) -> tuple[float, float]:
    if not values:
        notes.append(f"no normalizer of {what}: the model's outputs are assumed to be in eV and Å")
        return 0.0, 1.0
    spread = next((key for key in ("rmsd", "std") if key in values), None)
    if "mean" not in values or spread is None:
        raise StateError(f"{place} normalizer must contain mean and std (or rmsd), got {', '.join(map(str, values))}")
    mean, scale = number(values, "mean", place), number(values, spread, place)
    if scale <= 0:
        raise StateError(f"{place} {spread} must be positive, got {scale}")
    notes.append(f"{what}: mean {mean:g} eV, scale {scale:g} eV")
    return mean, scale


def _per_element(checkpoint: Checkpoint, elements: int, notes: list[str]) -> dict[int, float]:
    found = _chosen(checkpoint.element_references, ENERGY)
    if not found:
        return dict.fromkeys(range(1, min(elements, HEAVIEST) + 1), 0.0)
    values = found.get("element_references")
    if not isinstance(values, Tensor) or values.ndim != 1 or not bool(values.isfinite().all()):
        raise StateError("elementrefs: expected finite energies in a list by atomic number")
    notes.append("atomic reference energies: from elementrefs")
    known = range(1, min(elements + 1, HEAVIEST + 1, len(values)))
    return {element: float(values[element]) for element in known}


@dataclass(frozen=True, slots=True, eq=False)
class Conversion:
    """A converted checkpoint.

    Attributes:
        potential: the potential.
        keys: report on the keys of the weights.
        sections: sections of the checkpoint that were ignored.
        notes: lines on units, normalizers and scale factors for a report.
    """

    potential: Potential
    keys: LoadReport
    sections: tuple[str, ...]
    notes: tuple[str, ...]


@ordinary_tensors()
def convert_checkpoint(
    checkpoint: Checkpoint,
    arguments: Mapping[str, Any] | None,
    meaning: StoredMeaning,
    ema: bool = False,
    dtype: torch.dtype | None = None,
) -> Conversion:
    """Convert a published checkpoint to a potential.

    Normalizers become references. Models with direct forces may have different scales for energies and forces; the
    potential then has the scale of the forces, and the last layer of the energy head is multiplied by the ratio.

    Args:
        checkpoint: checkpoint from `read_checkpoint`.
        arguments: keyword arguments of the model, or a configuration that contains them, from `read_arguments`; None:
            the configuration in the checkpoint.
        meaning: what the energy is relative to, which checkpoints do not store.
        ema: use the exponential moving average of the weights.
        dtype: floating-point type of the weights; None: the stored type.

    Raises:
        StateError: the weights do not fit the arguments (the message lists every missing or unexpected key and every
            wrong shape), or normalizers or averages are malformed.
        SpecError: arguments are missing, unknown or invalid.
    """
    given = checkpoint.config if arguments is None else arguments
    if given is None:
        raise SpecError(
            "the checkpoint does not contain a configuration: pass the model's keyword arguments (--kwargs model.yml)"
        )
    given = model_arguments(given)
    spec = from_published(given)
    with without_initial_values(), torch.device("cpu"):
        model = build(spec, seed=0)
    state = _with_scales(checkpoint)
    if ema:
        if not checkpoint.averages:
            raise StateError(
                "the checkpoint does not contain a moving average of the weights: convert it without --ema"
            )
        state = averaged_state(model, state, checkpoint.averages)
    model.to(_type_of(state) if dtype is None else dtype)
    keys = load_fairchem_state(model, state)
    forces = None if spec.heads.forces is None else spec.heads.forces.type
    normalized = normalization(checkpoint, meaning, spec.elements, forces)
    with torch.no_grad():
        for weight in energy_weights(model):
            weight.mul_(normalized.energy_factor)
    notes = list(normalized.notes)
    if normalized.energy_factor != 1:
        notes.append(
            f"the last layer of the energy head is multiplied by {normalized.energy_factor:g}, the ratio of the scales "
            "of energies and forces"
        )
    notes += _unfitted(model)
    if ema:
        notes.append("weights: moving averages")
    origin = "gemnet_pytorch" if is_gemnet_2021(given) else "fairchem"
    record = {"converted_from": f"{origin} checkpoint", "moving_average": ema, **checkpoint.progress}
    potential = Potential(model, spec, normalized.references, record).eval()
    return Conversion(potential, keys, checkpoint.ignored, tuple(notes))


def read_arguments(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file with the keyword arguments of a published model, at the top level or under `model`.

    Raises:
        SpecError: the file cannot be read or is not plain YAML; the message names the line.
    """
    return read_document(Path(path)).data


def model_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Extract the keyword arguments of a published model from the configuration of a training run.

    The configuration has one of the forms `model: {name: gemnet_oc, …}`, `model: gemnet_oc` with
    `model_attributes: {…}`, or a model of a `backbone` and `heads`. Keyword arguments alone are returned unchanged.

    Raises:
        SpecError: the configuration describes another model.
    """
    model = config.get("model", config)
    if isinstance(model, str):
        model = {"name": model, **_mapping(config.get("model_attributes", {}), "model_attributes")}
    arguments = dict(_mapping(model, "model"))
    name = arguments.pop("name", None)
    if "backbone" in arguments:
        backbone = dict(_mapping(arguments["backbone"], "model.backbone"))
        name = backbone.pop("model", backbone.pop("name", None))
        heads = _mapping(arguments.get("heads") or {}, "model.heads")
        arguments = backbone
        for head in heads.values():
            for key in ("num_global_out_layers", "output_init"):
                if key in _mapping(head, "model.heads"):
                    arguments[key] = head[key]
    known = re.sub(r"[-_]", "", str(name).lower()).startswith(("gemnetoc", "gemnett"))
    if name is not None and not known and not is_gemnet_2021(arguments):
        raise SpecError(
            f"expected a configuration of GemNet-OC (gemnet_oc), GemNet-T (gemnet_t), or GemNet-Q or GemNet-T of 2021 "
            f"(with triplets_only), found the model {name!r}"
        )
    return arguments


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(f"{place}: expected a mapping of arguments, got {value!r}")
    return value


def _with_scales(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the weights including scale factors; factors among the weights take precedence over a section of them."""
    factors = {
        f"{str(name).removesuffix(SCALE)}{SCALE}": torch.tensor(
            number(checkpoint.scales, name, "scale_dict"), device="cpu"
        )
        for name in checkpoint.scales
    }
    if any(name.endswith(SCALE) for name in checkpoint.state):
        return dict(checkpoint.state)
    return {**checkpoint.state, **factors}


def _type_of(state: Mapping[str, Tensor]) -> torch.dtype:
    """Return the most frequent floating-point type of the weight matrices."""
    types = [value.dtype for value in state.values() if value.is_floating_point() and value.ndim == 2]
    return max(set(types), key=types.count) if types else torch.get_default_dtype()


def _unfitted(model: GemNet) -> list[str]:
    scales = [scale for scale in model.modules() if isinstance(scale, ScaleFactor)]
    count = sum(not scale.fitted for scale in scales)
    return [f"{count} of {len(scales)} scale factors are not fitted and equal 1"] if count else []
