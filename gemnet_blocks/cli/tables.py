"""Tables that commands print: layers, costs, predictions and relaxation steps."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, final

from ase.stress import full_3x3_to_voigt_6_stress
from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gemnet_blocks.calculator.ase import values_of_properties
from gemnet_blocks.calculator.relaxation import RelaxationStep
from gemnet_blocks.cli.console import console
from gemnet_blocks.model.costs import Estimate, PartCost
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.profiler import PartProfile, Profile, timed_prediction
from gemnet_blocks.model.summary import execution, layers
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.ase_io import set_results
from gemnet_blocks.util.charges import QUANTITIES
from gemnet_blocks.util.operations import COUNTED
from gemnet_blocks.util.progress_lines import ProgressLines

if TYPE_CHECKING:
    from ase import Atoms

    from gemnet_blocks.ablation.results import StudyResults
    from gemnet_blocks.potential.ensemble import Ensemble
    from gemnet_blocks.potential.potential import Potential


def print_differences(results: StudyResults) -> None:
    """Print the differences of a study's variants from its base in the primary metric, with confidence intervals."""
    from gemnet_blocks.ablation.report.tables import differences_table

    found = differences_table(results, results.primary_metric)
    shown = [place for place, heading in enumerate(found.headings) if heading not in ("#", "p", "higher with")]
    table = Table(box=SIMPLE_HEAD, title=found.caption, title_justify="left")
    for place in shown:
        table.add_column(found.headings[place], justify="left" if place < found.words else "right")
    for row in found.rows:
        table.add_row(*(Text(row[place]) for place in shown))
    console.print(table)
    console.print(found.note, highlight=False)


def print_summary(model: GemNet) -> None:
    """Print the layers of a model, and the methods by which they are computed."""
    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for column, right in (
        ("part", False),
        ("layer", False),
        ("kind", False),
        ("×", True),
        ("parameters", True),
        ("reads", False),
        ("writes", False),
    ):
        table.add_column(column, justify="right" if right else "left", no_wrap=right)
    part = None
    rows = layers(model)
    for row in rows:
        if part is not None and row.part != part:
            table.add_section()
        shown = row.part if row.part != part else ""
        part = row.part
        parameters = f"{row.parameters:,}" if row.parameters else ""
        table.add_row(shown, row.name, row.kind, str(row.count), parameters, row.reads, row.writes)
    table.add_section()
    table.add_row("total", "", "", "", f"{sum(row.parameters for row in rows):,}", "", "")
    console.print(table)
    plan = Table(box=SIMPLE_HEAD, header_style="bold")
    plan.add_column("computation")
    plan.add_column("")
    for name, choice in execution(model).items():
        plan.add_row(name, choice)
    console.print(plan)


