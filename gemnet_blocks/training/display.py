"""The progress bar, and lines for log files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.validation import in_log_units
from gemnet_blocks.util.progress_lines import ProgressLines, clock

_SHOWN: Mapping[str, tuple[str, str]] = {
    "loss": ("loss", "{:.4g}"),
    "energy_mae_mev_per_atom": ("E MAE", "{:.3g} meV/atom"),
    "forces_mae_mev_per_angstrom": ("F MAE", "{:.3g} meV/Å"),
    "validation_energy_mae_mev_per_atom": ("validation E MAE", "{:.3g} meV/atom"),
    "validation_forces_mae_mev_per_angstrom": ("validation F MAE", "{:.3g} meV/Å"),
}


@final
class Display:
    """The used share of the budget and the last errors.

    Args:
        bar: tqdm's; None: no bar is shown.
        lines: for log files, one at each validation and otherwise at most one a minute; None: no lines.
    """

    def __init__(self, bar: Any = None, lines: ProgressLines | None = None) -> None:
        self._bar = bar
        self._lines = lines
        self._rate = "–"
        self._shown: dict[str, str] = {}

    @classmethod
    @contextmanager
    def opened(cls, config: TrainingConfig, fraction: float) -> Iterator[Display]:
        """A display as the config wants it; closed at the end of the block."""
        from tqdm import tqdm

        wanted = config.training.log.progress
        shape = "{percentage:5.1f}% |{bar:20}| {elapsed}<{remaining} {postfix}"
        quiet = not sys.stderr.isatty() if wanted is None else not wanted
        lines = None if wanted is False else ProgressLines(every=60.0)
        with tqdm(total=100.0, initial=100 * fraction, bar_format=shape, disable=quiet, mininterval=0.5) as bar:
            yield cls(None if quiet else bar, lines)

    def show(self, fraction: float, step: int, row: Mapping[str, float], seconds: float) -> None:
        """Move on.

        Args:
            fraction: of the budget that is used.
            step: steps taken.
            row: the row of the log, if there is one.
            seconds: of training and validation.
        """
        if self._bar is None and self._lines is None:
            return
        if "learning_rate" in row:
            self._rate = f"{row['learning_rate']:.3g}"
        for name, (short, form) in _SHOWN.items():
            if name in row:
                self._shown[short] = form.format(row[name])
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
    row = in_log_units(metrics)
    return {short: form.format(row[name]) for name, (short, form) in _SHOWN.items() if name in row}
