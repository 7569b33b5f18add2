"""Progress bars: widgets in notebooks, text in terminals."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from gemnet_blocks.util.console import plain_console


def in_notebook() -> bool:
    """Return whether this process shows its output in a notebook."""
    return plain_console().is_jupyter


def progress_bar(total: float, **options: Any) -> Any:
    """Open a progress bar of tqdm.

    In notebooks with ipywidgets, it is a widget. Without ipywidgets, it is text in the output of the cell, and tqdm's
    warning about it is suppressed.

    Args:
        total: the value at the end.
        options: options of tqdm.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm(total=total, file=sys.stdout if in_notebook() else sys.stderr, **options)
