"""Error metrics of energies, forces, stresses and properties, summed batch by batch, also by group and by element."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.structures import AtomChoice, Prediction, PropertyKind


@dataclass(frozen=True, slots=True, eq=False)
class Residuals:
    """Predictions minus labels of a batch, in float64; None without a label or prediction.

    Attributes:
        structure: the structure of each atom.
        numbers: atomic numbers.
        atom_counts: the number of atoms in each structure.
        counted: the atoms whose forces count.
        free: the atoms that are not fixed.
        energy: ΔE in eV.
        forces: ΔF in eV/Å.
        labels: labelled forces in eV/Å.
        stress: Δσ in eV/Å³.
        properties: Δp of further properties by name, a row per structure or per atom, in the unit of the labels.
    """

    structure: Int[Tensor, " atoms"]
    numbers: Int[Tensor, " atoms"]
    atom_counts: Int[Tensor, " structures"]
    counted: Bool[Tensor, " atoms"]
    free: Bool[Tensor, " atoms"]
    energy: Float[Tensor, " structures"] | None
    forces: Float[Tensor, "atoms 3"] | None
    labels: Float[Tensor, "atoms 3"] | None
    stress: Float[Tensor, "structures 3 3"] | None
    properties: Mapping[str, Float[Tensor, "rows *shape"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.atom_counts.shape[0]

    def largest_force_error(self, atoms: Bool[Tensor, " atoms"] | None = None) -> Float[Tensor, " structures"] | None:
        """The largest component of |ΔF| in each structure, of its counted or the given atoms; 0 without atoms."""
        if self.forces is None:
            return None
        largest = torch.where(self.counted if atoms is None else atoms, self.forces.abs().amax(dim=-1), 0.0)
        return largest.new_zeros(len(self)).scatter_reduce_(0, self.structure, largest, "amax")

    def mean_force_error(self) -> Float[Tensor, " structures"] | None:
        """The mean |ΔF| per component of the counted atoms in each structure; 0 without counted atoms."""
        if self.forces is None:
            return None
        errors = torch.where(self.counted, self.forces.abs().mean(dim=-1), 0.0)
        sums = errors.new_zeros(len(self)).index_add_(0, self.structure, errors)
        atoms = errors.new_zeros(len(self)).index_add_(0, self.structure, self.counted.to(errors.dtype))
        return sums / atoms.clamp(min=1)


def residuals(prediction: Prediction, labelled: LabelledStructures, atoms: AtomChoice = "all") -> Residuals:
    """Compare a prediction with its labels.

    Args:
        prediction: the prediction.
        labelled: the structures and their labels.
        atoms: the atoms whose forces count: `all`, or `free` to omit fixed atoms.
    """
    structures = labelled.structures
    free = ~structures.fixed
    return Residuals(
        structure=structures.structure,
        numbers=structures.numbers,
        atom_counts=structures.atom_counts,
        counted=free if atoms == "free" else torch.ones_like(free),
        free=free,
        energy=_difference(prediction.energy, labelled.energy),
        forces=_difference(prediction.forces, labelled.forces),
        labels=None if labelled.forces is None else labelled.forces.double(),
        stress=_difference(prediction.stress, labelled.stress),
        properties={
            name: predicted.detach().double() - labelled.properties[name].double()
            for name, predicted in prediction.properties.items()
            if name in labelled.properties
        },
    )


def _difference(predicted: Tensor | None, label: Tensor | None) -> Tensor | None:
    if predicted is None or label is None:
        return None
    return predicted.detach().double() - label.double()


ENERGY_THRESHOLD = 0.02
"""Threshold of |ΔE| in eV for the metric EFwT (OC20: Chanussot et al., arXiv 2010.09990)."""

FORCE_THRESHOLD = 0.03
"""Threshold of every component of ΔF on free atoms in eV/Å for the metric EFwT (OC20)."""

_STRUCTURE_COLUMNS = (
    "structures",
    "energies",
    "energy_absolute",
    "energy_square",
    "energy_absolute_per_atom",
    "energy_square_per_atom",
    "judged",
    "within_threshold",
    "stresses",
    "stress_absolute",
    "stress_square",
)
_ATOM_COLUMNS = (
    "atoms",
    "forces",
    "absolute",
    "square",
    "length",
    "magnitude",
    "cosines",
    "cosine",
    "label_absolute",
    "label_square",
)


_PROPERTY_COLUMNS = ("components", "absolute", "square")


@dataclass(frozen=True, slots=True)
class Errors:
    """Mean errors; None without labels or predictions.

    Attributes:
        structures: the number of structures.
        atoms: the number of counted atoms.
        energy_mae: mean |ΔE| in eV.
        energy_rmse: √ mean ΔE² in eV.
        energy_mae_per_atom: mean |ΔE|/atoms in eV, with equal weights of all structures.
        energy_rmse_per_atom: √ mean (ΔE/atoms)² in eV.
        forces_mae: mean |ΔF| of components in eV/Å.
        forces_rmse: √ mean ΔF² of components in eV/Å.
        forces_l2_mae: mean ‖ΔF‖ of atoms in eV/Å.
        forces_magnitude_mae: mean |‖F‖ - ‖F_label‖| in eV/Å.
        forces_cosine: mean cosine of the angle between predicted and labelled forces, over atoms with a nonzero label;
            a predicted zero has cosine 0.
        zero_forces_mae: the `forces_mae` of a model that predicts zero.
        zero_forces_rmse: the `forces_rmse` of a model that predicts zero.
        within_threshold: fraction of structures with |ΔE| < 0.02 eV and every |ΔF| component on free atoms < 0.03 eV/Å
            (EFwT of OC20).
        stress_mae: mean |Δσ| of the nine components in eV/Å³.
        stress_rmse: √ mean Δσ² in eV/Å³.
        properties: the errors of further properties by their names, such as `dipole_mae`, mean |Δp| of components, and
            `dipole_rmse`, √ mean Δp² of components, in the unit of the labels.
    """

    structures: int
    atoms: int
    energy_mae: float | None = None
    energy_rmse: float | None = None
    energy_mae_per_atom: float | None = None
    energy_rmse_per_atom: float | None = None
    forces_mae: float | None = None
    forces_rmse: float | None = None
    forces_l2_mae: float | None = None
    forces_magnitude_mae: float | None = None
    forces_cosine: float | None = None
    zero_forces_mae: float | None = None
    zero_forces_rmse: float | None = None
    within_threshold: float | None = None
    stress_mae: float | None = None
    stress_rmse: float | None = None
    properties: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the errors as JSON can hold them; those of properties follow the others."""
        found = asdict(self)
        return found | dict(found.pop("properties"))


