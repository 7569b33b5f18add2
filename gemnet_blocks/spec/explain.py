"""Translation of pydantic's validation errors into problems of the entries of a spec, with a fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gemnet_blocks.errors import SpecError
from gemnet_blocks.interactions.interaction import MessageOptions
from gemnet_blocks.spec.catalog import (
    ATOM_EMBEDDING,
    HEAD,
    INTERACTION,
    READOUT,
    Catalog,
    did_you_mean,
    near,
    options_class,
)
from gemnet_blocks.spec.document import Document, Problem, Route, shown
from gemnet_blocks.spec.part import BASES
from gemnet_blocks.spec.schema import HeadOptions, SpecFields

KIND_AT: Mapping[Route, str] = {
    **{("bases", field): kind for field, kind in BASES.items()},
    ("atom_embedding",): ATOM_EMBEDDING,
    ("readout",): READOUT,
}
ENERGY_HEAD: Route = ("heads", "energy")
FORCES: Route = ("heads", "forces")

WORDS: Mapping[str, str] = {
    "bool_type": "must be true or false",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
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
"""The expected values by pydantic's type of error; braces hold pydantic's details."""


def kind_at(route: Route) -> str | None:
    """Return the kind of the part at a route; None if the entry is not a part."""
    if is_property_head(route):
        return HEAD
    if route[:1] != ("interactions",):
        return KIND_AT.get(route)
    # an interaction, or a basis of it
    return INTERACTION if len(route) == 2 else KIND_AT.get(route[2:])


def is_property_head(route: Route) -> bool:
    """Return True for entries of `heads` besides energy, forces and stress."""
    return len(route) == 2 and route[0] == "heads" and route[1] not in HeadOptions.model_fields


@dataclass(frozen=True, slots=True)
class OptionsTree:
    """The options classes of the entries of a document.

    Attributes:
        root: the options of the whole document.
        part: a function of a route and its entry that returns the options of the part there; None if it is not a part.
    """

    root: type[BaseModel]
    part: Callable[[Route, Any], type[BaseModel] | None] = lambda route, entry: None

    def at(self, route: Route, data: Any) -> list[type[BaseModel]]:
        """Find the options classes at a route; of several alternatives, the one that `type` chooses."""
        options: list[type[BaseModel]] = [self.root]
        for depth, key in enumerate(route, start=1):
            data = data.get(key) if isinstance(data, Mapping) else None
            if (part := self.part(route[:depth], data)) is not None:
                options = [part]
                continue
            annotations = [annotation for one in options for annotation in _annotations(one, key)]
            # other names are keys of a mapping of options
            options = list(_options_in(annotations)) if annotations else options
            chosen = data.get("type") if isinstance(data, Mapping) else None
            options = [one for one in options if chosen is not None and chosen in _kinds(one, "type")] or options
        return options

    def fields(self, route: Route, data: Any) -> list[str]:
        """List the names of the fields of the options at a route."""
        return list(dict.fromkeys(name for one in self.at(route, data) for name in one.model_fields))

    def kinds(self, route: Route, data: Any, tag: str) -> list[str]:
        """List the allowed values of the field `tag` of the options at a route."""
        return sorted(kind for one in self.at(route, data) for kind in _kinds(one, tag))


def spec_options(catalog: Catalog) -> OptionsTree:
    """Return the options of a spec whose parts are in a catalog."""

    def part(route: Route, entry: Any) -> type[BaseModel] | None:
        kind = kind_at(route)
        name = entry.get("type", route[-1]) if isinstance(entry, Mapping) else route[-1]
        return part_options(catalog, kind, name) if kind is not None else None

    return OptionsTree(SpecFields, part)


def problems_of(error: ValidationError, document: Document, options: OptionsTree) -> list[Problem]:
    """Translate a validation error into problems of a document.

    Args:
        error: pydantic's error for the document's data.
        document: the document.
        options: the options classes of the document.

    Returns:
        One problem per entry: for a wrong entry of a mapping or list, that of the entry alone; for several types that
        refuse a value, one message with all of them.
    """
    by_route: dict[Route, list[str]] = {}
    for detail in error.errors(include_url=False):
        problem = explain(detail, document, options)
        by_route.setdefault(problem.route, []).append(problem.message)
    wrong_inside = {route[:length] for route in by_route for length in range(1, len(route))}
    return [
        Problem(route, message)
        for route, messages in by_route.items()
        if route not in wrong_inside
        for message in _joined(messages)
    ]


def _joined(messages: Sequence[str]) -> Iterator[str]:
    """Join the messages of several types about one value."""
    parts = [message.partition(", got ") for message in messages]
    if not all(wanted.startswith("must be ") and given for wanted, _, given in parts):
        yield from messages
        return
    wanted = dict.fromkeys(wanted.removeprefix("must be ") for wanted, _, _ in parts)
    given = max((given for _, _, given in parts), key=len)  # the longest contains a suggestion
    yield f"must be {' or '.join(wanted)}, got {given}"


def explain(error: ErrorDetails, document: Document, options: OptionsTree) -> Problem:
    """Translate one error of pydantic."""
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    route = tuple(_route(error["loc"], document.data, kind == "missing"))
    if kind == "extra_forbidden":
        return Problem(route, _unknown_field(route, document, options))
    if kind == "missing":
        return Problem(route, "is missing")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = str(context.get("discriminator", "type")).strip("'")
        kinds = options.kinds(route, document.data, tag)
        listed = " or ".join(part for part in (", ".join(map(repr, kinds[:-1])), repr(kinds[-1])) if part)
        if kind == "union_tag_not_found":
            return Problem(route, f"needs a `{tag}`, {listed}")
        chosen = given.get(tag) if isinstance(given, Mapping) else None
        return Problem((*route, tag), f"must be one of {listed}, got {shown(chosen)}{near(str(chosen), kinds)}")
    if kind not in WORDS:
        return Problem(route, error["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1))
    return Problem(route, f"{WORDS[kind].format(**context)}, got {shown(given)}{_hint(route, kind, given, context)}")


def _route(location: Sequence[int | str], data: Any, missing: bool) -> Iterator[str]:
    """Return the keys of a pydantic location that are in the document, without pydantic's names of types."""
    for index, key in enumerate(location):
        in_list = isinstance(data, Sequence) and isinstance(key, int) and key < len(data)
        if in_list or (isinstance(data, Mapping) and key in data):
            data = data[key]
        elif not (missing and index == len(location) - 1):
            continue
        yield str(key)


