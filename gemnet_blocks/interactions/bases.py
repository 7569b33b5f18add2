"""Bases that one interaction has in place of those that all interactions share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import override

from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.envelopes import Envelope
from gemnet_blocks.basis.radial import RadialBasis
from gemnet_blocks.basis.spherical import SphericalBasis
from gemnet_blocks.options import Options, OptionsAnnotation

PART_OF = "part_of"
"""The key of the validation context with the function that returns the validator of the options of a base class."""


@dataclass(frozen=True, slots=True)
class OptionsOf(OptionsAnnotation):
    """Annotation of a field with the options of a basis, which may be a mapping in specs.

    A spec validates the mapping by its catalog of parts, which this layer does not know; it is passed in the validation
    context. Elsewhere the field takes options such as `radial.Gaussian.Options(count=6)`.

    Attributes:
        base: the base class of the basis.
    """

    base: type

    @override
    def validate(self, value: Any, info: ValidationInfo) -> Options:
        """Validate the options, by the catalog of the spec if there is one."""
        part_of = (info.context or {}).get(PART_OF)
        if part_of is not None:
            validated: Options = part_of(self.base).validate(value, info)
            return validated
        if not isinstance(value, Options):
            raise ValueError(f"expected the options of a {self.base.__name__}, got {value!r}")
        return value

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "object"}  # specs list the options of all bases


class InteractionBases(Options):
    """Bases of one interaction alone; null: the basis that all interactions share."""

    radial: Annotated[Options, OptionsOf(RadialBasis)] | None = None
    """Radial basis of distances alone, and next to angles too unless `angular_radial` is given here or for all."""
    angular_radial: Annotated[Options, OptionsOf(RadialBasis)] | None = None
    """Radial basis that is multiplied by functions of angles."""
    envelope: Annotated[Options, OptionsOf(Envelope)] | None = None
    """Factor of all radial functions of the interaction."""
    circular: Annotated[Options, OptionsOf(CircularBasis)] | None = None
    """Basis of angles between two edges."""
    spherical: Annotated[Options, OptionsOf(SphericalBasis)] | None = None
    """Basis of an angle and a dihedral angle, which quadruplets use."""

    def given(self) -> dict[str, Options]:
        """Return the bases that are given, by field."""
        fields = {field: getattr(self, field) for field in type(self).model_fields}
        return {field: options for field, options in fields.items() if options is not None}