@final
class ErrorSums:
    """Sums of errors in float64, in rows: one for all structures, one per group, or one per element.

    Sums stay on the device of the batches, without synchronization, until `errors` is called. `merge`, or an all_reduce
    of `table`, joins the sums of several processes.

    Args:
        rows: the number of rows.
        device: the device of the batches.
        properties: the kinds of further properties by name.
    """

    def __init__(
        self,
        rows: int = 1,
        device: torch.device | str | None = None,
        properties: Mapping[str, PropertyKind] | None = None,
    ) -> None:
        self.properties = dict(properties or {})
        columns = len(_STRUCTURE_COLUMNS) + len(_ATOM_COLUMNS) + len(_PROPERTY_COLUMNS) * len(self.properties)
        self.table = torch.zeros(rows, columns, dtype=torch.float64, device=device)

    def add(self, batch: Residuals, rows: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            batch: the residuals.
            rows: the row of each structure (S,); None: the first row.
        """
        if rows is None:
            rows = torch.zeros_like(batch.atom_counts)
        split = len(_STRUCTURE_COLUMNS)
        self.table[:, :split].index_add_(0, rows, _structure_terms(batch))
        of_atoms = rows[batch.structure]
        self.table[:, split : split + len(_ATOM_COLUMNS)].index_add_(0, of_atoms, _atom_terms(batch))
        for name, kind in self.properties.items():
            if name in batch.properties:
                owners = of_atoms if kind.per == "atom" else rows
                self._of_property(name).index_add_(0, owners, _property_terms(batch.properties[name]))

    def _of_property(self, name: str) -> Tensor:
        """The columns of a property."""
        start = len(_STRUCTURE_COLUMNS) + len(_ATOM_COLUMNS)
        start += len(_PROPERTY_COLUMNS) * list(self.properties).index(name)
        return self.table[:, start : start + len(_PROPERTY_COLUMNS)]

    def add_atoms(self, batch: Residuals, rows: Tensor) -> None:
        """Add only the forces of a batch.

        Args:
            batch: the residuals.
            rows: the row of each atom (N,).
        """
        split = len(_STRUCTURE_COLUMNS)
        self.table[:, split : split + len(_ATOM_COLUMNS)].index_add_(0, rows, _atom_terms(batch))

    def merge(self, other: ErrorSums) -> None:
        """Add the sums over another part of the data."""
        self.table += other.table.to(self.table.device)

    def errors(self, row: int = 0) -> Errors:
        """The mean errors of a row."""
        names = _STRUCTURE_COLUMNS + _ATOM_COLUMNS
        sums = dict(zip(names, self.table[row, : len(names)].tolist(), strict=True))
        properties: dict[str, float] = {}
        for name in self.properties:
            count, absolute, square = self._of_property(name)[row].tolist()
            if count:
                properties |= {f"{name}_mae": absolute / count, f"{name}_rmse": math.sqrt(square / count)}

        def mean(name: str, count: str, each: int = 1) -> float | None:
            return sums[name] / (each * sums[count]) if sums[count] else None

        def root(name: str, count: str, each: int = 1) -> float | None:
            value = mean(name, count, each)
            return None if value is None else math.sqrt(value)

        return Errors(
            structures=round(sums["structures"]),
            atoms=round(sums["atoms"]),
            energy_mae=mean("energy_absolute", "energies"),
            energy_rmse=root("energy_square", "energies"),
            energy_mae_per_atom=mean("energy_absolute_per_atom", "energies"),
            energy_rmse_per_atom=root("energy_square_per_atom", "energies"),
            forces_mae=mean("absolute", "forces", 3),
            forces_rmse=root("square", "forces", 3),
            forces_l2_mae=mean("length", "forces"),
            forces_magnitude_mae=mean("magnitude", "forces"),
            forces_cosine=mean("cosine", "cosines"),
            zero_forces_mae=mean("label_absolute", "forces", 3),
            zero_forces_rmse=root("label_square", "forces", 3),
            within_threshold=mean("within_threshold", "judged"),
            stress_mae=mean("stress_absolute", "stresses", 9),
            stress_rmse=root("stress_square", "stresses", 9),
            properties=properties,
        )


def _property_terms(errors: Float[Tensor, "rows *shape"]) -> Tensor:
    """The summands of each row of a property: the number of components, their absolute values and their squares."""
    errors = errors.reshape(len(errors), math.prod(errors.shape[1:]))
    return torch.stack([torch.ones_like(errors), errors.abs(), errors.square()], dim=-1).sum(dim=1)


def _structure_terms(batch: Residuals) -> Tensor:
    """The summands of each structure (S, columns)."""
    one = torch.ones(len(batch), dtype=torch.float64, device=batch.atom_counts.device)
    zero = torch.zeros_like(one)
    terms = {"structures": one}
    if batch.energy is not None:
        absolute, per_atom = batch.energy.abs(), batch.energy.abs() / batch.atom_counts.clamp(min=1)
        terms |= {
            "energies": one,
            "energy_absolute": absolute,
            "energy_square": absolute.square(),
            "energy_absolute_per_atom": per_atom,
            "energy_square_per_atom": per_atom.square(),
        }
        largest = batch.largest_force_error(batch.free)
        if largest is not None:
            right = (absolute < ENERGY_THRESHOLD) & (largest < FORCE_THRESHOLD)
            terms |= {"judged": one, "within_threshold": right.double()}
    if batch.stress is not None:
        terms |= {
            "stresses": one,
            "stress_absolute": batch.stress.abs().sum(dim=(-1, -2)),
            "stress_square": batch.stress.square().sum(dim=(-1, -2)),
        }
    return torch.stack([terms.get(name, zero) for name in _STRUCTURE_COLUMNS], dim=-1)


def _atom_terms(batch: Residuals) -> Tensor:
    """The summands of each atom (N, columns); zero for atoms that do not count."""
    counted = batch.counted.double()
    terms = {"atoms": counted}
    if batch.forces is not None and batch.labels is not None:
        error, label = batch.forces, batch.labels
        predicted = label + error
        lengths = predicted.norm(dim=-1), label.norm(dim=-1)
        directed = (lengths[1] > 0).double()
        cosine = (predicted * label).sum(dim=-1) / (lengths[0] * lengths[1]).clamp(min=1e-300)
        terms |= {
            "forces": torch.ones_like(counted),
            "absolute": error.abs().sum(dim=-1),
            "square": error.square().sum(dim=-1),
            "length": error.norm(dim=-1),
            "magnitude": (lengths[0] - lengths[1]).abs(),
            "cosines": directed,
            "cosine": cosine * directed,
            "label_absolute": label.abs().sum(dim=-1),
            "label_square": label.square().sum(dim=-1),
        }
    zero = torch.zeros_like(counted)
    values = torch.stack([terms.get(name, zero) for name in _ATOM_COLUMNS], dim=-1)
    return torch.where(batch.counted[:, None], values, 0.0)
