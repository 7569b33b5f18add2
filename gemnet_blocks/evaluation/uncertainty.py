"""Errors of ensembles beside the uncertainty that they predict: rank correlation and coverage."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gemnet_blocks.evaluation.metrics import Residuals
from gemnet_blocks.potential.calibration import Width
from gemnet_blocks.potential.ensemble import (
    ENERGY_INTERVAL,
    ENERGY_STD,
    FORCES_INTERVAL,
    FORCES_STD,
)
from gemnet_blocks.structures import Prediction

Numbers: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Deviations:
    """Errors of one quantity and the standard deviations that an ensemble predicted for them.

    Attributes:
        errors: |ΔE| per atom in eV of each structure, or ‖ΔF‖ in eV/Å of each counted atom.
        deviations: the standard deviation per atom in eV, or of the force components in eV/Å.
        structure: the index of the structure in the dataset.
        widths: half-widths of the intervals, in the unit of the errors; None if the ensemble is not calibrated.
    """

    errors: Numbers
    deviations: Numbers
    structure: npt.NDArray[np.int64]
    widths: Numbers | None

    def width(self, level: float) -> Width:
        """Fit the width of intervals of some level; see `Width.fitted` for the errors."""
        return Width.fitted(self.errors, self.deviations, self.structure, level)


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """A summary of how well the predicted uncertainty describes the errors of one quantity.

    Attributes:
        values: the number of errors.
        mean_std: the mean standard deviation, in eV per atom or eV/Å.
        rmse: the root mean square error (of components, for forces) in the same unit. An ensemble is overconfident
            if it is larger than the standard deviation.
        rank_correlation: Spearman's correlation of errors and standard deviations; None if it is undefined.
        coverage: the fraction of labels within their intervals, each structure with the same weight; None if the
            ensemble is not calibrated.
    """

    values: int
    mean_std: float
    rmse: float
    rank_correlation: float | None
    coverage: float | None

    @classmethod
    def of(cls, found: Deviations, components: int) -> Uncertainty:
        """Summarize errors that are lengths of vectors with this number of components."""
        from scipy.stats import spearmanr

        varies = len(found.errors) > 1 and np.ptp(found.errors) > 0 and np.ptp(found.deviations) > 0
        coverage = None
        if found.widths is not None:
            owner = np.unique(found.structure, return_inverse=True)[1]
            inside = np.bincount(owner, found.errors <= found.widths) / np.bincount(owner)
            coverage = float(inside.mean())
        return cls(
            len(found.errors),
            float(found.deviations.mean()),
            math.sqrt(float(np.square(found.errors).mean()) / components),
            float(spearmanr(found.errors, found.deviations).statistic) if varies else None,
            coverage,
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain data."""
        return asdict(self)


@final
class DeviationCollector:
    """Collector of errors and standard deviations, batch by batch."""

    def __init__(self) -> None:
        self._energy: list[list[Tensor]] = []
        self._forces: list[list[Tensor]] = []

    def add(self, index: Tensor, prediction: Prediction, batch: Residuals) -> None:
        """Add a batch of the structures `index` of a dataset. Missing labels are left out."""
        properties = prediction.properties
        if batch.energy is not None and ENERGY_STD in properties:
            columns = [batch.energy.abs(), properties[ENERGY_STD], properties.get(ENERGY_INTERVAL)]
            per_atom = [value / batch.atom_counts for value in columns if value is not None]
            self._energy.append(_known([index, *per_atom], batch.energy))
        if batch.forces is not None and FORCES_STD in properties:
            lengths = batch.forces.norm(dim=-1)
            columns = [lengths, properties[FORCES_STD], properties.get(FORCES_INTERVAL)]
            rows = [index[batch.structure], *(value for value in columns if value is not None)]
            counted = torch.where(batch.counted, lengths, torch.nan)
            self._forces.append(_known(rows, counted))

    def joined(self) -> dict[str, Deviations]:
        """Return what was collected for `energy` and `forces`, without quantities that have no labels."""
        found = {"energy": self._energy, "forces": self._forces}
        return {name: joined for name, batches in found.items() if (joined := _joined(batches)) is not None}


def _known(columns: list[Tensor], errors: Tensor) -> list[Tensor]:
    chosen = errors.isfinite()
    return [value[chosen].double().cpu() for value in columns]


def _joined(batches: list[list[Tensor]]) -> Deviations | None:
    if not batches:
        return None
    structure, errors, deviations, *widths = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    if not len(errors):
        return None
    return Deviations(errors, deviations, structure.astype(np.int64), widths[0] if widths else None)
