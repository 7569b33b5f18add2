"""Tables of predictions and labels, with a row per structure or per atom."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from ase.data import chemical_symbols

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.evaluation.metrics import Residuals
from gemnet_blocks.structures import Prediction, PropertyKind, PropertyOwner, StoredMeaning
from gemnet_blocks.util.files import replacing

Array: TypeAlias = np.ndarray[Any, Any]
Column: TypeAlias = Sequence[Any] | Array

_STRESS_PARTS = (("xx", 0, 0), ("yy", 1, 1), ("zz", 2, 2), ("yz", 1, 2), ("xz", 0, 2), ("xy", 0, 1))
"""Names, rows and columns of the six components of a stress in Voigt's order."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Predictions and labels in the order of the dataset.

    Attributes:
        meaning: the reference of the energies.
        structures: columns with a row per structure: `index` in the dataset, `file`, `frame` in the file, `atoms`,
            `counted_atoms`, `energy_label`, `energy_predicted` (eV), `forces_mae`, `largest_force_error` (eV/Å),
            `stress_label` and `stress_predicted` (3 × 3, eV/Å³), and such columns of further properties of structures.
            Unknown columns are omitted; energies and properties of structures without labels are predicted too.
        groups: the group of each structure; None without groups.
        atoms: columns with a row per atom: `index`, `number`, `counted`, and (N, 3) in eV/Å `forces_label`,
            `forces_predicted`, and such columns of further properties of atoms; None if the values of atoms were not
            kept.
        properties: the kinds of further properties by name.
    """

    meaning: StoredMeaning
    structures: Mapping[str, Array]
    groups: Sequence[str] | None = None
    atoms: Mapping[str, Array] | None = None
    properties: Mapping[str, PropertyKind] = field(default_factory=dict)

    def write_csv(self, path: Path) -> None:
        """Write a line per structure; the names of columns contain the unit, and the meaning of energies."""
        columns = dict(self.structures)
        table: dict[str, Column] = {name: columns.pop(name) for name in ("index", "file", "frame") if name in columns}
        if self.groups is not None:
            table["group"] = self.groups
        further = self._of_properties(columns)
        for name, values in columns.items():
            if name.startswith("stress"):
                table |= {f"{name}_{part}_eV_per_A3": values[:, row, column] for part, row, column in _STRESS_PARTS}
            else:
                table[self._heading(name)] = values
        _write(path, table | further)

    def write_atoms_csv(self, path: Path) -> None:
        """Write a line per atom.

        Raises:
            ValueError: forces of atoms were not kept.
        """
        if self.atoms is None:
            raise ValueError("forces of atoms were not kept: evaluate with keep_atoms=True")
        columns = dict(self.atoms)
        table: dict[str, Column] = {
            "index": columns.pop("index"),
            "element": [chemical_symbols[number] for number in columns.pop("number")],
            "counted": columns.pop("counted").astype(int),
        }
        further = self._of_properties(columns)
        for name, values in columns.items():
            table |= {f"{name}_{axis}_eV_per_A": values[:, column] for column, axis in enumerate("xyz")}
        _write(path, table | further)

    def _of_properties(self, columns: dict[str, Array]) -> dict[str, Column]:
        """Take the columns of further properties out of others; returns a column per component."""
        table: dict[str, Column] = {}
        for name, kind in self.properties.items():
            for column in (f"{name}_label", f"{name}_predicted"):
                if column in columns:
                    values = columns.pop(column).reshape(-1, len(kind.components))
                    table |= {
                        f"{column}_{component}".rstrip("_"): values[:, number]
                        for number, component in enumerate(kind.components)
                    }
        return table

    def _heading(self, name: str) -> str:
        unit = {"energy_label": "eV", "energy_predicted": "eV", "energy_error": "eV"}.get(name)
        if unit:
            return f"{self.meaning}_{name}_{unit}"
        return f"{name}_eV_per_A" if "force" in name else name


class Rows:
    """Collects predictions batch by batch, in any order.

    Args:
        keep_atoms: whether the values of each atom are kept too.
        properties: the kinds of further properties by name.
    """

    def __init__(self, keep_atoms: bool, properties: Mapping[str, PropertyKind] | None = None) -> None:
        self.keep_atoms = keep_atoms
        self.properties = dict(properties or {})
        self._structures: list[dict[str, Array]] = []
        self._atoms: list[dict[str, Array]] = []

    def add(
        self, indices: Sequence[int], labelled: LabelledStructures, prediction: Prediction, batch: Residuals
    ) -> None:
        """Add a batch of the structures `indices` of a dataset."""
        index = np.asarray(indices)
        structure = batch.structure.cpu().numpy()
        counted = batch.counted.cpu().numpy()
        columns: dict[str, Any] = {
            "index": index,
            "frame": labelled.frame,
            "atoms": batch.atom_counts,
            "counted_atoms": np.bincount(structure, weights=counted, minlength=len(index)).astype(int),
            "energy_label": labelled.energy,
            "energy_predicted": prediction.energy,
            "energy_error": batch.energy,
            "forces_mae": batch.mean_force_error(),
            "largest_force_error": batch.largest_force_error(),
        }
        if batch.stress is not None:
            columns |= {"stress_label": labelled.stress, "stress_predicted": prediction.stress}
        columns |= self._properties("structure", labelled, prediction)
        self._structures.append(arrays(columns))
        if self.keep_atoms:
            columns = {
                "index": index[structure],
                "number": batch.numbers,
                "counted": counted,
                "forces_label": labelled.forces,
                "forces_predicted": prediction.forces,
                **self._properties("atom", labelled, prediction),
            }
            self._atoms.append(arrays(columns))

    def _properties(self, per: PropertyOwner, labelled: LabelledStructures, prediction: Prediction) -> dict[str, Any]:
        """The labels and predictions of the properties of structures or of atoms."""
        columns: dict[str, Any] = {}
        for name, kind in self.properties.items():
            if kind.per == per:
                columns[f"{name}_label"] = labelled.properties.get(name)
                columns[f"{name}_predicted"] = prediction.properties.get(name)
        return columns

    def joined(self, meaning: StoredMeaning, groups: Sequence[str] | None, file: Callable[[int], str]) -> Predictions:
        """Join the predictions in the order of the dataset.

        Args:
            meaning: the reference of the energies.
            groups: the group of each structure in the dataset; None without groups.
            file: a function from a structure's index to the name of its file, which may be empty.
        """
        structures = joined_columns(self._structures)
        files = [file(index) for index in structures.get("index", ())]
        if any(files):
            structures["file"] = np.array(files)
        chosen = None if groups is None else [groups[index] for index in structures.get("index", ())]
        atoms = joined_columns(self._atoms) if self.keep_atoms else None
        return Predictions(meaning, structures, chosen, atoms, self.properties)


def arrays(columns: Mapping[str, Any]) -> dict[str, Array]:
    """Convert columns to arrays in main memory, without unknown ones."""
    return {
        name: values if isinstance(values, np.ndarray) else values.detach().cpu().numpy()
        for name, values in columns.items()
        if values is not None
    }


def joined_columns(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Join the columns of all parts, ordered by `index`; a label that a part lacks is NaN, an empty field in files."""
    if not parts:
        return {}
    order = np.argsort(np.concatenate([part["index"] for part in parts]), kind="stable")
    # in the order of the first part with most columns
    names = max(parts, key=len)
    columns = {}
    for name, like in names.items():
        missing = [np.full((len(part["index"]), *like.shape[1:]), np.nan) for part in parts]
        columns[name] = np.concatenate([part.get(name, gap) for part, gap in zip(parts, missing, strict=True)])[order]
    return columns


def _write(path: Path, table: Mapping[str, Column]) -> None:
    # paths may contain characters that UTF-8 cannot encode
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(table)
        for row in zip(*table.values(), strict=True):
            writer.writerow(["" if isinstance(value, float) and value != value else value for value in row])
