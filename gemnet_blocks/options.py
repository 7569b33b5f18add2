"""Base class of documented options, and checks of the same arguments in Python."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, SupportsFloat, SupportsIndex

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationInfo, model_validator
from pydantic_core import CoreSchema, core_schema
from torch import Tensor

Count = Annotated[int, Field(ge=0)]
"""A number of layers, from 0."""

Size = Annotated[int, Field(ge=1)]
"""A number of features, from 1."""


def plain(value: Any) -> Any:
    """Convert NumPy values and tensors, also in lists and mappings, to plain Python numbers, booleans and lists."""
    if isinstance(value, (np.generic, np.ndarray, Tensor)):
        return value.tolist()
    if type(value) in (list, tuple):
        return type(value)(plain(entry) for entry in value)
    if type(value) is dict:
        return {plain(key): plain(entry) for key, entry in value.items()}
    return value


class Options(BaseModel):
    """Base class of options: frozen, strictly typed fields, each documented by the string below it.

    Unknown fields are refused. Integers are accepted as floats, and NumPy numbers as Python numbers; booleans and text
    are not numbers. Field docstrings become descriptions in the JSON Schema.
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


class OptionsAnnotation(ABC):
    """Base class of annotations of a field with options whose class depends on the value."""

    __slots__ = ()

    @abstractmethod
    def validate(self, value: Any, info: ValidationInfo) -> Options:
        """Validate a value of the field."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self.validate, serialization=core_schema.plain_serializer_function_ser_schema(_dump)
        )


def _dump(options: Options) -> dict[str, Any]:
    return options.model_dump(mode="json")


def whole_number(owner: str, name: str, value: SupportsIndex, least: int, most: int | None = None) -> int:
    """Check that an argument is an integer within bounds and return it.

    Args:
        owner: the class or function, for the message.
        name: the argument.
        value: its value.
        least: the smallest allowed value.
        most: the largest allowed value; None for no upper bound.

    Raises:
        ValueError: the value is not an integer (booleans are not) or is out of bounds.
    """
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    value = plain(value)
    number = None if isinstance(value, bool) or not hasattr(value, "__index__") else value.__index__()
    if number is None or number < least or (most is not None and number > most):
        raise ValueError(f"{owner}: {name} must be an integer {bounds}, got {value!r}")
    return number


def byte_count(owner: str, name: str, value: SupportsFloat | None) -> float | None:
    """Check that an argument is None or a number of bytes and return it; see `whole_number` for the arguments.

    Raises:
        ValueError: the value is not a number (booleans and text are not), is negative or is NaN.
    """
    if value is None:
        return None
    number = _number(value)
    if not number >= 0:
        raise ValueError(f"{owner}: {name} must be a number of bytes of at least 0, or None, got {value!r}")
    return number


def positive_number(owner: str, name: str, value: SupportsFloat, unit: str = "") -> float:
    """Check that an argument is a positive, finite number and return it; see `whole_number` for the arguments.

    Raises:
        ValueError: the value is not a number (booleans and text are not), or is not positive and finite.
    """
    number = _number(value)
    if not 0 < number < math.inf:
        described = f"a positive, finite number{f' in {unit}' if unit else ''}"
        raise ValueError(f"{owner}: {name} must be {described}, got {value!r}")
    return number


def _number(value: SupportsFloat) -> float:
    """Convert a number; booleans, text and other values become NaN."""
    value = plain(value)
    return float(value) if hasattr(value, "__float__") and not isinstance(value, bool) else math.nan