def print_costs(costs: Estimate | Profile) -> None:
    """Print the cost of each part of a model: matrix products, memory and, if measured, seconds and operations."""
    measured = costs if isinstance(costs, Profile) else None
    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("part")
    seconds = ("seconds", "%", "operations", "waits") if measured else ()
    for column in (*seconds, "GFLOP", "MB in use", "MB at the peak"):
        table.add_column(column, justify="right")

    def row(name: str, of: PartCost | PartProfile | Estimate | Profile, held: int) -> None:
        columns = [_number(of.flops / 1e9, 3), _number(of.peak_bytes / 1e6, 1), _number(held / 1e6, 1)]
        if measured is not None and isinstance(of, PartProfile | Profile):
            share = 100 * of.seconds / max(measured.seconds, 1e-9)
            columns = [f"{of.seconds:.4f}", f"{share:.1f}", f"{of.operations:,}", f"{of.waits:,}", *columns]
        table.add_row(name, *columns)

    for part in costs.parts:
        row(part.name, part, part.held_bytes)
    table.add_section()
    row("total", costs, costs.peak_bytes)
    counts = {name: f"{count:,}" for name, count in costs.counts.items()}
    console.print(Columns([_two_columns("in the batch", counts), table], padding=(0, 4)))
    console.print(
        f"task: {costs.task}. GFLOP: matrix products. MB: tensors besides {costs.weight_bytes / 1e6:,.1f} MB of "
        "weights; in use while a part is computed, and held by each part at the peak.",
        highlight=False,
    )
    if measured is not None:
        kernels = "" if measured.kernels is None else f"; {measured.kernels:,} kernels run on the GPU"
        console.print(
            f"operations: those of torch; {COUNTED}. waits: operations after which the host waits for a GPU{kernels}.",
            highlight=False,
        )
    if costs.task == "train":
        console.print(
            f"The state of an Adam optimizer needs another {2 * costs.weight_bytes / 1e6:,.1f} MB.", highlight=False
        )


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The predictions of a model for frames of a file.

    Attributes:
        frames: copies of the frames with energies and forces.
        tables: tables of the results, their duration and their counts.
    """

    frames: list[Atoms]
    tables: tuple[Table | Columns, ...]

    def print(self) -> None:
        """Print the tables."""
        for table in self.tables:
            console.print(table)


def predictions(
    model: GemNet, frames: list[Atoms], predict: GemNet | Potential | Ensemble | None = None
) -> Predictions:
    """Predict frames one after another.

    Args:
        model: the model.
        frames: the structures.
        predict: the potential that contains the model; None: the model itself.

    Raises:
        StructureError: a frame cannot be computed; names it before anything is computed.
    """
    model.backbone.graphs.check(Structures.from_ase(frames, ignore=QUANTITIES))
    results = Table(box=SIMPLE_HEAD, header_style="bold")
    for column in ("structure", "formula", "atoms", "energy", "mean |force|", "max |force|"):
        results.add_column(column, justify="left" if column == "formula" else "right")
    seconds: dict[str, float] = {}
    counts: dict[str, list[int]] = {}
    predicted = []
    for number, frame in enumerate(frames):
        timed = timed_prediction(model, Structures.from_ase(frame, ignore=QUANTITIES), predict)
        for part, spent in timed.seconds.items():
            seconds[part] = seconds.get(part, 0.0) + spent
        for name, count in timed.counts.items():
            counts.setdefault(name, []).append(count)
        energy, forces = float(timed.prediction.energy[0]), timed.prediction.forces
        norms = ["–", "–"]
        if forces is not None and len(frame):
            norm = forces.norm(dim=-1)
            norms = [f"{float(norm.mean()):.4f}", f"{float(norm.max()):.4f}"]
        results.add_row(str(number), frame.get_chemical_formula(), str(len(frame)), f"{energy:.6f}", *norms)
        frame = frame.copy()
        kinds, stress = (predict or model).property_kinds, timed.prediction.stress
        values = {"energy": energy, **values_of_properties(timed.prediction, kinds)}
        values |= {} if forces is None else {"forces": forces.double().cpu().numpy()}
        if stress is not None:
            values["stress"] = full_3x3_to_voigt_6_stress(stress[0].double().cpu().numpy())
        set_results(frame, values, [name for name, kind in kinds.items() if kind.per == "atom"])
        predicted.append(frame)
    total = {**seconds, "total": sum(seconds.values())}
    count_table = _two_columns("per structure", {name: _range(values) for name, values in counts.items()})
    time_table = _two_columns("seconds", {part: f"{spent:.3f}" for part, spent in total.items()})
    return Predictions(predicted, (results, Columns([count_table, time_table], padding=(0, 4))))


def _two_columns(label: str, values: dict[str, str]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("")
    table.add_column(label, justify="right")
    for name, value in values.items():
        table.add_row(name, value)
    return table


def _number(value: float, digits: int) -> str:
    """Format a number; empty for zero."""
    return f"{value:,.{digits}f}" if value else ""


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


_SHOWN = 12


@final
class StepsTable:
    """Shows the last steps during a relaxation, or lines in log files, and all steps at the end.

    Args:
        meaning: the reference of the energies.
        cell: whether the cell is relaxed, so that steps have stresses.
    """

    def __init__(self, meaning: str, cell: bool) -> None:
        self._meaning, self._cell = meaning, cell
        self._rows: list[tuple[str, ...]] = []
        self._lines = ProgressLines()
        self._live = Live(console=console, transient=True, refresh_per_second=4)

    def __enter__(self) -> StepsTable:
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if self._rows:
            console.print(self._table(self._rows))

    def add(self, step: RelaxationStep) -> None:
        """Add a row."""
        stress = () if step.max_stress is None else (f"{step.max_stress:.6f}",)
        self._rows.append((str(step.number), f"{step.energy:.6f}", f"{step.max_force:.6f}", *stress))
        self._lines.tell(
            lambda: f"step {step.number}: energy {step.energy:.6f} eV, largest force {step.max_force:.4f} eV/Å"
        )
        if console.is_terminal:
            self._live.update(self._table(self._rows[-_SHOWN:]))

    def _table(self, rows: list[tuple[str, ...]]) -> Table:
        table = Table(box=SIMPLE_HEAD, header_style="bold")
        stress = ("largest stress, eV/Å³",) if self._cell else ()
        for column in ("step", f"energy ({self._meaning}), eV", "largest force, eV/Å", *stress):
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(*row)
        return table
