"""The steps of a relaxation as a table that grows."""

from __future__ import annotations

from types import TracebackType
from typing import final

from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.table import Table

from gemnet_blocks.calculator.relaxation import RelaxationStep
from gemnet_blocks.cli.tables import console
from gemnet_blocks.util.progress_lines import ProgressLines

_SHOWN = 12


@final
class StepsTable:
    """Shows the last steps while there are more to come, in log files as lines, and all of them at the end.

    Args:
        meaning: what energies are relative to.
        cell: whether there are stresses.
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
