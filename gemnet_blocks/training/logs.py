"""The log of a run: a CSV file that resumed runs continue, TensorBoard's files, and progress on the terminal."""

from __future__ import annotations

import csv
import io
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from gemnet_blocks.training.losses import in_log_units
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.util.files import naming, replacing
from gemnet_blocks.util.progress_bars import in_notebook, progress_bar
from gemnet_blocks.util.progress_lines import ProgressLines, clock

FILE = "log.csv"
"""The name of the log in a run's folder."""


@final
class TrainingLog:
    """Rows of numbers by step in `log.csv` and, on request, in the folder `tensorboard`.

    Rows beyond the step at which a run resumes are removed, since these steps are repeated.

    Args:
        folder: the folder of the run.
        columns: names of the columns besides `step`.
        step: the last step whose rows are kept; 0 for a new run.
        tensorboard: whether TensorBoard's files are written.

    Raises:
        OSError: a file cannot be written, now or later; names the file.
    """

    def __init__(self, folder: Path, columns: list[str], step: int, tensorboard: bool) -> None:
        self._columns = ["step", *columns]
        self._path = folder / FILE
        self._keep(step)
        with naming(self._path):
            self._file = self._path.open("ab", buffering=0)
        self._tensorboard = _TensorBoard(folder / "tensorboard", step) if tensorboard else None

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add a row; columns without a number stay empty."""
        row = {"step": str(step), **{name: _text(value) for name, value in numbers.items()}}
        self._append(_line([row.get(name, "") for name in self._columns]).encode())
        if self._tensorboard is not None:
            self._tensorboard.write(step, numbers)

    def secure(self) -> None:
        """Write all rows to disk."""
        with naming(self._path):
            os.fsync(self._file.fileno())
        if self._tensorboard is not None:
            self._tensorboard.flush()

    def close(self) -> None:
        """Write all rows to disk and close the files."""
        try:
            self.secure()
        finally:
            self._file.close()
            if self._tensorboard is not None:
                self._tensorboard.close()

    def _append(self, row: bytes) -> None:
        """Add a complete row, or nothing."""
        end = os.fstat(self._file.fileno()).st_size
        with naming(self._path):
            try:
                while row:  # a disk that runs full writes the beginning only
                    row = row[self._file.write(row) :]
            except OSError:
                self._file.truncate(end)
                raise

    def _keep(self, step: int) -> None:
        """Keep only the header and complete rows up to a step."""
        lines = [_line(self._columns)]
        if step > 0 and self._path.is_file():
            text = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in text[1:] if line.endswith("\n") and line.split(",", 1)[0].isdigit()]
            lines += [line for line in whole if int(line.split(",", 1)[0]) <= step]
        with replacing(self._path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")


def last_rows(folder: Path) -> list[dict[str, float]]:
    """Read the last rows of the log in the folder of a run, which may be growing; empty without a valid log."""
    try:
        with (folder / FILE).open("rb") as file:
            names = file.readline().decode().strip().split(",")
            begin = file.tell()
            cut = file.seek(max(begin, os.fstat(file.fileno()).st_size - 65536)) > begin
            lines = file.read().decode(errors="replace").splitlines(keepends=True)[cut:]
        whole = [line for line in lines if line.endswith("\n")]
        rows = [dict(zip(names, line.strip().split(","), strict=True)) for line in whole]
        numbers = [{name: float(text) for name, text in row.items() if text} for row in rows]
        return [row for row in numbers if {"step", "seconds"} <= row.keys()]
    except (OSError, ValueError):
        return []


def _line(values: list[str]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}"


@final
class _TensorBoard:
    """TensorBoard's files.

    If the thread of TensorBoard's writer fails, it prints a traceback, which is suppressed here; the next call raises
    the error.

    Args:
        folder: the folder of the files.
        step: the last step whose numbers are kept.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._hook = threading.excepthook
        with naming(folder):
            self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1)
        threading.excepthook = self._without_own_thread

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        with naming(self._folder):
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        with naming(self._folder):
            self._writer.flush()

    def close(self) -> None:
        try:
            with naming(self._folder):
                self._writer.close()
        finally:
            threading.excepthook = self._hook

    def _without_own_thread(self, ended: Any) -> None:
        if not type(ended.thread).__module__.startswith("tensorboard."):
            self._hook(ended)


