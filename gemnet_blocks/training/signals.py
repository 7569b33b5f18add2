"""Signals that ask a run to save its state and stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, what kill and schedulers send, and a terminal that is closed."""


@contextmanager
def stopping(wish: Callable[[int], None]) -> Iterator[None]:
    """Hand signals to stop to `wish` inside the block; the second Ctrl-C interrupts at once.

    Outside of the main thread, where Python delivers no signals, nothing changes.

    Args:
        wish: called with the number of the signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        wish(number)

    # what is ignored stays so: nohup ignores that the terminal is closed
    before = {number: signal.getsignal(number) for number in STOPPING}
    handled = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
