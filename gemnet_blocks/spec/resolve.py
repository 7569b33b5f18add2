"""Reading of specs: files and patches are merged and validated, with one error that lists every problem."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from pydantic import BaseModel, ValidationError

from gemnet_blocks.errors import SpecError
from gemnet_blocks.interactions.bases import InteractionBases
from gemnet_blocks.interactions.triplet import TripletOptions
from gemnet_blocks.options import plain
from gemnet_blocks.spec.catalog import Catalog, did_you_mean, search_beside
from gemnet_blocks.spec.difference import SpecDifference, compare
from gemnet_blocks.spec.document import (
    Document,
    Problem,
    Route,
    check_kind,
    parse_document,
    parse_value,
    read_document,
    shown,
)
from gemnet_blocks.spec.explain import KIND_AT, is_property_head, kind_at, part_options, problems_of, spec_options
from gemnet_blocks.spec.files import check_found, existing_document, find_document
from gemnet_blocks.spec.names import problems_with_names
from gemnet_blocks.spec.part import Unresolved
from gemnet_blocks.spec.schema import SpecFields
from gemnet_blocks.spec.versions import in_current_version, with_current_names
from gemnet_blocks.util.html import upper_layer

if TYPE_CHECKING:
    from os import PathLike

    from gemnet_blocks.spec.description import Description

REMOVABLE: tuple[Route, ...] = (("graphs",), ("interactions",), ("streams",), ("heads",))
"""Sections from which null removes an entry, except the fixed fields of `heads`."""
NOTHING = Document({})
PATCH = "patch"
"""The place of changes that are not from a file."""


@final
class Spec(SpecFields):
    """A declarative description of an architecture.

    `load_spec` reads it from a file, `patch` changes it, and `build` builds the model.
    """

    @classmethod
    def from_yaml(cls, text: str, *, extra: Mapping[str, type] | None = None, allow_imports: bool = False) -> Spec:
        """Read a complete YAML document, such as the output of `to_yaml`.

        Args:
            text: a YAML document without `extends`.
            extra: custom parts by the name that `type` gives them.
            allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported.

        Raises:
            SpecError: lists every problem.
        """
        catalog = Catalog().plus(extra, allow_imports)
        return validate(merge(NOTHING, in_current_version(parse_document(text, "spec")), catalog), catalog)

    def patch(self, changes: Mapping[str, Any] | None = None, **more: Any) -> Spec:
        """Return a changed copy: `spec.patch({"interactions.quadruplet": None, "sizes": {"edge": 256}})`.

        Keys may be dotted paths. Mappings are merged with the existing ones; other values replace them. None removes an
        interaction or edge set; in other fields, it is the value null.

        Raises:
            SpecError: a path does not exist, or the result is not a valid spec.
        """
        document = with_current_names(as_document({**(changes or {}), **more}))
        changed = validate(merge(Document(self.to_dict()), document, self.catalog), self.catalog)
        return changed.placed(merged_places(self.document(), document))

    def describe(self, parameters: int | None = None) -> Description:
        """Describe the architecture for a paper: a paragraph, equations, sizes and citations.

        `describe().latex()` and `.bibtex()` are for documents; a notebook shows the description itself.

        Args:
            parameters: the number of parameters, for the table of sizes; None to leave it out.
        """
        from gemnet_blocks.spec.description import describe  # sympy takes a second to import

        return describe(self, parameters)

    def diff(self, other: Spec) -> SpecDifference:
        """List the fields in which another spec differs from this one; a notebook shows a table and a drawing.

        >>> from gemnet_blocks.spec import load_spec
        >>> load_spec("gemnet-oc").diff(load_spec("gradient-forces"))
        heads.forces.type: direct → gradient
        heads.forces.coupled: false → –
        heads.forces.dynamic_scaling: – → false
        """
        return SpecDifference(self, other, tuple(compare(self, other)))

    def __repr__(self) -> str:
        return f"Spec({', '.join(self.interactions) or 'no interactions'}; {self.content_hash[:12]})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return upper_layer("plotting.notebook").html(self)


def load_spec(
    path: str | PathLike[str],
    patches: Mapping[str, Any] | None = None,
    *,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
) -> Spec:
    """Read a spec file and all files that it extends.

    A file may start with `extends: other.yaml`, relative to its folder, and contain only the differences: mappings are
    merged, other values are replaced, and null removes an interaction or edge set. A part whose `type` changes keeps
    the fields that the new type also has. Reading a spec runs no code unless imports are allowed.

    Args:
        path: a YAML file; the name of a spec that the library ships, such as `gemnet-oc`, if there is no file of this
            name (see `list_specs`); or `-`, standard input.
        patches: further changes by dotted path, as in `Spec.patch`.
        extra: custom parts by the name that `type` gives them; `build` can also receive them later.
        allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported, also from modules in the folder
            of the file and in the current folder.

    Raises:
        SpecError: lists every problem with file, line and path, and suggests corrections.
    """
    catalog = Catalog().plus(extra, allow_imports)
    found = find_document(path)
    check_found(found, path, "a spec")
    if allow_imports:
        search_beside(found)
    document = read_with_bases(found, catalog, ())
    if patches:
        document = merge(document, as_document(patches), catalog)
    return validate(document, catalog)


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split an assignment such as `interactions.quadruplet=null` into a path and a value, which is read as YAML.

    Raises:
        SpecError: the text is not an assignment.
    """
    path, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not path or not value:
        raise SpecError(f"{text!r} is not an assignment: write path=value, such as interactions.quadruplet=null")
    return path, parse_value(value, text)


