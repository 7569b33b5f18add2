"""The base of everything that a spec can set, and the checks of the same arguments when they come as plain Python."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, SupportsFloat, SupportsIndex

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

Count = Annotated[int, Field(ge=0)]
"""A number of layers or the like."""

Size = Annotated[int, Field(ge=1)]
"""A number of features."""


def plain(value: Any) -> Any:
    """Numbers, booleans and text of plain Python, for those of NumPy and for tensors; in lists and mappings too."""
    if isinstance(value, (np.generic, np.ndarray, Tensor)):
        return value.tolist()
    if type(value) in (list, tuple):
        return type(value)(plain(entry) for entry in value)
    if type(value) is dict:
        return {plain(key): plain(entry) for key, entry in value.items()}
    return value


class Options(BaseModel):
    """A frozen set of documented, strictly typed fields.

    Unknown fields are refused. An integer is accepted where a float is meant, and numbers and booleans of NumPy are
    those of Python; nothing else is converted: neither a boolean nor text is a number. The string below a field is its
    description, in the JSON Schema too.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _plain_values(cls, data: Any) -> Any:
        return {key: plain(value) for key, value in data.items()} if isinstance(data, Mapping) else data


def whole_number(owner: str, name: str, value: SupportsIndex, least: int, most: int | None = None) -> int:
    """Check that an argument is a whole number within bounds and return it.

    Args:
        owner: the class whose argument it is, for the message.
        name: the argument.
        value: what was given.
        least: the smallest value allowed.
        most: the largest value allowed, if there is one.

    Raises:
        ValueError: it is no whole number (booleans are none) or out of bounds.
    """
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    value = plain(value)
    number = None if isinstance(value, bool) or not hasattr(value, "__index__") else value.__index__()
    if number is None or number < least or (most is not None and number > most):
        raise ValueError(f"{owner}: {name} must be a whole number {bounds}, got {value!r}")
    return number


def byte_count(owner: str, name: str, value: SupportsFloat | None) -> float | None:
    """Check that an argument is a number of bytes, or None, and return it.

    Args:
        owner: whose argument it is, for the message.
        name: the argument.
        value: what was given.

    Raises:
        ValueError: it is no number (booleans and text are none), negative or NaN.
    """
    if value is None:
        return None
    number = _number(value)
    if not number >= 0:
        raise ValueError(f"{owner}: {name} must be a number of bytes of at least 0, or None, got {value!r}")
    return number


def positive_number(owner: str, name: str, value: SupportsFloat, unit: str = "") -> float:
    """Check that an argument is a positive, finite number and return it.

    Args:
        owner: the class whose argument it is, for the message.
        name: the argument.
        value: what was given.
        unit: its unit, for the message.

    Raises:
        ValueError: it is no number (booleans and text are none), not positive, infinite or NaN.
    """
    number = _number(value)
    if not 0 < number < math.inf:
        described = f"a positive, finite number{f' in {unit}' if unit else ''}"
        raise ValueError(f"{owner}: {name} must be {described}, got {value!r}")
    return number


def _number(value: SupportsFloat) -> float:
    """NaN for what is not a number, such as booleans and text."""
    value = plain(value)
    return float(value) if hasattr(value, "__float__") and not isinstance(value, bool) else math.nan
