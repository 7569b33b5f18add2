"""Errors that wrong input raises. Each message names the cause, the place and the fix."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice


class StructureError(ValueError):
    """A structure that cannot be computed.

    Args:
        message: the problem and its fix.
        structure: the index of the structure in a batch, with which the message then begins.
    """

    def __init__(self, message: str, structure: int | None = None) -> None:
        super().__init__(message if structure is None else f"structure {structure} {message}")
        self.message = message
        self.structure = structure

    def at(self, place: str) -> StructureError:
        """Return the same error with a place, such as file and frame, instead of the index."""
        return StructureError(f"{place}: {self.message}")


class SpecError(ValueError):
    """A spec that cannot be read or built. The message names the file, the line, the key and the fix."""


class StateError(ValueError):
    """Weights that do not fit a model. The message lists their keys."""


class StateDictError(StateError, RuntimeError):
    """A `StateError` of `load_state_dict`, which torch documents to raise a `RuntimeError`."""


class ArgumentError(SpecError, TypeError):
    """An unknown keyword argument. The message suggests the right one."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory does not suffice, which torch reports in several ways."""
    messages = ("out of memory", "can't allocate memory", "size calculation overflow")
    if isinstance(error, RuntimeError):
        return any(message in str(error) for message in messages)
    return isinstance(error, MemoryError)


def first_few(items: Collection[str], limit: int = 5, separator: str = "; ") -> str:
    """Join the first items for a message and count the others: `a; b; c and 4 more`."""
    shown = separator.join(islice(items, limit))
    return f"{shown} and {len(items) - limit} more" if len(items) > limit else shown


def told(error: BaseException) -> str:
    """Describe an error of another library, whose text may be empty, for a message."""
    return f"{type(error).__name__}: {error}" if str(error).strip() else f"{type(error).__name__} without a message"
