"""What every variant of a study costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gemnet_blocks.ablation.report.formatting import NONE, number, scaled
from gemnet_blocks.ablation.report.page import Table
from gemnet_blocks.ablation.report.tables import done_runs, finite, middle, numbered, ordered
from gemnet_blocks.ablation.results import RunResult, StudyResults


@dataclass(frozen=True, slots=True)
class Cost:
    """One kind of cost.

    Attributes:
        name: in results.
        label: in words.
        unit: of results: `s`, `B`, `FLOP`, empty for a count, which a table shows in full; None: shown with an
            exponent.
        spread: `range`: least and greatest over the seeds; else the name of another cost that measures it, or empty.
    """

    name: str
    label: str
    unit: str | None = ""
    spread: str = ""

    def scale(self, values: Sequence[float]) -> tuple[float, str]:
        """The unit in which all these values are shown, by which they are divided, and the heading with it."""
        if self.unit is None:
            return 1.0, self.label
        size, unit = scaled(max(map(abs, values), default=0.0), self.unit.replace("FLOP", ""))
        return size, f"{self.label} ({unit})" if unit else self.label

    def show(self, value: float) -> str:
        """A value, already divided by the unit."""
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
"""In the order in which they are shown."""


def cost(name: str) -> Cost:
    """The cost of a name."""
    return next(one for one in COSTS if one.name == name)


def costs_table(results: StudyResults) -> Table:
    """Medians over the seeds of everything that a variant costs, and multiples of the base's."""
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
        note="Medians over the seeds. [a … b]: least and greatest over the seeds; ±: half the distance of the "
        "quartiles of the repetitions; ×: multiples of the base. FLOP: of products of matrices. Peak memory: of a "
        "training step, estimated. Edges, triplets and quadruplets: per structure.",
    )


def _column(kind: Cost, runs: list[list[RunResult]]) -> list[str]:
    """The heading, and what every variant costs."""
    values = [value for one in runs for value in finite(one, kind.name)]
    size, heading = kind.scale(values) if kind.unit else (1.0, kind.label)
    base = middle(runs[0], kind.name)
    cells = [_cell(kind, runs[0], size)]
    for one in runs[1:]:
        value = middle(one, kind.name)
        times = f" ({number(value / base, 2)}×)" if value is not None and base and kind.unit is not None else ""
        cells.append(_cell(kind, one, size) + times)
    return [heading, *cells]


def _cell(kind: Cost, runs: list[RunResult], size: float) -> str:
    value = middle(runs, kind.name)
    if value is None:
        return NONE
    text = kind.show(value / size)
    if kind.spread == "range":
        values = finite(runs, kind.name)
        low, high = kind.show(min(values) / size), kind.show(max(values) / size)
        return f"{text} [{low} … {high}]" if low != high else text
    width = middle(runs, kind.spread) if kind.spread else None
    return text if width is None else f"{text} ± {number(width / size, 2)}"
