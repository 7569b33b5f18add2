"""Conformal calibration: intervals of a stated coverage from standard deviations and held-out errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

Numbers: TypeAlias = npt.NDArray[np.float64]

FLOOR = 0.1
"""The floor of a standard deviation relative to the mean over the calibration set. It keeps intervals open where few
members agree by chance."""


@dataclass(frozen=True, slots=True)
class Width:
    """The half-width of intervals, q·(σ + σ₀).

    Attributes:
        factor: q, dimensionless.
        floor: σ₀ in the unit of the standard deviation σ.
    """

    factor: float
    floor: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value >= 0 for value in (self.factor, self.floor)):
            raise ValueError(f"expected a finite factor and floor of at least 0, got {self.factor} and {self.floor}")

    def of(self, deviation: Tensor) -> Tensor:
        """Compute the half-widths for some standard deviations."""
        return self.factor * (deviation + self.floor)

    @classmethod
    def fitted(cls, errors: Numbers, deviations: Numbers, structure: npt.NDArray[np.int64], level: float) -> Width:
        r"""Choose q by split conformal prediction, so that intervals contain new labels with probability `level`.

        q is the smallest number with

        $$\frac{1}{n + 1} \sum_{s = 1}^{n} \frac{1}{N_s} \left|\left\{ i \in s :
        \frac{|e_i|}{σ_i + σ_0} \le q \right\}\right| \ge \mathrm{level},$$

        over the n structures of the calibration set with N_s values each. With one value per structure, the coverage
        of structures of the same distribution is at least `level`, whatever the model (Lei et al., 2018,
        arXiv 1604.04173). With several, such as the forces on atoms, it holds approximately, for many structures
        (Dunn et al., 2022, arXiv 1809.07441).

        Args:
            errors: |e_i| of predictions that the members were not trained on.
            deviations: σ_i ≥ 0.
            structure: the structure of each value.
            level: the probability, between 0 and 1.

        Raises:
            ValueError: there are too few structures for this level, or a value is not finite.
        """
        if not np.isfinite(errors).all() or not np.isfinite(deviations).all():
            raise ValueError("expected finite errors and standard deviations")
        present, owner = np.unique(structure, return_inverse=True)
        needed = least_structures(level)
        if len(present) < needed:
            raise ValueError(f"a level of {level} needs at least {needed} structures with labels, got {len(present)}")
        # copies of one model do not deviate from each other: all intervals are then equally wide
        floor = FLOOR * float(deviations.mean()) or 1.0
        scores = np.abs(errors) / (deviations + floor)
        weights = 1.0 / np.bincount(owner)[owner] / (len(present) + 1)
        order = np.argsort(scores, kind="stable")
        covered = np.cumsum(weights[order])
        # rounding errors of the sum must not move the quantile
        return cls(float(scores[order][np.searchsorted(covered, level - 1e-12)]), floor)


def least_structures(level: float) -> int:
    """Return the least number of structures from which an interval of this level can be determined.

    Raises:
        ValueError: the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, such as 0.9, got {level}")
    return math.ceil(level / (1 - level) - 1e-9)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The widths of the intervals of an ensemble.

    Attributes:
        level: the probability with which an interval contains the label.
        structures: the number of structures in the calibration set.
        energy: the width of intervals of energies per atom in eV; None: not calibrated.
        forces: the width of intervals of forces in eV/Å; None: not calibrated.
    """

    level: float
    structures: int
    energy: Width | None = None
    forces: Width | None = None

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Restore a calibration from the plain data of `to_dict`.

        Raises:
            ValueError: the data are not a calibration.
        """
        try:
            widths = {name: data[name] and Width(**data[name]) for name in ("energy", "forces")}
            return cls(float(data["level"]), int(data["structures"]), **widths)
        except (KeyError, TypeError) as error:
            raise ValueError(f"is not a calibration: {type(error).__name__}: {error}") from error
