"""The JSON Schema of spec files, for completion and checks in editors."""

from __future__ import annotations

from typing import Any

from gemnet_blocks.spec.catalog import INTERACTION
from gemnet_blocks.spec.part import built_in_schemas
from gemnet_blocks.spec.resolve import RENAMED, Spec


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of spec files.

    A file that extends another needs to say only what differs, and may remove interactions and edge sets with null;
    any other file must be complete. Where a file changes a part of your own it must repeat the part's `type`, as a
    schema cannot look it up in the other file.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "GemNet spec",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {"$ref": "#/$defs/differences"},
        "else": {"$ref": "#/$defs/complete"},
        "$defs": {
            "complete": {
                **_complete("#/$defs/complete"),
                "allOf": [{"oneOf": [{"required": [old]}, {"required": [new]}]} for old, new in RENAMED.items()],
            },
            "differences": {
                **_differences("#/$defs/differences"),
                "allOf": [{"not": {"required": [old, new]}} for old, new in RENAMED.items()],
            },
        },
    }


def _complete(address: str) -> dict[str, Any]:
    """Of files that stand alone. The type of an interaction is its name where it is not given."""
    schema = Spec.model_json_schema(ref_template=f"{address}/$defs/{{model}}")
    for old, new in RENAMED.items():
        earlier = {"description": f"The earlier name of `{new}`.", "deprecated": True}
        schema["properties"][old] = {**schema["properties"][new], **earlier}
        schema["required"].remove(new)
    interactions = schema["properties"]["interactions"]
    schema["$defs"]["interaction"] = interactions["additionalProperties"]

    def entry(without_type: dict[str, Any]) -> dict[str, Any]:
        typed = {"$ref": f"{address}/$defs/interaction"}
        condition = {"if": {"required": ["type"]}, "then": typed, "else": without_type}
        return {"description": without_type["description"], **condition}

    interactions["properties"] = {name: entry(one) for name, one in built_in_schemas(INTERACTION).items()}
    interactions["additionalProperties"] = entry({"type": "object", "description": "An interaction of your own."})
    return schema


def _differences(address: str) -> dict[str, Any]:
    """Of files that extend others."""
    schema: dict[str, Any] = _optional(_complete(address))
    extends = {"type": "string", "description": "The spec file that this one changes, relative to this one."}
    schema["properties"] = {"extends": extends, **schema["properties"]}
    graphs, interactions = (schema["properties"][section] for section in ("graphs", "interactions"))
    graphs["additionalProperties"] = _removable(graphs["additionalProperties"])
    interactions["additionalProperties"] = _removable(interactions["additionalProperties"])
    interactions["properties"] = {name: _removable(entry) for name, entry in interactions["properties"].items()}
    return schema


def _removable(schema: dict[str, Any]) -> dict[str, Any]:
    removal = {"type": "null", "description": "Remove what the extended file has under this name."}
    described = {key: text for key, text in schema.items() if key == "description"}
    return {**described, "anyOf": [schema, removal]}


def _optional(schema: Any) -> Any:
    """A schema that requires no field, except the type of the user's own parts and of conditions."""
    if isinstance(schema, list):
        return [_optional(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value if key == "if" else _optional(value)
        for key, value in schema.items()
        # a list under this name is the keyword; a mapping would be a property called so
        if not (key == "required" and isinstance(value, list) and "not" not in schema["properties"].get("type", {}))
    }
