"""What commands print: models and predictions as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Console
from rich.table import Table

from gemnet_blocks.model import GemNet
from gemnet_blocks.structures import Structures
from gemnet_blocks.summary import layers
from gemnet_blocks.timing import timed_prediction

if TYPE_CHECKING:
    from ase import Atoms

console = Console()
if not console.is_terminal:
    console = Console(width=150)  # files and pipes have no width of their own


def print_summary(model: GemNet) -> None:
    """Print the layers of a model."""
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


def print_predictions(model: GemNet, frames: list[Atoms]) -> list[Atoms]:
    """Predict frames one after another, print the results, and return frames that carry them.

    Raises:
        StructureError: names the first frame that cannot be computed; nothing is computed then.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    model.trunk.graphs.check(Structures.from_ase(frames))
    results = Table(box=SIMPLE_HEAD, header_style="bold")
    for column in ("structure", "formula", "atoms", "energy", "mean |force|", "max |force|"):
        results.add_column(column, justify="left" if column == "formula" else "right")
    seconds: dict[str, float] = {}
    counts: dict[str, list[int]] = {}
    predicted = []
    for number, frame in enumerate(frames):
        timed = timed_prediction(model, Structures.from_ase(frame))
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
        values = {} if forces is None else {"forces": forces.double().cpu().numpy()}
        frame.calc = SinglePointCalculator(frame, energy=energy, **values)
        predicted.append(frame)
    console.print(results)
    total = {**seconds, "total": sum(seconds.values())}
    count_table = _two_columns("per structure", {name: _range(values) for name, values in counts.items()})
    time_table = _two_columns("seconds", {part: f"{spent:.3f}" for part, spent in total.items()})
    console.print(Columns([count_table, time_table], padding=(0, 4)))
    return predicted


def _two_columns(label: str, values: dict[str, str]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("")
    table.add_column(label, justify="right")
    for name, value in values.items():
        table.add_row(name, value)
    return table


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
