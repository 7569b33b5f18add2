"""The errors that wrong input raises; each message names the cause, the place and the fix."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice


class StructureError(ValueError):
    """A structure that cannot be computed: the message names its index and what to change.

    Args:
        message: what is wrong, and what to change.
        structure: which one of several; the message begins with it then.
    """

    def __init__(self, message: str, structure: int | None = None) -> None:
        super().__init__(message if structure is None else f"structure {structure} {message}")
        self.message = message
        self.structure = structure

    def at(self, place: str) -> StructureError:
        """The same of a structure that is known by its file and frame."""
        return StructureError(f"{place}: {self.message}")


class SpecError(ValueError):
    """A spec that cannot be read or built: the message names the file, the path in it and what to change."""


class StateError(ValueError):
    """Weights that do not fit a model: the message lists the keys concerned."""


class StateDictError(StateError, RuntimeError):
    """Weights that do not fit a model, found by `load_state_dict`, whose other errors are torch's RuntimeErrors."""


class ArgumentError(SpecError, TypeError):
    """A keyword argument that a class does not take: the message suggests the right one."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that something is too large to be kept, which torch says in several ways."""
    said = ("out of memory", "can't allocate memory", "size calculation overflow")
    told = str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(words in told for words in said))


def first_few(items: Collection[str], limit: int = 5, separator: str = "; ") -> str:
    """Join the first few of many items for a message, and count the others: `a; b; c and 4 more`."""
    shown = separator.join(islice(items, limit))
    return f"{shown} and {len(items) - limit} more" if len(items) > limit else shown


def told(error: BaseException) -> str:
    """Describe an error of another library for a message: its type and its text, which may be missing."""
    return f"{type(error).__name__}: {error}" if str(error).strip() else f"{type(error).__name__} without a message"
