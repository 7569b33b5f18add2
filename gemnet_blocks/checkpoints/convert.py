"""From checkpoints of published models to potentials."""

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
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec.build import build
from gemnet_blocks.spec.document import read_document
from gemnet_blocks.spec.published import from_published
from gemnet_blocks.structures import StoredMeaning
from gemnet_blocks.util.weights import ordinary_tensors

ENERGY = ("target", "energy")
"""What older and newer versions call the energy."""
FORCES = ("grad_target", "forces")
"""What older and newer versions call the forces."""
HEAVIEST = 118


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How the numbers of a published model become energies and forces.

    Attributes:
        references: the same as references.
        energy_factor: what the model's energies must be multiplied by first, as references have one scale for
            energies and forces.
        notes: what was found, for a report.
    """

    references: References
    energy_factor: float
    notes: tuple[str, ...]


def normalisation(checkpoint: Checkpoint, meaning: StoredMeaning, elements: int, forces: str | None) -> Normalisation:
    """Turn E = s_E·E_model + m + Σ reference[Z] and F = s_F·F_model into references.

    Args:
        checkpoint: has s_E, s_F, m and references in its normalisers; what it does not have is 1 or 0.
        meaning: what the energies are relative to.
        elements: the greatest atomic number that the model knows.
        forces: "direct", "gradient", or None without.

    Raises:
        StateError: a number is missing or impossible, or forces would be no gradient of the energy.
    """
    notes: list[str] = []
    energy = _chosen(checkpoint.normalizers, ENERGY, notes)
    offset, energy_scale = _mean_and_scale(energy, "normalizers: the energy's", notes, "energies")
    force_mean, force_scale = 0.0, energy_scale
    if forces is not None:
        found = _chosen(checkpoint.normalizers, FORCES, notes)
        force_mean, force_scale = _mean_and_scale(found, "normalizers: the forces'", notes, "forces")
    if force_mean:
        raise StateError(f"normalizers: the forces' mean is {force_mean} where forces have mean 0")
    if forces == "gradient" and abs(force_scale / energy_scale - 1) > 1e-6:
        raise StateError(
            f"normalizers: the model's forces are the gradient of its energy, but energies are scaled by "
            f"{energy_scale} and forces by {force_scale}: what it predicts would not conserve energy"
        )
    scale = force_scale if forces == "direct" else energy_scale
    per_element = _per_element(checkpoint, elements, notes)
    references = References(per_element, scale, meaning, offset)
    others = sorted({*checkpoint.normalizers, *checkpoint.element_references} - {*ENERGY, *FORCES})
    if others:
        notes.append(f"normalisers of other targets are ignored: {', '.join(others)}")
    return Normalisation(references, energy_scale / scale, tuple(notes))


def _chosen(sections: Mapping[str, Any], names: tuple[str, ...], notes: list[str]) -> Mapping[str, Any]:
    there = [name for name in names if sections.get(name)]
    if len(there) > 1:
        raise StateError(f"the checkpoint has {' and '.join(there)}, which are names of the same target")
    found: Mapping[str, Any] = sections[there[0]] if there else {}
    return found


def _mean_and_scale(values: Mapping[str, Any], place: str, notes: list[str], what: str) -> tuple[float, float]:
    if not values:
        notes.append(f"no normaliser of {what}: the model's numbers are taken to be in eV and Å")
        return 0.0, 1.0
    spread = next((key for key in ("rmsd", "std") if key in values), None)
    if "mean" not in values or spread is None:
        raise StateError(f"{place} normaliser has {', '.join(map(str, values))}: mean and std (or rmsd) are needed")
    mean, scale = number(values, "mean", place), number(values, spread, place)
    if scale <= 0:
        raise StateError(f"{place} {spread} is {scale}: it must be positive")
    notes.append(f"{what}: mean {mean:g} eV, scale {scale:g} eV")
    return mean, scale


def _per_element(checkpoint: Checkpoint, elements: int, notes: list[str]) -> dict[int, float]:
    found = _chosen(checkpoint.element_references, ENERGY, notes)
    if not found:
        return dict.fromkeys(range(1, min(elements, HEAVIEST) + 1), 0.0)
    values = found.get("element_references")
    if not isinstance(values, Tensor) or values.ndim != 1 or not bool(values.isfinite().all()):
        raise StateError("elementrefs: the energy's are no list of finite numbers by atomic number")
    notes.append("energies of elements: from elementrefs")
    known = range(1, min(elements + 1, HEAVIEST + 1, len(values)))
    return {element: float(values[element]) for element in known}


@dataclass(frozen=True, slots=True, eq=False)
class Conversion:
    """A converted checkpoint.

    Attributes:
        potential: the result.
        keys: what became of each weight.
        sections: sections of the checkpoint that were not read.
        notes: what the numbers were taken to mean.
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
    """Make a potential of a checkpoint.

    Normalisers become references. Where energies and forces have different scales, which models with direct forces may
    have, that of forces is kept and the last layer of energies is multiplied by the ratio.

    Args:
        checkpoint: from `read_checkpoint`.
        arguments: the model's keyword arguments, or a configuration with them, from `read_arguments`; None: those of
            the checkpoint's own configuration.
        meaning: what the energies are relative to; no checkpoint says it.
        ema: take the moving average of the weights.
        dtype: the type of the weights; None: as stored.

    Raises:
        StateError: the weights do not fit the arguments: lists every key that is missing, unexpected or of the wrong
            shape; or normalisers or averages cannot be understood.
        SpecError: arguments are missing, unknown or invalid.
    """
    given = checkpoint.config if arguments is None else arguments
    if given is None:
        raise SpecError("the checkpoint has no configuration: give the model's keyword arguments (--kwargs model.yml)")
    spec = from_published(model_arguments(given))
    with without_initial_values(), torch.device("cpu"):
        model = build(spec, seed=0)
    state = _with_scales(checkpoint)
    if ema:
        if not checkpoint.averages:
            raise StateError("the checkpoint has no moving average of its weights: convert it without --ema")
        state = averaged_state(model, state, checkpoint.averages)
    model.to(_type_of(state) if dtype is None else dtype)
    keys = load_fairchem_state(model, state)
    forces = None if spec.heads.forces is None else spec.heads.forces.type
    normal = normalisation(checkpoint, meaning, spec.elements, forces)
    with torch.no_grad():
        for weight in energy_weights(model):
            weight.mul_(normal.energy_factor)
    notes = list(normal.notes)
    if normal.energy_factor != 1:
        notes.append(f"the last layer of energies is multiplied by {normal.energy_factor:g}, their scale by forces'")
    notes += _unfitted(model)
    if ema:
        notes.append("weights: moving averages")
    record = {"converted_from": "fairchem checkpoint", "moving_average": ema, **checkpoint.progress}
    potential = Potential(model, spec, normal.references, record).eval()
    return Conversion(potential, keys, checkpoint.ignored, tuple(notes))


