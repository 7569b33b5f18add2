"""Lines that tell log files how far a command is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import final


@final
class ProgressLines:
    """Prints a line now and then where the standard output is not a terminal.

    Args:
        every: the least time between two lines in seconds, but for those that are due in any case.
    """

    def __init__(self, every: float = 30.0) -> None:
        self.shown = not sys.stdout.isatty()
        self._every = every
        self._last = time.monotonic()

    def tell(self, line: Callable[[], str], due: bool = False) -> None:
        """Print a line.

        Args:
            line: makes it; it is called only if the line is printed.
            due: whether it is printed even if the last one was just before.
        """
        if self.shown and (due or time.monotonic() - self._last >= self._every):
            self._last = time.monotonic()
            print(line(), flush=True)


def clock(seconds: float) -> str:
    """A duration as hours, minutes and seconds."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
