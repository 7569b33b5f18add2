"""Progress messages in log files."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import final


@final
class ProgressLines:
    """Printer of progress messages, if the standard output is not a terminal.

    Args:
        every: minimum time between two messages in seconds, except for messages that are due.
    """

    def __init__(self, every: float = 30.0) -> None:
        self.shown = not sys.stdout.isatty()
        self._every = every
        self._last = time.monotonic()

    def tell(self, line: Callable[[], str], due: bool = False) -> None:
        """Print a message.

        Args:
            line: function that returns the message, which is called only if the message is printed.
            due: print the message even if the previous one was recent.
        """
        if self.shown and (due or time.monotonic() - self._last >= self._every):
            self._last = time.monotonic()
            print(line(), flush=True)


def clock(seconds: float) -> str:
    """Format a duration as hours, minutes and seconds."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
