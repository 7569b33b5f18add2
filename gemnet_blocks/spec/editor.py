"""JSON Schema of spec files, for completion and validation in editors."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from gemnet_blocks.spec.catalog import INTERACTION
from gemnet_blocks.spec.part import built_in_schemas
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.spec.versions import RENAMED, VERSION_SCHEMA


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of spec files.

    Files that extend another contain only the differences and may remove interactions and edge sets with null; other
    files must be complete. A file that changes a custom part must repeat its `type`, since a schema cannot look it up
    in the other file.
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
    """Return the schema of complete files, in which the name of an interaction is its default type."""
    schema = Spec.model_json_schema(ref_template=f"{address}/$defs/{{model}}")
    for old, new in RENAMED.items():
        earlier = {"description": f"The earlier name of `{new}`.", "deprecated": True}
        schema["properties"][old] = {**schema["properties"][new], **earlier}
        schema["required"].remove(new)
    schema["properties"]["version"] = VERSION_SCHEMA
    interactions = schema["properties"]["interactions"]
    schema["$defs"]["interaction"] = interactions["additionalProperties"]

    def entry(without_type: dict[str, Any]) -> dict[str, Any]:
        typed = {"$ref": f"{address}/$defs/interaction"}
        condition = {"if": {"required": ["type"]}, "then": typed, "else": without_type}
        return {"description": without_type["description"], **condition}

    interactions["properties"] = {name: entry(one) for name, one in built_in_schemas(INTERACTION).items()}
    interactions["additionalProperties"] = entry({"type": "object", "description": "A custom interaction."})
    return schema


def _differences(address: str) -> dict[str, Any]:
    """Return the schema of files that extend others."""
    schema: dict[str, Any] = _optional(_complete(address))
    extends = {
        "type": "string",
        "description": "The spec to change: a path relative to this file, or the name of a shipped spec.",
    }
    schema["properties"] = {"extends": extends, **schema["properties"]}
    entry = schema["$defs"]["RepeatedBlock"]
    schema["properties"]["blocks"]["oneOf"].append(
        {
            "type": "object",
            "description": "Changes of all blocks of a list, and of single entries by their number.",
            "properties": entry["properties"],
            "patternProperties": {"^[0-9]+$": _removable({"$ref": f"{address}/$defs/RepeatedBlock"})},
            "additionalProperties": False,
        }
    )
    # the changes of equal blocks and of all blocks of a list have the same fields
    schema["properties"]["blocks"]["anyOf"] = schema["properties"]["blocks"].pop("oneOf")
    graphs, interactions = (schema["properties"][section] for section in ("graphs", "interactions"))
    graphs["additionalProperties"] = _removable(graphs["additionalProperties"])
    interactions["additionalProperties"] = _removable(interactions["additionalProperties"])
    interactions["properties"] = {name: _removable(entry) for name, entry in interactions["properties"].items()}
    heads = schema["$defs"]["HeadOptions"]
    heads["additionalProperties"] = _removable(heads["additionalProperties"])
    return schema


def _removable(schema: dict[str, Any]) -> dict[str, Any]:
    removal = {"type": "null", "description": "Remove the entry of this name from the extended spec."}
    described = {key: text for key, text in schema.items() if key == "description"}
    return {**described, "anyOf": [schema, removal]}


def _optional(schema: Any) -> Any:
    """Make all fields optional, except the type of custom parts and the fields of conditions."""
    if isinstance(schema, list):
        return [_optional(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value if key == "if" else _optional(value)
        for key, value in schema.items()
        # as a keyword, "required" holds a list; as the name of a property, a mapping
        if not (key == "required" and isinstance(value, list) and "not" not in schema["properties"].get("type", {}))
    }


_MAPS = ("properties", "patternProperties", "$defs")
"""Keywords whose values are schemas by name."""

_DATA = ("const", "default", "enum", "examples", "required")
"""Keywords whose values are not schemas."""

_SHORT = 150
"""Number of characters below which a repeated schema is written out."""


def compact(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema of the same meaning that contains repeated parts once, in its top-level `$defs`."""
    counts: Counter[str] = Counter()
    shared: dict[str, Any] = {}

    def inside(value: Any, change: Callable[[Any], Any]) -> Any:
        """Apply a function to the schemas directly inside of a schema or list."""
        if isinstance(value, list):
            return [change(entry) for entry in value]
        return {
            key: {name: change(entry) for name, entry in inner.items()}
            if key in _MAPS
            else inner
            if key in _DATA
            else change(inner)
            for key, inner in value.items()
        }

    def count(value: Any) -> Any:
        if isinstance(value, dict):
            counts[text := _text(value)] += 1
            if counts[text] > 1:
                return value
        return inside(value, count) if isinstance(value, (dict, list)) else value

    def referenced(value: Any) -> Any:
        if not isinstance(value, dict) or len(text := _text(value)) < _SHORT or counts[text] == 1:
            return inside(value, referenced) if isinstance(value, (dict, list)) else value
        name = hashlib.sha256(text.encode()).hexdigest()[:8]
        if name not in shared:
            shared[name] = {}  # keeps its place before the parts inside of it
            shared[name] = inside(value, referenced)
        return {"$ref": f"#/$defs/{name}"}

    inside(schema, count)
    shortened = inside(schema, referenced)
    return {**shortened, "$defs": {**shortened.get("$defs", {}), **shared}}


def _text(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, sort_keys=True)
