"""One page that shows how far a study is; plain lines where nobody looks on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, final

from gemnet_blocks.ablation.plan import PlannedRun
from gemnet_blocks.ablation.results import RunResult
from gemnet_blocks.ablation.runs.run_folder import RunFolder
from gemnet_blocks.util.console import plain_console, replace_unencodable

MARKS: Mapping[str, str] = {"done": "✓", "failed": "✗", "running": "▶", "missing": "·"}
COLORS: Mapping[str, str] = {"done": "green", "failed": "red", "running": "cyan", "missing": "dim"}


@dataclass(frozen=True, slots=True)
class Now:
    """How far a run is.

    Attributes:
        state: what is known of it.
        fraction: of its budget that is used.
        step: the last step that its log has.
    """

    state: RunResult
    fraction: float
    step: int


def look(run: PlannedRun, state: RunResult) -> Now:
    """How far a run is, by its log."""
    if state.status == "done":
        return Now(state, 1.0, int(state.cost.get("steps", 0)))
    step, seconds = _last_row(run.folder)
    config = run.task.config
    fraction = 0.0
    if config is not None and config.training.steps:
        fraction = step / config.training.steps
    elif config is not None and config.training.minutes:
        fraction = seconds / 60 / config.training.minutes
    return Now(state, min(fraction, 1.0), step)


@final
class Progress:
    """Shows a study while it runs.

    Args:
        runs: all of them.
        title: of the study.
        metric: the error that is shown of what is done.
        show: whether anything is shown; None: a page on terminals and in notebooks, lines elsewhere.
    """

    def __init__(self, runs: Sequence[PlannedRun], title: str, metric: str, show: bool | None = None) -> None:
        self._runs, self._title, self._metric = runs, title, metric
        self._console = plain_console()
        self._silent = show is False
        self._page = not self._silent and (self._console.is_terminal or self._console.is_jupyter)
        self._live: Any = None
        self._before: dict[str, str] = {}
        self._first: float | None = None
        self._started = self._looked = time.monotonic()

    def __enter__(self) -> Progress:
        replace_unencodable()
        if self._page:
            from rich.live import Live

            self._live = Live(console=self._console, refresh_per_second=4, transient=False)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def update(self, states: Mapping[str, RunResult], last: bool = False) -> None:
        """Show what is known now.

        Args:
            states: by the names of runs.
            last: whether this is the end.
        """
        if self._silent:
            return
        if not self._page:
            self._lines(states)
        elif last or time.monotonic() - self._looked > 0.5:
            self._looked = time.monotonic()
            self._live.update(self._table([look(run, states[run.name]) for run in self._runs]), refresh=True)

    def _lines(self, states: Mapping[str, RunResult]) -> None:
        done = sum(one.status == "done" for one in states.values())
        for name, state in states.items():
            if self._before.get(name, "missing") != state.status:
                self._before[name] = state.status
                told = f": {state.error}" if state.status == "failed" else self._found(state)
                line = f"[{done}/{len(states)}] {name}: {state.status}{told}"
                self._console.print(line, soft_wrap=True, highlight=False)

    def _found(self, state: RunResult) -> str:
        return f" ({self._metric} {state.metrics[self._metric]:.4g})" if self._metric in state.metrics else ""

    def _table(self, known: Sequence[Now]) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self._title, title_justify="left", box=None, padding=(0, 1))
        table.add_column("variant")
        seeds = list(dict.fromkeys(one.state.seed for one in known))
        for seed in seeds:
            table.add_column(str(seed), justify="right")
        for name in dict.fromkeys(one.state.variant for one in known):
            cells = {one.state.seed: one for one in known if one.state.variant == name}
            table.add_row(name, *(_cell(cells[seed]) if seed in cells else "" for seed in seeds))
        counts = {status: sum(one.state.status == status for one in known) for status in MARKS}
        told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        return Group(table, Text(f"{told} of {len(known)} runs{self._remaining(known)}"))

    def _remaining(self, known: Sequence[Now]) -> str:
        done = sum(one.fraction for one in known)
        if self._first is None:
            self._first, self._started = done, time.monotonic()
        rate = (done - self._first) / max(time.monotonic() - self._started, 1e-9)
        left = len(known) - done
        if rate <= 0 or not left:
            return ""
        seconds = int(left / rate)
        return f"; about {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"


def _cell(one: Now) -> Any:
    from rich.text import Text

    status = one.state.status
    text = MARKS[status]
    if status == "running":
        text += f" {one.fraction:.0%} ({one.step})" if one.step else " …"
    return Text(text, style=COLORS[status])


def _last_row(folder: RunFolder) -> tuple[int, float]:
    """Step and seconds of the last row of the log."""
    path: Path = folder.path / "log.csv"
    try:
        with path.open("rb") as file:
            heading = file.readline().decode().strip().split(",")
            file.seek(max(file.tell(), path.stat().st_size - 4096))
            rows = [line for line in file.read().decode(errors="replace").splitlines() if line.count(",") >= 1]
        values = dict(zip(heading, rows[-1].split(","), strict=False))
        return int(values["step"]), float(values["seconds"])
    except (OSError, ValueError, KeyError, IndexError):
        return 0, 0.0
