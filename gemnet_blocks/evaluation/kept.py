"""Predictions and labels of all atoms with their structures, kept in a file for later comparisons."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from gemnet_blocks.data.batching import BatchOptions
from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.errors import StateError
from gemnet_blocks.evaluation.evaluate import DEFAULT_BATCH, EvaluatedBatch, evaluate
from gemnet_blocks.evaluation.predictions import Array, arrays, joined_columns
from gemnet_blocks.structures import NEUTRAL, AtomChoice, PropertyOwner, Structures
from gemnet_blocks.util.charges import QUANTITIES
from gemnet_blocks.util.files import replacing

if TYPE_CHECKING:
    from gemnet_blocks.potential.ensemble import Ensemble
    from gemnet_blocks.potential.potential import Potential

FORCES, ENERGY = "forces", "energy"

_STRUCTURE, _ATOM = "structure", "atom"
_NEEDED: Mapping[str, Collection[str]] = {
    _STRUCTURE: ("index", "atoms", "cells", "periodic", *QUANTITIES),
    _ATOM: ("positions", "numbers", "tags", "fixed", "counted"),
}
"""The columns that describe the structures; all others are labels and predictions."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptPredictions:
    """Structures with the labels and predictions of their energies, forces and further properties.

    Attributes:
        of_structures: columns with a row per structure: `index` in the dataset, number of `atoms`, `cells`, `periodic`,
            `charge`, `spin`, and for each quantity, such as `energy` in eV, `energy_label` and `energy_predicted`.
            Missing labels are NaN.
        of_atoms: columns with a row per atom: `positions`, `numbers`, `tags`, `fixed`, whether it is `counted` in
            errors, and labels and predictions, such as `forces_label` and `forces_predicted` in eV/Å.
    """

    of_structures: Mapping[str, Array]
    of_atoms: Mapping[str, Array]

    def __post_init__(self) -> None:
        for owner, columns in ((_STRUCTURE, self.of_structures), (_ATOM, self.of_atoms)):
            if missing := [name for name in _NEEDED[owner] if name not in columns]:
                raise ValueError(f"kept predictions: expected the column {missing[0]} of each {owner}, found none")
            if len({len(values) for values in columns.values()}) != 1:
                raise ValueError(f"kept predictions: expected as many rows in each column of each {owner}")
        if int(self.of_structures["atoms"].sum()) != len(self.of_atoms["numbers"]):
            raise ValueError("kept predictions: expected as many atoms as the structures have")

    def __len__(self) -> int:
        return len(self.of_structures["index"])

    @property
    def structure(self) -> Array:
        """The place of each atom's structure among the kept ones."""
        return np.repeat(np.arange(len(self)), self.of_structures["atoms"])

    @property
    def structures(self) -> Structures:
        """The structures as one batch."""
        own, atoms = self.of_structures, self.of_atoms
        return Structures(
            positions=torch.as_tensor(atoms["positions"], dtype=torch.float64),
            numbers=torch.as_tensor(atoms["numbers"].astype(np.int64)),
            structure=torch.as_tensor(self.structure),
            cells=torch.as_tensor(own["cells"], dtype=torch.float64),
            periodic=torch.as_tensor(own["periodic"]),
            tags=torch.as_tensor(atoms["tags"].astype(np.int64)),
            fixed=torch.as_tensor(atoms["fixed"]),
            **{name: torch.as_tensor(own[name].astype(np.int64)) for name in QUANTITIES},
        )

    def owner(self, quantity: str) -> PropertyOwner | None:
        """Return whether structures or atoms have labels and predictions of a quantity; None if neither has."""
        owners: Mapping[PropertyOwner, Mapping[str, Array]] = {"structure": self.of_structures, "atom": self.of_atoms}
        needed = {f"{quantity}_label", f"{quantity}_predicted"}
        return next((owner for owner, columns in owners.items() if needed <= columns.keys()), None)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The quantities with labels and predictions, forces first."""
        names = [name.removesuffix("_label") for name in (*self.of_atoms, *self.of_structures)]
        return tuple(name for name in dict.fromkeys(names) if self.owner(name) is not None)

    def errors(self, quantity: str) -> Array:
        """Compute the error of each structure or each atom: the mean |Δ| of all components.

        Energies are per atom. Atoms that are not counted and missing labels have the error NaN.

        Raises:
            ValueError: the quantity has no labels or no predictions.
        """
        owner = self.owner(quantity)
        if owner is None:
            raise ValueError(
                f"expected a quantity with labels and predictions, {' or '.join(self.quantities)}, got {quantity!r}"
            )
        columns = self.of_atoms if owner == "atom" else self.of_structures
        label, predicted = (columns[f"{quantity}_{one}"].astype(np.float64) for one in ("label", "predicted"))
        errors = np.abs(predicted - label).reshape(len(label), -1).mean(axis=1)
        if owner == "atom":
            return np.where(self.of_atoms["counted"], errors, np.nan)
        return errors / np.maximum(self.of_structures["atoms"], 1) if quantity == ENERGY else errors

    def save(self, path: str | PathLike[str]) -> None:
        """Write a compressed file of numpy arrays (`.npz`)."""
        named: dict[str, Any] = {f"{_STRUCTURE}.{name}": values for name, values in self.of_structures.items()}
        named |= {f"{_ATOM}.{name}": values for name, values in self.of_atoms.items()}
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **named)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> KeptPredictions:
        """Read what `save` wrote; files cannot run code.

        Raises:
            StateError: the file does not contain predictions, or is damaged.
            OSError: the file cannot be read.
        """
        found: dict[str, dict[str, Array]] = {_STRUCTURE: {}, _ATOM: {}}
        try:
            with np.load(Path(path), allow_pickle=False) as file:
                for name in file.files:
                    owner, _, column = name.partition(".")
                    found[owner][column] = file[name]
            return cls(found[_STRUCTURE], found[_ATOM])
        except (ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise StateError(f"{path}: is not a file of kept predictions, or is damaged: {error}") from error


@final
class AtomCollector:
    """Collects the predictions of all atoms batch by batch; see the argument `observe` of `evaluate`.

    Positions and forces are kept in float32, energies in float64.

    Args:
        chosen: the structures of the dataset that are kept; None: all.
    """

    def __init__(self, chosen: Collection[int] | None = None) -> None:
        self._chosen = None if chosen is None else frozenset(chosen)
        self._structures: list[dict[str, Array]] = []
        self._atoms: list[dict[str, Array]] = []

    def __call__(self, batch: EvaluatedBatch) -> None:
        """Add a batch."""
        index = np.asarray(batch.indices)
        kept = np.array([self._chosen is None or one in self._chosen for one in batch.indices], dtype=bool)
        if not kept.any():
            return
        structure = batch.residuals.structure.cpu().numpy()
        of_structures = {**_described(batch), **_compared(batch, atoms=False), "index": index}
        of_atoms = {**_described_atoms(batch), **_compared(batch, atoms=True), "index": index[structure]}
        self._structures.append({name: values[kept] for name, values in arrays(of_structures).items()})
        self._atoms.append({name: values[kept[structure]] for name, values in arrays(of_atoms).items()})

    def kept(self) -> KeptPredictions | None:
        """Return everything that was collected, in the order of the dataset; None if nothing was."""
        if not self._structures:
            return None
        atoms = joined_columns(self._atoms)
        del atoms["index"]
        return KeptPredictions(joined_columns(self._structures), atoms)


def _described(batch: EvaluatedBatch) -> dict[str, Any]:
    structures = batch.labelled.structures
    columns: dict[str, Any] = {"atoms": structures.atom_counts, "cells": structures.cells.float()}
    columns["periodic"] = structures.periodic
    for name in QUANTITIES:
        state = getattr(structures, name)
        columns[name] = np.full(len(structures), NEUTRAL[name]) if state is None else state
    return columns


def _described_atoms(batch: EvaluatedBatch) -> dict[str, Any]:
    structures = batch.labelled.structures
    columns = {"positions": structures.positions.float(), "numbers": structures.numbers, "tags": structures.tags}
    return {**columns, "fixed": structures.fixed, "counted": batch.residuals.counted}


def _compared(batch: EvaluatedBatch, atoms: bool) -> dict[str, Any]:
    """Return the labels and predictions of structures or of atoms."""
    labelled, prediction = batch.labelled, batch.prediction
    found = {FORCES: (labelled.forces, prediction.forces)} if atoms else {ENERGY: (labelled.energy, prediction.energy)}
    for name, kind in batch.kinds.items():
        if (kind.per == "atom") == atoms and name in labelled.properties:
            found[name] = labelled.properties[name], prediction.properties[name]
    columns = {}
    for name, (label, predicted) in found.items():
        if label is not None and predicted is not None:
            single = name != ENERGY
            columns[f"{name}_label"] = label.float() if single else label
            columns[f"{name}_predicted"] = predicted.detach().float() if single else predicted.detach()
    return columns


def keep_predictions(
    potential: Potential | Ensemble,
    dataset: LabelledDataset,
    batch: BatchOptions = DEFAULT_BATCH,
    atoms: AtomChoice = "all",
) -> KeptPredictions:
    """Predict a dataset and keep the predictions of all atoms with the structures.

    Args:
        potential: the potential.
        dataset: structures with labels, of which there is at least one; training structures are allowed.
        batch: the size of a batch.
        atoms: the atoms whose forces count: `all`, or `free` to omit fixed atoms.

    Raises:
        StructureError: a structure cannot be computed.
        ValueError: the dataset is empty.
    """
    collector = AtomCollector()
    evaluate(potential, dataset, batch, atoms=atoms, allow_overlap=True, observe=collector)
    kept = collector.kept()
    if kept is None:
        raise ValueError("expected a dataset of at least one structure, got an empty one")
    return kept
