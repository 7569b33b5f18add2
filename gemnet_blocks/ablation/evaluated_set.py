"""Details of the errors of a run: by element, against trivial predictions, and labels with their predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np
import numpy.typing as npt

from gemnet_blocks.ablation.results import Parity
from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.evaluation.evaluate import EvaluatedBatch, Evaluation
from gemnet_blocks.evaluation.kept import AtomCollector, KeptPredictions
from gemnet_blocks.evaluation.metrics import Errors
from gemnet_blocks.potential.potential import Potential

STRUCTURES, POINTS = 40, 200
"""The number of structures whose forces are in parity plots, and the number of points of a plot."""

ATOMS_KEPT = 100_000
"""The number of atoms whose predictions a run keeps: 4 MB. Of larger sets, evenly spread structures are kept."""

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


@final
class SetCollector:
    """Collects, while the evaluated set is predicted, what its details need besides the errors.

    Args:
        potential: the evaluated potential.
        dataset: the evaluated set.
    """

    def __init__(self, potential: Potential, dataset: LabelledDataset) -> None:
        self._potential = potential
        self._references: dict[int, float] = {}
        self._atoms = AtomCollector(_kept_structures(dataset.atom_counts))

    def __call__(self, batch: EvaluatedBatch) -> None:
        """Add a batch."""
        self._atoms(batch)
        references = self._potential.reference_energy(batch.labelled.structures)
        self._references |= zip(batch.indices, references.tolist(), strict=True)

    def kept(self) -> KeptPredictions | None:
        """Return the predictions of the atoms; None for an empty set."""
        return self._atoms.kept()

    def details(self, evaluation: Evaluation) -> EvaluatedSet:
        """Return the details of the evaluation that this collector has observed."""
        baseline, parity = _zero_forces(evaluation.errors), {}
        columns = evaluation.predictions.structures
        if "energy_label" in columns:
            known = np.isfinite(columns["energy_label"]) & (columns["atoms"] > 0)
            atoms = columns["atoms"][known].astype(float)
            references = np.array([self._references[index] for index in columns["index"][known]])
            energies = (columns[f"energy_{one}"][known] for one in ("label", "predicted"))
            label, predicted = ((one - references) / atoms for one in energies)
            if len(label):
                baseline |= _mean_energy(label, atoms)
                parity["energy"] = _parity(label, predicted)
        if (forces := _forces(self.kept())) is not None:
            parity["forces"] = forces
        return EvaluatedSet(baseline, {symbol: _by_element(one) for symbol, one in evaluation.elements.items()}, parity)


def _kept_structures(atom_counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Choose the structures whose atoms are kept, which depend on the set alone."""
    count, atoms = len(atom_counts), int(atom_counts.sum())
    return _spread(count, count if atoms <= ATOMS_KEPT else max(STRUCTURES, count * ATOMS_KEPT // atoms))


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


def _by_element(errors: Errors) -> dict[str, float]:
    found = {"atoms": errors.atoms, "forces_mae": errors.forces_mae, "forces_rmse": errors.forces_rmse}
    found["zero_forces_mae"] = errors.zero_forces_mae
    return {name: float(value) for name, value in found.items() if value is not None}


def _forces(kept: KeptPredictions | None) -> Parity | None:
    """Return labels and predictions of the forces of some structures."""
    if kept is None or kept.owner("forces") is None:
        return None
    columns = kept.of_atoms
    known = np.isin(kept.structure, _spread(len(kept), STRUCTURES)) & np.isfinite(kept.errors("forces"))
    label, predicted = (columns[f"forces_{one}"][known].ravel() for one in ("label", "predicted"))
    return _parity(label, predicted) if len(label) else None


def _parity(label: Array, predicted: Array) -> Parity:
    chosen = _spread(len(label), POINTS)
    return Parity(*(tuple(float(f"{value:.6g}") for value in one[chosen]) for one in (label, predicted)))


def _spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """Choose at most `most` of `count` places, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