def validate(document: Document, catalog: Catalog) -> Spec:
    """Validate a document against the schema.

    Raises:
        SpecError: lists every problem.
    """
    document = with_current_names(document)
    problems = [*document.problems, *document.impossible_numbers(), *problems_with_names(document, catalog)]
    known = {problem.route for problem in problems}
    spec = None
    try:
        spec = Spec.model_validate(document.data, context={"catalog": catalog, "places": document.places})
    except ValidationError as error:
        found = problems_of(error, document, spec_options(catalog))
        problems += [problem for problem in found if problem.route not in known]
    if problems or spec is None:
        raise SpecError("\n".join(dict.fromkeys(document.located(problem) for problem in problems)))
    return spec


def check_known(spec: Spec, catalog: Catalog) -> None:
    """Check that the classes of all parts are known.

    Raises:
        SpecError: lists every part of an unknown class.
    """
    document = spec.document()
    parts: dict[Route, Any] = {route: attrgetter(".".join(route))(spec) for route in KIND_AT}
    for name, interaction in spec.interactions.items():
        parts["interactions", name] = interaction
        own = getattr(interaction, "bases", None)
        given = own.given() if isinstance(own, InteractionBases) else {}
        parts |= {("interactions", name, "bases", field): basis for field, basis in given.items()}
    parts |= {("streams", name, "update"): stream.update for name, stream in spec.streams.items()}
    parts |= {("heads", name): head for name, head in spec.heads.properties.items()}
    problems = [
        Problem((*route, "type"), catalog.unknown(str(kind_at(route)), options.type))
        for route, options in parts.items()
        if isinstance(options, Unresolved)
    ]
    if problems:
        raise SpecError("\n".join(map(document.located, problems)))


def merge(base: Document, changes: Document, catalog: Catalog) -> Document:
    """Apply changes to a base: mappings are merged, and other values are replaced.

    If a change gives a part another `type`, the part keeps those fields of the base that the new type also has.
    Removing an unknown interaction or edge set adds a problem to the result.
    """
    base, changes = with_current_names(base), with_current_names(changes)
    problems = [*base.problems, *changes.problems]
    data = _merge(base.data, changes.data, (), catalog, problems)
    return Document(data, merged_places(base, changes), tuple(problems))


def _merge(
    old: Mapping[str, Any], new: Mapping[str, Any], route: Route, catalog: Catalog, problems: list[Problem]
) -> dict[str, Any]:
    merged = dict(_shared_fields(old, new["type"], route, catalog) if "type" in new else old)
    for key, value in new.items():
        here = (*route, key)
        if value is None and route in REMOVABLE and (route != ("heads",) or is_property_head(here)):
            if merged.pop(key, None) is None:
                near = did_you_mean(key, [name for name in (*old, *new) if name != key])
                problems.append(Problem(here, f"there is nothing of this name to remove{near}"))
        elif isinstance(value, Mapping) and _is_list_of_mappings(merged.get(key)):
            merged[key] = _merge_items(merged[key], value, here, catalog, problems)
        elif isinstance(value, Mapping):
            before = merged.get(key)
            merged[key] = _merge(before if isinstance(before, Mapping) else {}, value, here, catalog, problems)
        else:
            merged[key] = value
    return merged


