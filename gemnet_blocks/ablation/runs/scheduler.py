"""The driver of a study, which starts, monitors and retries runs; several drivers may share one folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, final

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gemnet_blocks.ablation.results import RunResult
from gemnet_blocks.ablation.runs.executors import Executor, Handle
from gemnet_blocks.ablation.runs.jobs import Work
from gemnet_blocks.ablation.runs.plan import PlannedRun
from gemnet_blocks.ablation.runs.run_folder import LOG, Claim
from gemnet_blocks.ablation.runs.worker import BUSY, FAILED
from gemnet_blocks.training.logs import last_rows, shown_errors
from gemnet_blocks.util.console import plain_console, replace_unencodable
from gemnet_blocks.util.progress_bars import progress_bar
from gemnet_blocks.util.progress_lines import clock

MARKS: Mapping[str, str] = {"done": "✓", "failed": "✗", "running": "▶", "missing": "·"}
COLORS: Mapping[str, str] = {"done": "green", "failed": "red", "running": "cyan", "missing": "dim"}

SHAPE = "{desc}: {percentage:3.0f}% |{bar:30}| {elapsed}<{remaining} {postfix}"
"""The progress bar of a study in a notebook."""

PAUSE = 0.1
"""Seconds between two polls of active workers."""

LOOK = 1.0
"""Seconds between two polls of the run folders."""


@dataclass(frozen=True, slots=True)
class RunProgress:
    """The progress of a run: its state, the used fraction of its budget, and the last step in its log."""

    state: RunResult
    fraction: float
    step: int


def _run_progress(run: PlannedRun, state: RunResult) -> RunProgress:
    if state.status == "done":
        return RunProgress(state, 1.0, int(state.cost.get("steps", 0)))
    rows = last_rows(run.folder.path)
    step, seconds = _step(rows), rows[-1]["seconds"] if rows else 0.0
    config = run.task.config
    fraction = 0.0
    if config is not None and config.training.steps:
        fraction = step / config.training.steps
    elif config is not None and config.training.minutes:
        fraction = seconds / 60 / config.training.minutes
    return RunProgress(state, min(fraction, 1.0), step)


def _step(rows: Sequence[Mapping[str, float]]) -> int:
    return int(rows[-1]["step"]) if rows else 0


@final
class Progress:
    """Live display of the progress of a study.

    Args:
        runs: all runs.
        title: title of the study.
        metric: the error that is shown for finished runs.
        show: False to show nothing; None: a live table in terminals, a progress bar in notebooks, lines of text
            elsewhere.
    """

    def __init__(self, runs: Sequence[PlannedRun], title: str, metric: str, show: bool | None = None) -> None:
        self._runs, self._title, self._metric = runs, title, metric
        self._console = plain_console()
        self._silent = show is False
        notebook = self._console.is_jupyter
        self._page = not self._silent and (self._console.is_terminal or notebook)
        self._bar = progress_bar(len(runs), bar_format=SHAPE, desc=title) if self._page and notebook else None
        self._live: Any = None
        self._before: dict[str, str] = {}
        self._printed_steps = {run.name: _step(last_rows(run.folder.path)) for run in runs}
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._first: float | None = None
        self._started = self._looked = time.monotonic()

    def add(self, runs: Sequence[PlannedRun]) -> None:
        """Show further runs."""
        with self._lock:
            self._runs = [*self._runs, *runs]
            self._printed_steps |= {run.name: _step(last_rows(run.folder.path)) for run in runs}

    def __enter__(self) -> Progress:
        replace_unencodable()
        if self._page and self._bar is None:
            self._live = Live(console=self._console, refresh_per_second=4, transient=False)
            self._live.__enter__()
        elif not self._page and not self._silent:
            self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._live is not None:
            self._live.__exit__(kind, error, trace)
        elif not self._silent:
            self._ended.set()
            self._watcher.join()

    def _watch(self) -> None:
        """Report validations regularly, including those of a run in this process, which blocks calls of `update`."""
        while not self._ended.wait(LOOK):
            self._validations()

    def _validations(self) -> None:
        """Print a line for each validation since the last call."""
        with self._lock:
            for run in self._runs:
                rows = last_rows(run.folder.path)
                self._printed_steps[run.name] = min(self._printed_steps[run.name], _step(rows))  # a run may start again
                for row in rows:
                    if "validation_loss" in row and row["step"] > self._printed_steps[run.name]:
                        self._printed_steps[run.name] = int(row["step"])
                        errors = ", ".join(f"{name} {value}" for name, value in shown_errors(row).items())
                        line = f"{run.name}: step {int(row['step']):,}, {clock(row['seconds'])}, {errors}"
                        self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def update(self, states: Mapping[str, RunResult], last: bool = False) -> None:
        """Show the current states by names of runs; the last call always redraws the table."""
        if self._silent:
            return
        if not self._page:
            self._lines(states)
        elif last or time.monotonic() - self._looked > 0.5:
            self._looked = time.monotonic()
            known = [_run_progress(run, states[run.name]) for run in self._runs]
            if self._bar is None:
                self._live.update(self._table(known), refresh=True)
            else:
                self._bar.set_postfix_str(_counted(known), refresh=False)
                self._bar.update(sum(one.fraction for one in known) - self._bar.n)

    def _lines(self, states: Mapping[str, RunResult]) -> None:
        if all(self._before.get(name, "missing") == state.status for name, state in states.items()):
            return
        self._validations()  # the validations of a run are printed before its end
        done = sum(one.status == "done" for one in states.values())
        for name, state in states.items():
            if self._before.get(name, "missing") != state.status:
                self._before[name] = state.status
                told = f": {state.error}" if state.status == "failed" else self._found(state)
                line = f"[{done}/{len(states)}] {name}: {state.status}{told}"
                self._console.print(line, soft_wrap=True, highlight=False)

    def _found(self, state: RunResult) -> str:
        return f" ({self._metric} {state.metrics[self._metric]:.4g})" if self._metric in state.metrics else ""

    def _table(self, known: Sequence[RunProgress]) -> Group:
        table = Table(title=self._title, title_justify="left", box=None, padding=(0, 1))
        table.add_column("variant")
        seeds = list(dict.fromkeys(one.state.seed for one in known))
        for seed in seeds:
            table.add_column(str(seed), justify="right")
        for name in dict.fromkeys(one.state.variant for one in known):
            cells = {one.state.seed: one for one in known if one.state.variant == name}
            table.add_row(name, *(_cell(cells[seed]) if seed in cells else "" for seed in seeds))
        return Group(table, Text(f"{_counted(known)} of {len(known)} runs{self._remaining(known)}"))

    def _remaining(self, known: Sequence[RunProgress]) -> str:
        done = sum(one.fraction for one in known)
        if self._first is None:
            self._first, self._started = done, time.monotonic()
        rate = (done - self._first) / max(time.monotonic() - self._started, 1e-9)
        left = len(known) - done
        if rate <= 0 or not left:
            return ""
        return f"; about {clock(left / rate)} left"


def _counted(known: Sequence[RunProgress]) -> str:
    """Count the runs in each state: `2 done, 1 running`."""
    counts = {status: sum(one.state.status == status for one in known) for status in MARKS}
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


def _cell(one: RunProgress) -> Text:
    status = one.state.status
    text = MARKS[status]
    if status == "running":
        text += f" {one.fraction:.0%} ({one.step})" if one.step else " …"
    return Text(text, style=COLORS[status])


PATIENCE = 60.0
"""Seconds that workers have to save their state when the study is stopped."""


@final
class Driver:
    """Scheduler that completes all unfinished runs of a study.

    Args:
        runs: all runs in order.
        executor: starts the runs.
        work: learner and components for the workers.
        retries: number of retries of a failed run.
        progress: display of the progress.
    """

    def __init__(
        self, runs: Sequence[PlannedRun], executor: Executor, work: Work, retries: int, progress: Progress
    ) -> None:
        self._runs = {run.name: run for run in runs}
        self._executor, self._work, self._retries, self._progress = executor, work, retries, progress
        self._active: dict[str, tuple[Handle, Claim]] = {}
        self._failures = dict.fromkeys(self._runs, 0)
        self._states: dict[str, RunResult] = {}
        self._left: set[str] = set()
        self._looked = float("-inf")

    def add(self, runs: Sequence[PlannedRun]) -> None:
        """Complete further runs."""
        self._progress.add(runs)
        for run in runs:
            self._runs[run.name] = run
            self._failures[run.name] = 0
            self._read_state(run.name)

    def leave(self, name: str) -> None:
        """Stop the worker of a run, and do not complete the run."""
        self._left.add(name)
        if name in self._active:
            self._active[name][0].stop()

    def state(self, name: str) -> RunResult | None:
        """Return the final state of a run; None if it will still change."""
        return None if self._is_open(name) else self._states[name]

    def complete(self, follow: Callable[[], None] = lambda: None) -> None:
        """Start and monitor runs until each is done or has used up its retries.

        On an interrupt, all workers save their state and end.

        Args:
            follow: is called after every look at the runs, and may add runs and leave others.
        """
        try:
            while True:
                self._collect()
                self._refresh()
                follow()
                open_runs = [name for name in self._runs if self._is_open(name)]
                self._progress.update(self._states, last=not open_runs)
                if not open_runs:
                    return
                if not self._start_one(open_runs):
                    time.sleep(PAUSE)
        finally:
            self._stop()

    def _is_open(self, name: str) -> bool:
        """Return True if a run must still be started or waited for."""
        status = self._states[name].status
        elsewhere = status == "running" and name not in self._left
        return status != "done" and (name in self._active or elsewhere or self._may_start(name))

    def _may_start(self, name: str) -> bool:
        return self._failures[name] <= self._retries and name not in self._left

    def _refresh(self) -> None:
        """Update the states of unfinished runs from their folders."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        for _, claim in self._active.values():
            claim.beat()  # a run that waits in a queue has no worker yet that renews its claim
        for name in self._runs:
            if name not in self._states or self._states[name].status != "done":
                self._read_state(name)

    def _read_state(self, name: str) -> None:
        run = self._runs[name]
        self._states[name] = run.folder.state(run.task.variant, run.task.seed, run.task.key)

    def _start_one(self, open_runs: Sequence[str]) -> bool:
        """Start the next run if the executor has a free slot; return whether a run was started."""
        if len(self._active) >= self._executor.slots:
            return False
        for name in open_runs:
            if name in self._active or not self._may_start(name) or self._states[name].status == "running":
                continue
            run = self._runs[name]
            claim = Claim.acquire(run.folder.path)
            self._read_state(name)
            if claim is None:
                continue
            found = run.folder.result(run.task.key)
            if found is not None and found.status == "done":  # by another driver
                claim.release()
                self._read_state(name)
                continue
            self._launch(name, run, claim)
            return True
        return False

    def _launch(self, name: str, run: PlannedRun, claim: Claim) -> None:
        try:
            run.folder.prepare(run.task, self._work.settings)
            handle = self._executor.start(run.folder.path, claim.token, self._work)
        except BaseException:
            claim.release()
            raise
        self._active[name] = handle, claim
        self._read_state(name)

    def _collect(self) -> None:
        """Record the outcome of workers that have ended."""
        for name, (handle, claim) in list(self._active.items()):
            code = handle.poll()
            if code is None:
                continue
            del self._active[name]
            if code != BUSY:
                self._ended(name, code, claim)
            claim.release(whoever_has_it=True)
            self._read_state(name)

    def _ended(self, name: str, code: int, claim: Claim) -> None:
        run = self._runs[name]
        found = run.folder.result(run.task.key)
        if found is not None and found.status == "done":
            return
        self._failures[name] += 1
        explained = found is not None and found.status == "failed" and code == FAILED
        if explained or Claim.adopt(run.folder.path, claim.token) is None:
            return  # the worker wrote its error, or another driver continues the run
        run.folder.write(
            RunResult(
                run.task.variant,
                run.task.seed,
                run.task.key,
                "failed",
                error=_reason(code),
                attempts=len(run.folder.attempts()),
            )
        )

    def _stop(self) -> None:
        """Stop all active workers."""
        for handle, _ in self._active.values():
            handle.stop()
        deadline = time.monotonic() + PATIENCE
        for handle, claim in self._active.values():
            handle.wait(max(0.1, deadline - time.monotonic()))
            # a job that is still active on the cluster releases its claim itself
            claim.release(whoever_has_it=handle.poll() is not None)
        self._active.clear()


def _reason(code: int) -> str:
    if code < 0:
        hint = "; the machine may have run out of memory" if code == -9 else ""
        return f"the worker process was killed by signal {-code}{hint}"
    if code > 128:
        return f"stopped by signal {code - 128}"
    return f"the worker ended with exit code {code} and no result: see {LOG} in the folder of the run, or the job's log"
