"""The log of a run: a CSV file that resuming goes on with row by row, and TensorBoard's files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from gemnet_blocks.atomic import replacing


@final
class TrainingLog:
    """Rows of numbers by step, in `log.csv` and, if wanted, in the folder `tensorboard`.

    Rows behind the step at which a run goes on are dropped: they are from steps that are taken again.

    Args:
        folder: where to write.
        columns: names of the columns besides `step`.
        step: the last step whose rows stay; 0 for a new run.
        tensorboard: whether TensorBoard's files are written.
    """

    def __init__(self, folder: Path, columns: list[str], step: int, tensorboard: bool) -> None:
        self._columns = ["step", *columns]
        self._path = folder / "log.csv"
        self._keep(step)
        self._file = self._path.open("a", encoding="utf-8", newline="")
        self._tensorboard: Any = _writer(folder / "tensorboard", step) if tensorboard else None

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Add a row; columns that have no number stay empty."""
        row = {"step": str(step), **{name: _text(value) for name, value in numbers.items()}}
        self._file.write(_line([row.get(name, "") for name in self._columns]))
        self._file.flush()
        if self._tensorboard is not None:
            for name, value in numbers.items():
                self._tensorboard.add_scalar(name, value, step)

    def secure(self) -> None:
        """Put everything on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._tensorboard is not None:
            self._tensorboard.flush()

    def close(self) -> None:
        """Write what is left."""
        self.secure()
        self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def _keep(self, step: int) -> None:
        """Leave only the heading and whole rows up to a step."""
        lines = [_line(self._columns)]
        if step > 0 and self._path.is_file():
            text = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in text[1:] if line.endswith("\n") and line.split(",", 1)[0].isdigit()]
            lines += [line for line in whole if int(line.split(",", 1)[0]) <= step]
        with replacing(self._path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")


def _line(values: list[str]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}"


def _writer(folder: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)