def _is_list_of_mappings(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def _merge_items(
    old: Sequence[Mapping[str, Any]],
    new: Mapping[str, Any],
    route: Route,
    catalog: Catalog,
    problems: list[Problem],
) -> list[Any]:
    """Change single entries of a list, which are named by their number, and fields of all entries.

    Null removes an entry, and the number after the last one appends an entry.
    """
    everywhere = {key: value for key, value in new.items() if not key.isdecimal()}
    merged = [_merge(entry, everywhere, route, catalog, problems) for entry in old]
    removed = set()
    for number, value in sorted((int(key), value) for key, value in new.items() if key.isdecimal()):
        here = (*route, str(number))
        if number > len(merged) or (value is None and number == len(merged)):
            counted = f"there are {len(old)} entries, numbered from 0 to {len(old) - 1}"
            problems.append(Problem(here, f"there is no entry {number}: {counted}"))
        elif value is None:
            removed.add(number)
        elif number == len(merged):
            merged.append(value)
        else:
            merged[number] = (
                _merge(merged[number], value, here, catalog, problems) if isinstance(value, Mapping) else value
            )
    return [entry for number, entry in enumerate(merged) if number not in removed]


def _shared_fields(old: Mapping[str, Any], new_type: Any, route: Route, catalog: Catalog) -> Mapping[str, Any]:
    """Return those fields of a part that the new type also has."""
    kind = kind_at(route)
    old_type = old.get("type", route[-1] if kind and route[0] == "interactions" else None)
    if new_type == old_type or not isinstance(new_type, str):
        return old
    before, options = (part_options(catalog, kind, name) if kind else None for name in (old_type, new_type))
    if options is None:
        return {}
    fields = set(options.model_fields)
    if any(one is not None and issubclass(one, TripletOptions) for one in (before, options)):
        fields.discard("graph")  # by default triplets read the main edges, and all others an edge set of their own
    return {name: value for name, value in old.items() if name in fields}


def read_with_bases(path: Path, catalog: Catalog, below: Sequence[Path]) -> Document:
    """Read a file and merge it into the files that it extends; `below` lists the files that extend it."""
    document = in_current_version(read_document(path))
    check_kind(document, path, "a spec")
    data = dict(document.data)
    base = data.pop("extends", None)
    changes = Document(data, document.places)
    if "extends" not in document.data:
        return merge(NOTHING, changes, catalog)
    where = f"{document.place(('extends',))}: extends"
    if not isinstance(base, str):
        raise SpecError(f"{where}: must be the path of one spec file")
    base_path, chain = existing_document(base, path.parent, where), [*below, path.resolve()]
    if base_path.resolve() in chain:
        circle = [*chain[chain.index(base_path.resolve()) :], base_path]
        raise SpecError(f"{where}: files extend each other: {' → '.join(link.name for link in circle)}")
    return merge(read_with_bases(base_path, catalog, chain), changes, catalog)


def as_document(changes: Mapping[str, Any]) -> Document:
    """Convert changes by dotted path to nested mappings."""
    problems: list[Problem] = []
    data = _nested(changes, (), problems)
    routes = (*_routes(data, ()), *(problem.route for problem in problems))
    return Document(data, dict.fromkeys(routes, PATCH), tuple(problems))


def merged_places(base: Document, changes: Document) -> dict[Route, str]:
    """Return the place of each entry of merged documents.

    Mappings to which a patch only adds keep their place, so that errors about missing fields name their file instead of
    the patch. Mappings with a new `type` have the place of the change.
    """
    wrong = {problem.route for problem in changes.problems}
    own = {
        route: place
        for route, place in changes.places.items()
        if place != PATCH or route in wrong or route not in base.places or not _extends(route, base.data, changes.data)
    }
    return {**base.places, **own}


def _extends(route: Route, old: Any, new: Any) -> bool:
    """Return whether the new entry at a route is a mapping that only adds fields to the old one."""
    for key in route:
        old, new = (one.get(key) if isinstance(one, Mapping) else None for one in (old, new))
    adds = isinstance(new, Mapping) and "type" not in new and None not in new.values()
    return adds and isinstance(old, Mapping)


def _routes(data: Mapping[str, Any], route: Route) -> Iterator[Route]:
    """Iterate over the routes of a mapping and all its entries."""
    yield route
    for key, value in data.items():
        yield from _routes(value if isinstance(value, Mapping) else {}, (*route, key))


def _nested(changes: Mapping[Any, Any], route: Route, problems: list[Problem]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for path, value in changes.items():
        keys = str(path).split(".")
        if "" in keys:
            # the route of a problem at the top differs from that of the whole document
            problems.append(Problem(route or ("",), f"{str(path)!r} is not a path: write names separated by dots"))
            continue
        for key in reversed(keys[1:]):
            value = {key: value}
        here = (*route, keys[0])
        _add(data, keys[0], _plain(value, here, problems), here, problems)
    return data


def _plain(value: Any, route: Route, problems: list[Problem]) -> Any:
    """Convert a value to plain data as read from a file."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    value = plain(value)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, Mapping):
        return _nested(value, route, problems)
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return [_plain(entry, (*route, str(index)), problems) for index, entry in enumerate(value)]
    if value is not None and not isinstance(value, (bool, int, float, str)):
        problems.append(Problem(route, f"must be a number, text, list or mapping, got {shown(value)}"))
    return value


def _add(data: dict[str, Any], key: str, value: Any, route: Route, problems: list[Problem]) -> None:
    """Add an entry: several changes of one mapping are merged; several changes of another value are a problem."""
    before = data.get(key)
    if key not in data:
        data[key] = value
    elif isinstance(before, dict) and isinstance(value, dict):
        for inner, entry in value.items():
            _add(before, inner, entry, (*route, inner), problems)
    else:
        problems.append(Problem(route, "is changed twice: remove one"))