def _hint(route: Route, kind: str, given: Any, context: Mapping[str, Any]) -> str:
    """Suggest a fix if the value allows one."""
    if route == FORCES:
        return "; write null for a model without forces, or a mapping such as {type: direct}"
    if route == ENERGY_HEAD and given is None:
        return "; every model predicts energies: leave loss.energy out of a training config to train without them"
    if given is None and len(route) == 1 and kind == "dict_type":
        return "; set single entries to null instead"
    if isinstance(given, str) and kind in ("int_type", "float_type") and given.replace(".", "", 1).isdigit():
        return "; remove the quotes"
    if isinstance(given, list) and kind in ("tuple_type", "set_type"):  # files have lists only
        return "; declare the field with Field(strict=False), so that it takes one"
    return near(str(given), str(context.get("expected", "")).split("'")[1::2]) if kind == "literal_error" else ""


def _unknown_field(route: Route, document: Document, options: OptionsTree) -> str:
    if "." in route[-1]:
        return "is not a field: in a file, write nested mappings instead of dotted paths"
    if route == ("extends",):
        return "is not a field of a spec: only files can extend files"
    if len(route) == 3 and route[0] == "interactions":
        built_in = any(issubclass(one, MessageOptions) for one in options.at(route[:-1], document.data))
        if route[2] in BASES:
            return f"is not a field of an interaction: write bases.{route[2]}"
        if route[2] == "symmetric" and built_in:
            return "has no meaning for messages to atoms, which have no opposite edge: remove it"
    # an entry of a list may lack a field that its alternative has, such as the `count` of blocks
    known = [name for name in options.fields(route[:-1], document.data) if name != route[-1]]
    return f"unknown field{did_you_mean(route[-1], known)}"


def part_options(catalog: Catalog, kind: str, name: Any) -> type[BaseModel] | None:
    """Return the options class of a part; None if it is unknown."""
    try:
        part = catalog.find(kind, name) if isinstance(name, str) else None
    except SpecError:  # validation reports imports that fail
        return None
    return options_class(part) if part is not None else None


def _annotations(options: type[BaseModel], key: str) -> list[Any]:
    """Return the annotation of a field with its metadata, or that of further entries if the options take them."""
    if key in options.model_fields:
        field = options.model_fields[key]
        return [field.annotation, *field.metadata]
    further = options.model_config.get("extra") == "allow"
    return [get_type_hints(options)["__pydantic_extra__"]] if further else []


def _options_in(annotations: Iterable[Any]) -> Iterator[type[BaseModel]]:
    """Find the options classes in annotations."""
    pending = list(annotations)
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        pending.extend(getattr(annotation, "__args__", ()))


def _kinds(options: type[BaseModel], tag: str) -> tuple[Any, ...]:
    field = options.model_fields.get(tag)
    return () if field is None else get_args(field.annotation)