def read_arguments(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file with a published model's keyword arguments, or a configuration that has them under `model`.

    Raises:
        SpecError: the file cannot be read or is no plain YAML; names the line.
    """
    return read_document(Path(path)).data


def model_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of GemNet-OC or GemNet-T in a configuration of a training run, or those themselves.

    Read are `model: {name: gemnet_oc, …}`; `model: gemnet_oc` with `model_attributes: {…}`; and models of a `backbone`
    and `heads`.

    Raises:
        SpecError: it is of another model.
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
    if name is not None and not re.sub(r"[-_]", "", str(name).lower()).startswith(("gemnetoc", "gemnett")):
        raise SpecError(
            f"the configuration is of the model {name!r}: only GemNet-OC (gemnet_oc) and GemNet-T (gemnet_t) can be "
            "converted"
        )
    return arguments


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(f"{place}: must be a mapping of arguments, got {value!r}")
    return value


def _with_scales(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights, with scale factors that are stored apart from them."""
    scales = {
        f"{str(name).removesuffix(SCALE)}{SCALE}": torch.tensor(
            number(checkpoint.scales, name, "scale_dict"), device="cpu"
        )
        for name in checkpoint.scales
    }
    if any(name.endswith(SCALE) for name in checkpoint.state):
        scales = {}
    return {**checkpoint.state, **scales}


def _type_of(state: Mapping[str, Tensor]) -> torch.dtype:
    """The floating-point type of most weights."""
    types = [value.dtype for value in state.values() if value.is_floating_point() and value.ndim == 2]
    return max(set(types), key=types.count) if types else torch.get_default_dtype()


def _unfitted(model: GemNet) -> list[str]:
    from gemnet_blocks.layers.scaling import ScaleFactor

    scales = [scale for scale in model.modules() if isinstance(scale, ScaleFactor)]
    count = sum(not scale.fitted for scale in scales)
    return [f"{count} of {len(scales)} scale factors are unfitted and count as 1"] if count else []
