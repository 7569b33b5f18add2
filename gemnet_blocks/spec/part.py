"""Fields of a spec with the options of a part, whose class the entry `type` chooses."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError
from typing_extensions import override

from gemnet_blocks.errors import SpecError
from gemnet_blocks.interactions.bases import PART_OF, InteractionBases
from gemnet_blocks.options import Options, OptionsAnnotation
from gemnet_blocks.spec.catalog import (
    BASE_CLASSES,
    BUILT_IN,
    CIRCULAR,
    ENVELOPE,
    HEAD,
    INTERACTION,
    RADIAL,
    SPHERICAL,
    STREAM_UPDATE,
    Catalog,
    options_class,
)
from gemnet_blocks.spec.document import shown

BASES: Mapping[str, str] = {
    "radial": RADIAL,
    "angular_radial": RADIAL,
    "envelope": ENVELOPE,
    "circular": CIRCULAR,
    "spherical": SPHERICAL,
}
"""The kinds of bases by field, of the section `bases` and of single interactions."""

LATER_KINDS = (STREAM_UPDATE, HEAD)
"""Kinds whose names earlier specs may have given to custom parts of another kind."""


class Unresolved(Options):
    """The options of a part whose class `build` receives later."""

    model_config = ConfigDict(extra="allow")

    type: str
    """A key of `extra`, or an import path."""


@dataclass(frozen=True, slots=True)
class PartOf(OptionsAnnotation):
    """Annotation of a field whose mapping is validated as the options of the class that `type` names.

    Attributes:
        kind: the kind of part in the catalog.
    """

    kind: str

    @override
    def validate(self, value: Any, info: ValidationInfo) -> Options:
        """Validate the options of the part.

        Unknown types stay unresolved until `build` receives their class, except types that look like a misspelled
        built-in one or are built-in parts of another kind.
        """
        catalog: Catalog = (info.context or {}).get("catalog") or Catalog()
        example = f"such as {{type: {catalog.names(self.kind)[0]}, ...}}"
        if isinstance(value, BaseModel):
            value = value.model_dump()
        if not isinstance(value, Mapping):
            removal = ", or null to remove it" if self.kind in (INTERACTION, HEAD) else ""
            _refuse((), f"must be a mapping, {example}{removal}, got {shown(value)}", value)
        name = value.get("type")
        if not isinstance(name, str):
            given = f"; got {shown(name)}, which is not a name" if name is not None else ""
            _refuse(("type",) if "type" in value else (), f"needs a `type`, {example}{given}", name)
        try:
            part = catalog.find(self.kind, name)
        except SpecError as error:
            _refuse(("type",), str(error), name)
        if part is not None:
            context = {**(info.context or {}), "catalog": catalog, PART_OF: part_of}
            return options_class(part).model_validate(dict(value), context=context)
        similar = difflib.get_close_matches(name, catalog.names(self.kind), n=1, cutoff=0.85)
        if similar or any(name in parts for kind, parts in BUILT_IN.items() if kind not in LATER_KINDS):
            _refuse(("type",), catalog.unknown(self.kind, name), name)
        return Unresolved.model_validate(dict(value))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return _schema(self.kind)


def part_of(base: type) -> PartOf:
    """Return the annotation of parts with this base class."""
    return PartOf(next(kind for kind, one in BASE_CLASSES.items() if one is base))


def built_in_schemas(kind: str) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each built-in part of a kind, by name; `type` is optional in them."""
    schemas = {}
    for name, part in BUILT_IN[kind].items():
        schemas[name] = options_class(part).model_json_schema() | {"title": name}
        schemas[name]["properties"]["type"] = {"const": name, "description": f"The kind of {kind}."}
        if kind == INTERACTION:
            del schemas[name]["$defs"]  # of the bases
            schemas[name]["properties"]["bases"] = _bases_schema(schemas[name]["properties"]["bases"]["description"])
    return schemas


def _bases_schema(description: str) -> dict[str, Any]:
    """Return the JSON Schema of the bases of one interaction."""
    fields = {
        field: {
            "anyOf": [_schema(kind), {"type": "null"}],
            "description": InteractionBases.model_fields[field].description,
        }
        for field, kind in BASES.items()
    }
    given = {"type": "object", "properties": fields, "additionalProperties": False}
    return {"anyOf": [given, {"type": "null"}], "description": description}


def _schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a part of one kind."""
    named = [one | {"required": ["type", *one.get("required", [])]} for one in built_in_schemas(kind).values()]
    return {"anyOf": [*named, _custom_schema(kind)]}


def _custom_schema(kind: str) -> dict[str, Any]:
    name = {
        "type": "string",
        "description": f"The name of a custom {kind}, or its import path.",
        "not": {"enum": list(BUILT_IN[kind])},
    }
    return {"type": "object", "title": f"custom {kind}", "properties": {"type": name}, "required": ["type"]}


def _refuse(route: tuple[str, ...], message: str, value: Any) -> NoReturn:
    problem = PydanticCustomError("part", "{message}", {"message": message})
    raise ValidationError.from_exception_data("part", [InitErrorDetails(type=problem, loc=route, input=value)])
