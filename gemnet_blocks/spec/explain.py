"""What validation finds, in the words of a spec: which entry, what is wrong with it, what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.catalog import (
    ATOM_EMBEDDING,
    CIRCULAR,
    ENVELOPE,
    INTERACTION,
    RADIAL,
    READ_OUT,
    SPHERICAL,
    Catalog,
    did_you_mean,
    near,
    options_class,
)
from gemnet_blocks.spec.document import Document, Problem, Route, shown
from gemnet_blocks.spec.schema import SpecFields

KIND_AT: Mapping[Route, str] = {
    ("bases", "radial"): RADIAL,
    ("bases", "angular_radial"): RADIAL,
    ("bases", "envelope"): ENVELOPE,
    ("bases", "circular"): CIRCULAR,
    ("bases", "spherical"): SPHERICAL,
    ("atom_embedding",): ATOM_EMBEDDING,
    ("read_out",): READ_OUT,
}
FORCES: Route = ("heads", "forces")
CHOICES: Mapping[Route, tuple[str, ...]] = {
    FORCES: ("direct", "gradient"),
    ("bases", "collinear"): ("smooth", "right_angle"),
}
"""Where a `type` chooses between options that are no parts."""

WORDS: Mapping[str, str] = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "dict_type": "must be a mapping of fields",
    "model_type": "must be a mapping of fields",
    "model_attributes_type": "must be a mapping of fields",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "must have at least {min_length} of them",
    "literal_error": "must be {expected}",
}
"""What a value must be, by pydantic's name of the problem; braces hold pydantic's own details."""


def kind_at(route: Route) -> str | None:
    """The kind of the part at a route; None where there is no part."""
    return INTERACTION if len(route) == 2 and route[0] == "interactions" else KIND_AT.get(route)


def findings(error: ValidationError) -> list[ErrorDetails]:
    """What pydantic found, without complaints of too few entries where entries are wrong."""
    found = error.errors(include_url=False)

    def follows(one: ErrorDetails) -> bool:
        length = len(one["loc"])
        return any(len(other["loc"]) > length and other["loc"][:length] == one["loc"] for other in found)

    return [one for one in found if one["type"] != "too_short" or not follows(one)]


def explain(error: ErrorDetails, document: Document, catalog: Catalog) -> Problem:
    """A finding of pydantic's as a problem of the document."""
    route = tuple(str(key) for key in error["loc"])
    if route[2:3] and route[2] in CHOICES.get(route[:2], ()):
        route = route[:2] + route[3:]  # the chosen type is no key of the document
    kind, given = error["type"], error["input"]
    if kind == "part":
        # the type of an interaction is its name where it is not given
        implied = route[-1:] == ("type",) and route not in document.places and not _exists(route, document.data)
        return Problem(route[:-1] if implied else route, error["msg"])
    if kind == "extra_forbidden":
        return Problem(route, _unknown_field(route, document, catalog))
    if kind == "missing":
        return Problem(route, "is missing")
    if kind == "union_tag_not_found":
        return Problem(route, f"needs a `type`, {_either(route)}")
    if kind == "union_tag_invalid":
        chosen = _at((*route, "type"), document.data)
        return Problem(
            (*route, "type"), f"must be {_either(route)}, got {shown(chosen)}{near(str(chosen), CHOICES[route])}"
        )
    if kind not in WORDS:
        return Problem(route, error["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1))
    message = f"{WORDS[kind].format(**error.get('ctx', {}))}, got {shown(given)}"
    return Problem(route, message + _hint(route, kind, given, error.get("ctx", {})))


def _either(route: Route) -> str:
    return " or ".join(map(repr, CHOICES[route]))


def _hint(route: Route, kind: str, given: Any, context: Mapping[str, Any]) -> str:
    """What to change, where the value tells."""
    if route == FORCES:
        return "; write null for a model without forces, or a mapping such as {type: direct}"
    if given is None and len(route) == 1 and kind == "dict_type":
        return "; set single entries to null"
    if isinstance(given, str) and kind in ("int_type", "float_type") and given.replace(".", "", 1).isdigit():
        return "; remove the quotes"
    if isinstance(given, list) and kind in ("tuple_type", "set_type"):  # files know neither
        return "; declare the field with Field(strict=False), so that it takes one"
    if isinstance(given, str) and kind == "literal_error":
        choices = str(context.get("expected", "")).split("'")[1::2]
        near = difflib.get_close_matches(given, choices, n=1)
        return f"; did you mean {near[0]!r}?" if near else ""
    return ""


def _unknown_field(route: Route, document: Document, catalog: Catalog) -> str:
    if "." in route[-1]:
        return "is no field: dotted paths are for patches; in a file, write one mapping inside the other"
    if route == ("extends",):
        return "is no field of a spec: only files extend files"
    return f"unknown field{did_you_mean(route[-1], _fields_at(route[:-1], document.data, catalog))}"


def _fields_at(route: Route, data: Any, catalog: Catalog) -> list[str]:
    """The names of the fields of the options at a route."""
    options: type[BaseModel] | None = SpecFields
    for depth, key in enumerate(route, start=1):
        here, entry = route[:depth], _at(route[:depth], data)
        kind = kind_at(here)
        if kind is not None:
            name = entry.get("type", key) if isinstance(entry, Mapping) else key
            options = part_options(catalog, kind, name)
        elif here not in (("graphs",), ("interactions",)):
            options = _options_of_field(options, "graphs" if here[0] == "graphs" else key, entry)
    return list(options.model_fields) if options is not None else []


def part_options(catalog: Catalog, kind: str, name: Any) -> type[BaseModel] | None:
    """The options class of a part; None where it is not known."""
    try:
        part = catalog.find(kind, name) if isinstance(name, str) else None
    except SpecError:  # an import that fails; validation reports it
        return None
    return options_class(part) if part is not None else None


def _options_of_field(owner: type[BaseModel] | None, name: str, entry: Any) -> type[BaseModel] | None:
    """The options class of a field, looked up in its annotation; of several, the one that `type` chooses."""
    if owner is None or name not in owner.model_fields:
        return None
    pending, found = [owner.model_fields[name].annotation], []
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.append(annotation)
        pending.extend(getattr(annotation, "__args__", ()))
    chosen = entry.get("type") if isinstance(entry, Mapping) else None
    fitting = [one for one in found if "type" in one.model_fields and one.model_fields["type"].default == chosen]
    return next(iter((*fitting, *found)), None)


def _at(route: Route, data: Any) -> Any:
    for key in route:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _exists(route: Route, data: Any) -> bool:
    parent = _at(route[:-1], data)
    return isinstance(parent, Mapping) and route[-1] in parent
