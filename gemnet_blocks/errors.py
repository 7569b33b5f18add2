"""The errors that wrong input raises; each message names the cause, the place and the fix."""

from __future__ import annotations


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


class ArgumentError(SpecError, TypeError):
    """A keyword argument that a class does not take: the message suggests the right one."""
