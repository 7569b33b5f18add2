"""The errors that wrong input raises; each message names the cause, the place and the fix."""


class StructureError(ValueError):
    """A structure that cannot be computed: the message names its index and what to change."""


class SpecError(ValueError):
    """A spec that cannot be read or built: the message names the file, the path in it and what to change."""


class StateError(ValueError):
    """Weights that do not fit a model: the message lists the keys concerned."""


class ArgumentError(SpecError, TypeError):
    """A keyword argument that a class does not take: the message suggests the right one."""
