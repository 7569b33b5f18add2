"""From the normalisers of published training runs to references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gemnet_blocks.checkpoints.checkpoint_file import Checkpoint, number
from gemnet_blocks.errors import StateError
from gemnet_blocks.potential.references import References, StoredMeaning

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
