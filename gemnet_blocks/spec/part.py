"""Fields of a spec that hold the options of a part, whose class is chosen by the entry `type`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from gemnet_blocks.errors import SpecError
from gemnet_blocks.options import Options
from gemnet_blocks.spec.catalog import BUILT_IN, Catalog, options_class


class Unresolved(Options):
    """The options of a part whose class is not known until `build` is told."""

    model_config = ConfigDict(extra="allow")

    type: str
    """The name that `extra` must hold, or an import path."""


@dataclass(frozen=True, slots=True)
class PartOf:
    """Annotation of a field: validate a mapping with the options of the class that its `type` names.

    Attributes:
        kind: the kind of part, as the catalog names it.
    """

    kind: str

    def validate(self, value: Any, info: ValidationInfo) -> Options:
        """The options of the part.

        A type that the catalog does not know stays unresolved, for a class that comes later, unless it looks like a
        misspelt built-in one.
        """
        catalog: Catalog = (info.context or {}).get("catalog") or Catalog()
        if isinstance(value, Unresolved):
            value = value.model_dump()
        if isinstance(value, Options):
            return value
        if not isinstance(value, Mapping):
            raise PydanticCustomError(
                "part", "must be a mapping with an entry `type`, got {value}", {"value": repr(value)}
            )
        name = value.get("type")
        if not isinstance(name, str):
            raise PydanticCustomError(
                "part", "needs an entry `type`: one of {known}", {"known": ", ".join(catalog.names(self.kind))}
            )
        try:
            part = catalog.find(self.kind, name)
        except SpecError as error:
            raise PydanticCustomError("part", "{why}", {"why": str(error)}) from error
        if part is not None:
            return options_class(part).model_validate(dict(value), context=info.context)
        if difflib.get_close_matches(name, catalog.names(self.kind), n=1, cutoff=0.85):
            raise PydanticCustomError("part", "{why}", {"why": catalog.unknown(self.kind, name)})
        return Unresolved.model_validate(dict(value))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self.validate, serialization=core_schema.plain_serializer_function_ser_schema(_dump)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        built_in = []
        for name, part in BUILT_IN[self.kind].items():
            one = options_class(part).model_json_schema()
            one["properties"]["type"] = {"const": name, "description": f"The kind of {self.kind}."}
            built_in.append(one)
        own = {
            "type": "object",
            "title": f"Your own {self.kind}",
            "properties": {"type": {"type": "string", "not": {"enum": list(BUILT_IN[self.kind])}}},
        }
        return {"anyOf": [*built_in, own]}


def _dump(options: Options) -> dict[str, Any]:
    return options.model_dump(mode="json")
