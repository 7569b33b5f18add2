"""From files and patches to a validated spec: `extends`, merging, and one error that lists every problem."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from pydantic import BaseModel, ValidationError

from gemnet_blocks.errors import SpecError
from gemnet_blocks.options import plain
from gemnet_blocks.spec.catalog import INTERACTION, Catalog, did_you_mean, search_beside
from gemnet_blocks.spec.document import (
    Document,
    Problem,
    Route,
    absent,
    check_kind,
    parse_document,
    parse_value,
    read_document,
    shown,
)
from gemnet_blocks.spec.explain import KIND_AT, kind_at, part_options, problems_of, spec_options
from gemnet_blocks.spec.files import existing_spec, find_spec, near_file
from gemnet_blocks.spec.names import problems_with_names
from gemnet_blocks.spec.part import Unresolved
from gemnet_blocks.spec.schema import SpecFields

if TYPE_CHECKING:
    from os import PathLike

REMOVABLE: tuple[Route, ...] = (("graphs",), ("interactions",))
"""Sections whose entries null removes."""
NOTHING = Document({})
RENAMED: Mapping[str, str] = {"read_out": "readout"}
"""Sections of specs by the names that they had in earlier versions, which are still read."""
PATCH = "patch"
"""Where the entries of changes are written that no file says."""


@final
class Spec(SpecFields):
    """A declarative description of an architecture.

    Read it from a file with `load_spec`, change it with `patch`, turn it into a model with `build`.
    """

    @classmethod
    def from_yaml(cls, text: str, *, extra: Mapping[str, type] | None = None, allow_imports: bool = False) -> Spec:
        """Read what `to_yaml` writes.

        Args:
            text: a YAML document that extends no file.
            extra: your own parts by the name that `type` gives them.
            allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported.

        Raises:
            SpecError: one error with every problem.
        """
        return parse_spec(text, Catalog().plus(extra, allow_imports))

    def patch(self, changes: Mapping[str, Any] | None = None, **more: Any) -> Spec:
        """A copy with differences: `spec.patch({"interactions.quadruplet": None, "sizes": {"edge": 256}})`.

        Keys may be dotted paths; mappings are merged, everything else replaces what was there. None removes an
        interaction or edge set, and is the value null elsewhere.

        Raises:
            SpecError: a path does not exist or the result is no valid spec.
        """
        return patched(self, {**(changes or {}), **more})


def load_spec(
    path: str | PathLike[str],
    patches: Mapping[str, Any] | None = None,
    *,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
) -> Spec:
    """Read a spec file, with all files that it extends.

    A file may start with `extends: other.yaml`, relative to itself, and then say only what differs: mappings are
    merged, everything else replaces what was there, and null removes an interaction or an edge set. Where the `type`
    of a part changes, it keeps the fields that the new type has too. Reading a spec runs no code.

    Args:
        path: a YAML file, or the name of a spec that the library ships, such as `gemnet-oc`; see `list_specs`.
        patches: further changes, by (dotted) path, as `Spec.patch` takes them.
        extra: your own parts by the name that `type` gives them; may also be given to `build` only.
        allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported already here; modules in the
            folder of the file and in the current one are found, too.

    Raises:
        SpecError: one error with every problem: file, line, path, and what may have been meant.
    """
    catalog = Catalog().plus(extra, allow_imports)
    path = find_spec(path)
    if not path.exists():
        raise SpecError(f"{path}: {absent(path)}{near_file(path)}")
    if allow_imports:
        search_beside(path)
    document = read_with_bases(path, catalog, ())
    if patches:
        document = merge(document, as_document(patches), catalog)
    return validate(document, catalog)


def parse_spec(text: str, catalog: Catalog) -> Spec:
    """Read a spec that is complete in itself."""
    return validate(merge(NOTHING, parse_document(text, "spec"), catalog), catalog)


def patched(spec: Spec, changes: Mapping[str, Any]) -> Spec:
    """A copy of a spec with changes by (dotted) path."""
    document = as_document(changes)
    changed = validate(merge(Document(spec.to_dict()), document, spec.catalog), spec.catalog)
    return changed.placed(merged_places(spec.document(), document))


def parse_assignment(text: str) -> tuple[str, Any]:
    """The path and value of `interactions.quadruplet=null`; the value is YAML.

    Raises:
        SpecError: the text is no assignment.
    """
    path, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not path or not value:
        raise SpecError(f"{text!r} is no assignment: write path=value, such as interactions.quadruplet=null")
    return path, parse_value(value, text)


def validate(document: Document, catalog: Catalog) -> Spec:
    """Check a document against the schema.

    Raises:
        SpecError: one error with every problem.
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
    """Check that the classes of all parts are known, before a model is built or data are read for it.

    Raises:
        SpecError: one error with every part whose class is not.
    """
    document, problems = spec.document(), []
    for route, kind in (*KIND_AT.items(), *((("interactions", name), INTERACTION) for name in spec.interactions)):
        options = attrgetter(".".join(route))(spec) if kind != INTERACTION else spec.interactions[route[-1]]
        if isinstance(options, Unresolved):
            problems.append(Problem((*route, "type"), catalog.unknown(kind, options.type)))
    if problems:
        raise SpecError("\n".join(map(document.located, problems)))


def merge(base: Document, changes: Document, catalog: Catalog) -> Document:
    """The base with changes: mappings are merged, everything else is replaced.

    Where a change names another `type` of part, of the base's fields only those that the new type has are kept.
    Removing an interaction or edge set that does not exist becomes a problem of the result.
    """
    base, changes = with_current_names(base), with_current_names(changes)
    problems = [*base.problems, *changes.problems]
    data = _merge(base.data, changes.data, (), catalog, problems)
    return Document(data, merged_places(base, changes), tuple(problems))