_UNITS: Mapping[str, str] = {
    "mev_per_atom": "meV/atom",
    "mev_per_angstrom": "meV/Å",
    "mev_per_cubic_angstrom": "meV/Å³",
    "seconds": "s",
    "epoch": "passes over the training set",
}


def units(columns: Sequence[str]) -> dict[str, str]:
    """Return the units of columns of the log by name; errors of further properties have those of their labels."""
    found = {name: next((unit for end, unit in _UNITS.items() if name.endswith(end)), "") for name in columns}
    labels = {name: "unit of the labels" for name in columns if name.endswith("_mae")}
    return {name: unit or labels.get(name, "1") for name, unit in found.items()}


_SHOWN: Mapping[str, tuple[str, str]] = {
    "loss": ("loss", "{:.4g}"),
    "energy_mae_mev_per_atom": ("E MAE", "{:.3g} meV/atom"),
    "forces_mae_mev_per_angstrom": ("F MAE", "{:.3g} meV/Å"),
    "validation_energy_mae_mev_per_atom": ("validation E MAE", "{:.3g} meV/atom"),
    "validation_forces_mae_mev_per_angstrom": ("validation F MAE", "{:.3g} meV/Å"),
}


@final
class Display:
    """Progress on the terminal: the used fraction of the budget and the last errors.

    Args:
        bar: the progress bar of tqdm; None: no bar.
        lines: lines for log files, at each validation and otherwise at most once a minute; None: no lines.
    """

    def __init__(self, bar: Any = None, lines: ProgressLines | None = None) -> None:
        self._bar = bar
        self._lines = lines
        self._rate = "–"
        self._shown: dict[str, str] = {}

    @classmethod
    @contextmanager
    def opened(cls, config: TrainingConfig, fraction: float) -> Iterator[Display]:
        """Open the display that a config requests, and close it at the end of the block."""
        wanted = config.training.log.progress
        notebook = in_notebook()
        shape = "{percentage:5.1f}% |{bar:20}| {elapsed}<{remaining} {postfix}"
        quiet = not (notebook or sys.stderr.isatty()) if wanted is None else not wanted
        # the bar of a notebook shows the errors of validations, too
        lines = None if wanted is False or (notebook and not quiet) else ProgressLines(every=60.0)
        options = {"initial": 100 * fraction, "bar_format": shape, "disable": quiet, "mininterval": 0.5}
        with progress_bar(100.0, **options) as bar:
            yield cls(None if quiet else bar, lines)

    def show(self, fraction: float, step: int, row: Mapping[str, float], seconds: float) -> None:
        """Update the display.

        Args:
            fraction: the used fraction of the budget.
            step: the number of steps taken.
            row: the row of the log; empty if none was written.
            seconds: duration of training and validation.
        """
        if self._bar is None and self._lines is None:
            return
        if "learning_rate" in row:
            self._rate = f"{row['learning_rate']:.3g}"
        self._shown.update(shown_errors(row))
        text = ", ".join(f"{name} {value}" for name, value in self._shown.items())
        if row and self._lines is not None:
            begin = f"step {step:,} ({fraction:.1%}), {clock(seconds)}, learning rate {self._rate}"
            self._lines.tell(lambda: f"{begin}, {text}", due="validation_loss" in row or fraction >= 1)
        if self._bar is not None:
            if row:
                self._bar.set_postfix_str(f"step {step}, {text}", refresh=False)
            self._bar.update(100 * fraction - self._bar.n)


def with_units(metrics: Mapping[str, float]) -> dict[str, str]:
    """The loss and the errors of a validation as text, with units."""
    return shown_errors(in_log_units(metrics))


def shown_errors(row: Mapping[str, float]) -> dict[str, str]:
    """Format the errors of a row of the log with units, by short names."""
    shown = {short: form.format(row[name]) for name, (short, form) in _SHOWN.items() if name in row}
    properties = {name: value for name, value in row.items() if name.endswith("_mae")}  # the others end with a unit
    return shown | {
        f"{name.removesuffix('_mae').replace('_', ' ')} MAE": f"{value:.4g}" for name, value in properties.items()
    }
