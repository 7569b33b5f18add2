"""From files and patches to a validated spec: `extends`, merging, and errors that name file, line and path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.catalog import (
    CIRCULAR,
    ENVELOPE,
    INTERACTION,
    RADIAL,
    READ_OUT,
    SPHERICAL,
    Catalog,
    did_you_mean,
    options_class,
)
from gemnet_blocks.spec.document import Document, Route, read_document
from gemnet_blocks.spec.schema import Spec

if TYPE_CHECKING:
    from os import PathLike

KIND_AT: Mapping[Route, str] = {
    ("bases", "radial"): RADIAL,
    ("bases", "angular_radial"): RADIAL,
    ("bases", "envelope"): ENVELOPE,
    ("bases", "circular"): CIRCULAR,
    ("bases", "spherical"): SPHERICAL,
    ("read_out",): READ_OUT,
}
REMOVABLE = ("graphs", "interactions")
"""Sections whose entries null removes."""


def load_spec(
    path: str | PathLike[str],
    patches: Mapping[str, Any] | None = None,
    *,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
) -> Spec:
    """Read a spec file, with all files that it extends.

    A file may start with `extends: other.yaml`, relative to itself, and then say only what differs: mappings are
    merged, everything else replaces what was there, and null removes an interaction or an edge set. Reading a spec
    runs no code.

    Args:
        path: a YAML file.
        patches: further changes, by (dotted) path.
        extra: your own parts by the name that `type` gives them; may also be given to `build` only.
        allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported already here.

    Raises:
        SpecError: one error with every problem: file, line, path, and what may have been meant.
    """
    catalog = Catalog(extra, allow_imports)
    document = _read_with_bases(Path(path), catalog, ())
    if patches:
        document = merge(document, _nested(patches), catalog)
    return validate(document, catalog)


def patched(spec: Spec, changes: Mapping[str, Any]) -> Spec:
    """A copy of a spec with changes by (dotted) path."""
    catalog = Catalog()
    return validate(merge(Document(spec.to_dict()), _nested(changes), catalog), catalog)


def parse_assignment(text: str) -> tuple[str, Any]:
    """The path and value of `interactions.quadruplet=null`; the value is YAML.

    Raises:
        SpecError: the text is no assignment.
    """
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise SpecError(f"{text!r} is no assignment: write path=value, such as interactions.quadruplet=null")
    try:
        return path.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SpecError(f"{path}: {value!r} is no YAML value") from error


def validate(document: Document, catalog: Catalog) -> Spec:
    """Check a document against the schema.

    Raises:
        SpecError: one error with every problem.
    """
    try:
        return Spec.model_validate(document.data, context={"catalog": catalog})
    except ValidationError as error:
        raise SpecError("\n".join(_explain(problem, document) for problem in error.errors())) from error


def merge(base: Document, changes: Document, catalog: Catalog) -> Document:
    """The base with changes: mappings are merged, everything else is replaced.

    Where a change names another `type` of part, of the base's fields only those that the new type has are kept.

    Raises:
        SpecError: a change removes an interaction or edge set that does not exist.
    """
    places = {**base.places, **changes.places}
    return Document(_merge(base.data, changes, changes.data, (), catalog), places)


def _merge(old: Mapping[str, Any], document: Document, new: Mapping[str, Any], route: Route, catalog: Catalog) -> Any:
    if "type" in new:
        old = _shared_fields(old, new["type"], route, catalog)
    merged = dict(old)
    for key, value in new.items():
        here = (*route, key)
        if value is None and route in [(section,) for section in REMOVABLE]:
            if key not in old:
                where = _located(document.place(here), here)
                raise SpecError(f"{where}: there is nothing of this name to remove{did_you_mean(key, old)}")
            del merged[key]
        elif isinstance(value, Mapping) and isinstance(old.get(key), Mapping):
            merged[key] = _merge(old[key], document, value, here, catalog)
        else:
            merged[key] = value
    return merged


def _shared_fields(old: Mapping[str, Any], new_type: Any, route: Route, catalog: Catalog) -> Mapping[str, Any]:
    """Of the fields of a part, those that a part of the new type has too."""
    old_type = old.get("type", route[-1] if route[:1] == ("interactions",) else None)
    if new_type == old_type or not isinstance(new_type, str):
        return old
    if route == ("heads", "forces"):
        return {}
    kind = INTERACTION if route[:1] == ("interactions",) else KIND_AT.get(route)
    part = catalog.find(kind, new_type) if kind else None
    known = options_class(part).model_fields if part is not None else {}
    return {name: value for name, value in old.items() if name in known}


def _read_with_bases(path: Path, catalog: Catalog, below: Sequence[Path]) -> Document:
    path_seen = path.resolve()
    if path_seen in below:
        circle = " → ".join(str(link.name) for link in (*below, path_seen))
        raise SpecError(f"{path}: extends itself: {circle}")
    document = read_document(path)
    data = dict(document.data)
    if "extends" not in data:
        return document
    base = data.pop("extends")
    if not isinstance(base, str):
        raise SpecError(f"{document.place(('extends',))}: extends must be the path of one spec file, got {base!r}")
    base_path = path.parent / base
    if not base_path.is_file():
        near = did_you_mean(base_path.name, [file.name for file in sorted(base_path.parent.glob("*.yaml"))])
        raise SpecError(f"{document.place(('extends',))}: extends {base}: there is no such file{near}")
    return merge(_read_with_bases(base_path, catalog, (*below, path_seen)), Document(data, document.places), catalog)


def _nested(changes: Mapping[str, Any]) -> Document:
    """Changes by dotted path as nested mappings."""
    data: dict[str, Any] = {}
    for path, value in changes.items():
        *parents, last = str(path).split(".")
        place = data
        for key in parents:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise SpecError(f"patch {path}: {key} is changed twice")
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json")
        if last in place:
            raise SpecError(f"patch {path}: is changed twice")
        place[last] = value
    return Document(data, {(): "patch"})


def _explain(problem: Any, document: Document) -> str:
    """One line about one problem."""
    # a discriminated union puts the chosen type into the location, which is no key of the document
    route = tuple(str(key) for key in problem["loc"])
    if route[:2] == ("heads", "forces"):
        route = tuple(key for key in route if key not in ("direct", "gradient"))
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = f"unknown field{did_you_mean(route[-1], _fields_at(route[:-1], document))}"
    elif problem["type"] == "missing":
        message = "this field is required"
    elif problem["type"] not in ("part", "value_error"):
        message = f"{message[0].lower()}{message[1:]}, got {problem['input']!r}"
    where = _located(document.place(route), route)
    return f"{where}: {message}" if where else message


def _located(place: str, route: Route) -> str:
    return ": ".join(part for part in (place, ".".join(route)) if part)


def _fields_at(route: Route, document: Document) -> list[str]:
    """The names of the fields of the options at a route."""
    catalog = Catalog()
    options: type[BaseModel] | None = Spec
    entry: Any = document.data
    for depth, key in enumerate(route):
        here = route[: depth + 1]
        entry = entry.get(key) if isinstance(entry, Mapping) else None
        kind = INTERACTION if here[:1] == ("interactions",) and len(here) == 2 else KIND_AT.get(here)
        if kind is not None:
            name = entry.get("type", key) if isinstance(entry, Mapping) else key
            part = catalog.find(kind, name)
            options = options_class(part) if part is not None else None
        elif here in (("graphs",), ("interactions",)):
            continue
        else:
            options = _options_of_field(options, "graphs" if here[0] == "graphs" else key, entry)
    return list(options.model_fields) if options is not None else []


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
    for options in found:
        field = options.model_fields.get("type")
        if field is not None and field.default == chosen:
            return options
    return found[0] if found else None