def with_current_names(spec: Document) -> Document:
    """Rename the sections that a spec calls by their earlier names; both names of one section are a problem."""
    for old, new in RENAMED.items():
        if old in spec.data and new in spec.data:
            problem = Problem((old,), f"is the earlier name of {new!r}, which is given too: remove one")
            spec = replace(spec, problems=(*spec.problems, problem))
        elif old in spec.data:
            spec = Document(
                {new if key == old else key: value for key, value in spec.data.items()},
                {_renamed(route, old, new): place for route, place in spec.places.items()},
                tuple(replace(one, route=_renamed(one.route, old, new)) for one in spec.problems),
            )
    return spec


def _renamed(route: Route, old: str, new: str) -> Route:
    return (new, *route[1:]) if route[:1] == (old,) else route


def _merge(
    old: Mapping[str, Any], new: Mapping[str, Any], route: Route, catalog: Catalog, problems: list[Problem]
) -> dict[str, Any]:
    merged = dict(_shared_fields(old, new["type"], route, catalog) if "type" in new else old)
    for key, value in new.items():
        here = (*route, key)
        if value is None and route in REMOVABLE:
            if merged.pop(key, None) is None:
                near = did_you_mean(key, [name for name in (*old, *new) if name != key])
                problems.append(Problem(here, f"there is nothing of this name to remove{near}"))
        elif isinstance(value, Mapping):
            before = merged.get(key)
            merged[key] = _merge(before if isinstance(before, Mapping) else {}, value, here, catalog, problems)
        else:
            merged[key] = value
    return merged


def _shared_fields(old: Mapping[str, Any], new_type: Any, route: Route, catalog: Catalog) -> Mapping[str, Any]:
    """Of the fields of a part, those that a part of the new type has too."""
    kind = kind_at(route)
    old_type = old.get("type", route[-1] if kind and route[0] == "interactions" else None)
    if new_type == old_type or not isinstance(new_type, str):
        return old
    options = part_options(catalog, kind, new_type) if kind else None
    return {name: value for name, value in old.items() if options is not None and name in options.model_fields}


def read_with_bases(path: Path, catalog: Catalog, below: Sequence[Path]) -> Document:
    """A file merged into the files that it extends; `below` are the files that extend it."""
    document = read_document(path)
    check_kind(document, path, "a spec")
    data = dict(document.data)
    base = data.pop("extends", None)
    changes = Document(data, document.places)
    if "extends" not in document.data:
        return merge(NOTHING, changes, catalog)
    where = f"{document.place(('extends',))}: extends"
    if not isinstance(base, str):
        raise SpecError(f"{where}: must be the path of one spec file")
    base_path, chain = existing_spec(base, path.parent, where), [*below, path.resolve()]
    if base_path.resolve() in chain:
        circle = [*chain[chain.index(base_path.resolve()) :], base_path]
        raise SpecError(f"{where}: files extend each other: {' → '.join(link.name for link in circle)}")
    return merge(read_with_bases(base_path, catalog, chain), changes, catalog)


def as_document(changes: Mapping[str, Any]) -> Document:
    """Changes by dotted path as nested mappings."""
    problems: list[Problem] = []
    data = _nested(changes, (), problems)
    routes = (*_routes(data, ()), *(problem.route for problem in problems))
    return Document(data, dict.fromkeys(routes, PATCH), tuple(problems))


def merged_places(base: Document, changes: Document) -> dict[Route, str]:
    """Where each entry of merged documents was written.

    Mappings that a patch only adds to stay where they were, so that what is missing in them is not said to be missing
    in the patch; those whose `type` it changes are its own.
    """
    wrong = {problem.route for problem in changes.problems}
    own = {
        route: place
        for route, place in changes.places.items()
        if place != PATCH or route in wrong or route not in base.places or not _extends(route, base.data, changes.data)
    }
    return {**base.places, **own}


def _extends(route: Route, old: Any, new: Any) -> bool:
    """Whether the new entry at a route is a mapping that only adds to the old one."""
    for key in route:
        old, new = (one.get(key) if isinstance(one, Mapping) else None for one in (old, new))
    adds = isinstance(new, Mapping) and "type" not in new and None not in new.values()
    return adds and isinstance(old, Mapping)


def _routes(data: Mapping[str, Any], route: Route) -> Iterator[Route]:
    """The route of every entry, and of the mapping itself."""
    yield route
    for key, value in data.items():
        yield from _routes(value if isinstance(value, Mapping) else {}, (*route, key))


def _nested(changes: Mapping[Any, Any], route: Route, problems: list[Problem]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for path, value in changes.items():
        keys = str(path).split(".")
        if "" in keys:
            # at the top, what concerns the patch is told from what concerns the whole document
            problems.append(Problem(route or ("",), f"{str(path)!r} is no path: write names with dots in between"))
            continue
        for key in reversed(keys[1:]):
            value = {key: value}
        here = (*route, keys[0])
        _add(data, keys[0], _plain(value, here, problems), here, problems)
    return data


def _plain(value: Any, route: Route, problems: list[Problem]) -> Any:
    """A value as a file could say it."""
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
    """Add an entry; several changes of one mapping are put together, several of anything else contradict."""
    before = data.get(key)
    if key not in data:
        data[key] = value
    elif isinstance(before, dict) and isinstance(value, dict):
        for inner, entry in value.items():
            _add(before, inner, entry, (*route, inner), problems)
    else:
        problems.append(Problem(route, "is changed twice: remove one"))
