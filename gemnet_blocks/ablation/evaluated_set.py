"""Details of the errors of a run: by element, against trivial predictions, and labels with their predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gemnet_blocks.ablation.results import Parity
from gemnet_blocks.data.batching import BatchOptions
from gemnet_blocks.data.dataset import LabelledDataset, Subset
from gemnet_blocks.evaluation.evaluate import DEFAULT_BATCH, Evaluation, evaluate
from gemnet_blocks.evaluation.metrics import Errors
from gemnet_blocks.potential.potential import Potential

STRUCTURES, POINTS = 40, 200
"""The number of structures whose forces are kept for parity plots, and the number of points of a plot."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EvaluatedSet:
    """Details of the errors on the evaluated set.

    Attributes:
        baseline: errors of zero forces and the mean energy; see `RunResult.baseline`.
        elements: errors of the forces on each element; see `RunResult.elements`.
        parity: labels and predictions; see `RunResult.parity`.
    """

    baseline: Mapping[str, float] = field(default_factory=dict)
    elements: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    parity: Mapping[str, Parity] = field(default_factory=dict)


def evaluated_set(
    potential: Potential, dataset: LabelledDataset, evaluation: Evaluation, batch: BatchOptions = DEFAULT_BATCH
) -> EvaluatedSet:
    """Collect the details of an evaluation.

    Args:
        potential: the evaluated potential.
        dataset: the evaluated set.
        evaluation: its evaluation.
        batch: the size of a batch.
    """
    baseline, parity = _zero_forces(evaluation.errors), {}
    columns = evaluation.predictions.structures
    if "energy_label" in columns:
        known = np.isfinite(columns["energy_label"]) & (columns["atoms"] > 0)
        atoms = columns["atoms"][known].astype(float)
        references = _reference_energies(potential, dataset)[known]
        label, predicted = ((columns[f"energy_{one}"][known] - references) / atoms for one in ("label", "predicted"))
        if len(label):
            baseline |= _mean_energy(label, atoms)
            parity["energy"] = _parity(label, predicted)
    forces = _forces(potential, dataset, evaluation, batch)
    if forces is not None:
        parity["forces"] = forces
    return EvaluatedSet(baseline, {symbol: _by_element(one) for symbol, one in evaluation.elements.items()}, parity)


def _zero_forces(errors: Errors) -> dict[str, float]:
    found = {"forces_mae": errors.zero_forces_mae, "forces_rmse": errors.zero_forces_rmse}
    return {name: value for name, value in found.items() if value is not None}


def _mean_energy(label: Array, atoms: Array) -> dict[str, float]:
    """Compute the errors of predicting the same energy per atom, relative to the references, for all structures."""
    errors = label - label.mean()
    return {
        "energy_mae": float(np.abs(errors * atoms).mean()),
        "energy_rmse": float(np.sqrt(np.square(errors * atoms).mean())),
        "energy_mae_per_atom": float(np.abs(errors).mean()),
        "energy_rmse_per_atom": float(np.sqrt(np.square(errors).mean())),
    }


def _reference_energies(potential: Potential, dataset: LabelledDataset) -> Array:
    structures = (dataset[index].structures.to(potential.device) for index in range(len(dataset)))
    return np.array([float(potential.reference_energy(one)) for one in structures])


def _by_element(errors: Errors) -> dict[str, float]:
    found = {"atoms": errors.atoms, "forces_mae": errors.forces_mae, "forces_rmse": errors.forces_rmse}
    found["zero_forces_mae"] = errors.zero_forces_mae
    return {name: float(value) for name, value in found.items() if value is not None}


def _forces(
    potential: Potential, dataset: LabelledDataset, evaluation: Evaluation, batch: BatchOptions
) -> Parity | None:
    """Predict some structures once more, since the forces of all atoms may not fit into memory."""
    if evaluation.errors.forces_mae is None:
        return None
    some = Subset(dataset, _spread(len(dataset), STRUCTURES))
    again = evaluate(potential, some, batch, atoms=evaluation.atoms, keep_atoms=True, allow_overlap=True)
    columns = again.predictions.atoms
    if columns is None or "forces_label" not in columns:
        return None
    known = columns["counted"] & np.isfinite(columns["forces_label"]).all(axis=1)
    label, predicted = (columns[f"forces_{one}"][known].ravel() for one in ("label", "predicted"))
    return _parity(label, predicted) if len(label) else None


def _parity(label: Array, predicted: Array) -> Parity:
    chosen = _spread(len(label), POINTS)
    return Parity(*(tuple(float(f"{value:.6g}") for value in one[chosen]) for one in (label, predicted)))


def _spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """Choose at most `most` of `count` places, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
