"""The settings of the C allocator that decide how much freed memory a process keeps."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of `mallopt`."""


def return_freed_memory() -> None:
    """Have glibc return the memory of freed arrays to the system at once, in the whole process.

    glibc keeps freed arrays of up to 32 MB for later ones. Predictions that recompute intermediate results allocate and
    free many of them, and the pieces add up to several times the memory in use. The environment variables
    `MALLOC_MMAP_THRESHOLD_=1048576` and `MALLOC_TRIM_THRESHOLD_=268435456` have the same effect. With other C libraries
    this function does nothing.
    """
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    set_option = getattr(library, "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, 2**20)
        set_option(_TRIM_THRESHOLD, 2**28)
