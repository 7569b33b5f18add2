"""The progress bar."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

from gemnet_blocks.training.options import TrainingConfig

_SHOWN: Mapping[str, tuple[str, str]] = {
    "loss": ("loss", "{:.4g}"),
    "energy_mae_mev_per_atom": ("E", "{:.3g} meV/atom"),
    "forces_mae_mev_per_angstrom": ("F", "{:.3g} meV/Å"),
    "validation_energy_mae_mev_per_atom": ("validation E", "{:.3g} meV/atom"),
    "validation_forces_mae_mev_per_angstrom": ("validation F", "{:.3g} meV/Å"),
}


@final
class Display:
    """How much of the budget is used, and the last errors.

    Args:
        bar: tqdm's; None: nothing is shown.
    """

    def __init__(self, bar: Any = None) -> None:
        self._bar = bar
        self._shown: dict[str, str] = {}

    @classmethod
    @contextmanager
    def opened(cls, config: TrainingConfig, fraction: float) -> Iterator[Display]:
        """A display as the config wants it; closed at the end of the block."""
        from tqdm import tqdm

        wanted = config.training.log.progress
        shape = "{percentage:5.1f}% |{bar:20}| {elapsed}<{remaining} {postfix}"
        quiet = not sys.stderr.isatty() if wanted is None else not wanted
        with tqdm(total=100.0, initial=100 * fraction, bar_format=shape, disable=quiet, mininterval=0.5) as bar:
            yield cls(None if quiet else bar)

    def show(self, fraction: float, step: int, row: Mapping[str, float]) -> None:
        """Move on.

        Args:
            fraction: of the budget that is used.
            step: steps taken.
            row: the row of the log, if there is one.
        """
        if self._bar is None:
            return
        for name, (short, form) in _SHOWN.items():
            if name in row:
                self._shown[short] = form.format(row[name])
        if row:
            text = ", ".join(f"{name} {value}" for name, value in self._shown.items())
            self._bar.set_postfix_str(f"step {step}, {text}", refresh=False)
        self._bar.update(100 * fraction - self._bar.n)
