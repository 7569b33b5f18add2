"""Comparison of the numbers of two runs of the same variant and seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gemnet_blocks.ablation.results import RunResult
from gemnet_blocks.evaluation.kept import KeptPredictions

Numbers: TypeAlias = Mapping[str, npt.NDArray[np.float64]]
"""Single numbers and lists of numbers by name, such as `metrics.forces_mae`."""

TIMES = ("cost.training_seconds", "cost.inference_seconds", "cost.inference_spread", "curve.seconds")
"""Measured times, which differ whenever a run is done again."""

EXACT_ONLY = ("curve.", "parity.", "predictions.", "cost.steps", "cost.symmetry_error")
"""Beginnings of the names of numbers that have no meaningful tolerance: single points, and errors of rounding."""

MISSING = "nothing"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A number or text that differs from the one that it should be.

    Attributes:
        where: the variant and the seed, or the file of the report.
        what: the metric, or the row and the column.
        recorded: the recorded value.
        found: the value that it should be.
    """

    where: str
    what: str
    recorded: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: recorded {self.recorded}, found {self.found}"


def numbers(run: RunResult, kept: KeptPredictions | None = None) -> Numbers:
    """Collect all numbers of a run by name.

    Args:
        run: the result.
        kept: the predictions that it kept.
    """
    found: dict[str, object] = {}
    for section in ("metrics", "baseline", "cost"):
        found |= {f"{section}.{name}": value for name, value in getattr(run, section).items()}
    for element, errors in run.elements.items():
        found |= {f"elements.{element}.{name}": value for name, value in errors.items()}
    for name in sorted({name for point in run.curve for name in point}):
        found[f"curve.{name}"] = [point.get(name, np.nan) for point in run.curve]
    for kind, parity in run.parity.items():
        found |= {f"parity.{kind}.label": parity.label, f"parity.{kind}.predicted": parity.predicted}
    if kept is not None:
        for columns in (kept.of_structures, kept.of_atoms):
            found |= {f"predictions.{name}": values for name, values in columns.items()}
    return {name: np.asarray(value, dtype=np.float64).ravel() for name, value in found.items()}


def comparable(found: Numbers, tolerance: float) -> Numbers:
    """Return the numbers that are equal, or equal within a tolerance, when a run is done again."""
    excluded = (*TIMES, *EXACT_ONLY) if tolerance else TIMES
    return {name: values for name, values in found.items() if not name.startswith(excluded)}


def mismatches(where: str, recorded: Numbers, found: Numbers, tolerance: float = 0.0) -> Iterator[Mismatch]:
    """Compare numbers and yield one mismatch for each name.

    Args:
        where: the variant and the seed.
        recorded: the recorded numbers.
        found: the numbers that they should be.
        tolerance: the largest difference relative to the recorded number; 0 for bitwise equality.
    """
    for name in sorted(recorded.keys() | found.keys()):
        old, new = recorded.get(name), found.get(name)
        if old is None or new is None or old.shape != new.shape:
            yield Mismatch(where, name, _shown(old), _shown(new))
            continue
        equal = (old == new) | (np.isnan(old) & np.isnan(new)) | (np.abs(old - new) <= tolerance * np.abs(old))
        different = np.flatnonzero(~equal)
        if len(different):
            first = int(different[0])
            place = f"[{first}]" if len(old) > 1 else ""
            more = f" and {len(different) - 1} further values" if len(different) > 1 else ""
            yield Mismatch(where, f"{name}{place}{more}", repr(float(old[first])), repr(float(new[first])))


def _shown(values: npt.NDArray[np.float64] | None) -> str:
    if values is None:
        return MISSING
    return repr(float(values[0])) if len(values) == 1 else f"{len(values)} numbers"
