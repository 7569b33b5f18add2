"""The table of costs, and how much costs vary by chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from gemnet_blocks.ablation.report.formatting import NONE, number, scaled
from gemnet_blocks.ablation.report.page import Table
from gemnet_blocks.ablation.report.tables import done_runs, numbered, ordered
from gemnet_blocks.ablation.results import RunResult, StudyResults


def median_cost(runs: Iterable[RunResult], name: str) -> float | None:
    """Compute the median of a cost over runs; None if no run has it."""
    values = finite(runs, name)
    return median(values) if values else None


def finite(runs: Iterable[RunResult], name: str) -> list[float]:
    """Return the finite values of a cost over runs."""
    values = (run.cost.get(name) for run in runs)
    return [float(value) for value in values if value is not None and math.isfinite(value)]


@dataclass(frozen=True, slots=True)
class Cost:
    """A kind of cost and its display form.

    Attributes:
        name: name in results.
        label: name in words.
        unit: unit in results: `s`, `B` or `FLOP`; empty for a count, which is shown in full; None: shown with an
            exponent.
        spread: `range` for costs that are measured, or the name of another cost, the spread of repeated measurements;
            empty for costs that are counted.
    """

    name: str
    label: str
    unit: str | None = ""
    spread: str = ""

    def scale(self, values: Sequence[float]) -> tuple[float, str]:
        """Choose a common unit for values; return its size and the heading with the unit."""
        if self.unit is None:
            return 1.0, self.label
        size, unit = scaled(max(map(abs, values), default=0.0), self.unit.replace("FLOP", ""))
        return size, f"{self.label} ({unit})" if unit else self.label

    def show(self, value: float) -> str:
        """Format a value that is already divided by the size of the unit."""
        if self.unit is None:
            return f"{value:.1e}"
        return f"{value:,.0f}" if value >= 100 else number(value, 3)


COSTS = (
    Cost("parameters", "parameters"),
    Cost("matmul_flops_inference", "matmul FLOPs, inference", "FLOP"),
    Cost("matmul_flops_training", "matmul FLOPs, training step", "FLOP"),
    Cost("inference_seconds", "inference time", "s", spread="inference_spread"),
    Cost("training_seconds", "training time", "s", spread="range"),
    Cost("steps", "training steps", spread="range"),
    Cost("peak_memory_bytes", "peak memory", "B", spread="range"),
    Cost("edges", "edges"),
    Cost("triplets", "triplets"),
    Cost("quadruplets", "quadruplets"),
    Cost("symmetry_error", "symmetry error", None, spread="range"),
)
"""All costs in the order of the table."""


def cost(name: str) -> Cost:
    """Return the kind of cost with a name."""
    return next(one for one in COSTS if one.name == name)


def noise(kind: Cost, runs: Iterable[RunResult]) -> float:
    """Return how much a cost of a variant varies by chance.

    This is half the range over the seeds or the spread of repeated measurements, whichever is larger; 0 for costs that
    are counted and not measured.
    """
    runs = list(runs)
    values = finite(runs, kind.name)
    width = (max(values) - min(values)) / 2 if values else 0.0
    repeated = median_cost(runs, kind.spread) if kind.spread not in ("", "range") else None
    return max(width, repeated or 0.0)


def costs_table(results: StudyResults) -> Table:
    """Tabulate the costs of every variant: medians over the seeds and ratios to the base."""
    runs = [done_runs(results, name) for name in ordered(results)]
    columns = [_column(kind, runs) for kind in COSTS if any(finite(one, kind.name) for one in runs)]
    rows = tuple(
        (*label, *(column[place] for column in columns)) for place, label in enumerate(numbered(results), start=1)
    )
    return Table(
        "Costs",
        ("#", "variant", *(column[0] for column in columns)),
        rows,
        words=2,
        note="Medians over the seeds. [a … b]: smallest and largest value over the seeds; ±: half the interquartile "
        "range of the repetitions; ×: ratio to the base; ≈: equal to the base within the spread. FLOPs: matrix "
        "products only. Peak memory: of a training step, estimated. Edges, triplets and quadruplets: per structure.",
    )


def _column(kind: Cost, runs: list[list[RunResult]]) -> list[str]:
    """Return the heading and the cells of one cost for all variants."""
    values = [value for one in runs for value in finite(one, kind.name)]
    size, heading = kind.scale(values) if kind.unit else (1.0, kind.label)
    base = median_cost(runs[0], kind.name)
    cells = [_cell(kind, runs[0], size)]
    for one in runs[1:]:
        value = median_cost(one, kind.name)
        times = ""
        if value is not None and base and kind.unit is not None:
            within = value != base and abs(value - base) <= max(noise(kind, one), noise(kind, runs[0]))
            times = f" ({'≈ ' if within else ''}{number(value / base, 2)}×)"
        cells.append(_cell(kind, one, size) + times)
    return [heading, *cells]


def _cell(kind: Cost, runs: list[RunResult], size: float) -> str:
    value = median_cost(runs, kind.name)
    if value is None:
        return NONE
    text = kind.show(value / size)
    width = median_cost(runs, kind.spread) if kind.spread not in ("", "range") else None
    if width is not None:
        text += f" ± {number(width / size, 2)}"
    if kind.spread:
        values = finite(runs, kind.name)
        low, high = kind.show(min(values) / size), kind.show(max(values) / size)
        text += f" [{low} … {high}]" if low != high else ""
    return text
