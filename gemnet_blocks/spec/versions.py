"""Versions of specs, training configs and studies: earlier documents are read, and newer ones refused."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.document import Document, Problem, Route, shown

VERSION = 2
"""The version of the documents that this library writes. Version 2 renamed the section `read_out` to `readout`."""

RENAMED: Mapping[str, str] = {"read_out": "readout"}
"""Current names of sections of a spec by their earlier names, which are still read."""

VERSION_SCHEMA = {
    "description": "The version of the fields of this document; without it, earlier names are read, too.",
    "enum": list(range(1, VERSION + 1)),
}
"""The JSON Schema of the field `version`."""


def in_current_version(document: Document) -> Document:
    """Check and remove the version of a document, and warn of the earlier names in it, which are read all the same.

    Args:
        document: a spec, a training config or a study, as read from a file.

    Raises:
        SpecError: the version is unknown, such as that of a document of a newer library.
    """
    version = document.data.get("version", VERSION)
    if type(version) is not int or not 1 <= version <= VERSION:
        reason = f"expected a version from 1 to {VERSION}, got {shown(version)}: upgrade gemnet_blocks, or correct it"
        raise SpecError(document.located(Problem(("version",), reason)))
    for old, new in RENAMED.items():
        found = [place for route, place in document.places.items() if _is_section(route, old)]
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            warnings.warn(f"{found[0]}{more}: {old} is the earlier name of {new}, and is read as such", stacklevel=3)
    return replace(document, data={key: value for key, value in document.data.items() if key != "version"})


def _is_section(route: Route, name: str) -> bool:
    """Return whether a route is that of a section of a spec in a spec file, a training config or a study."""
    named = bool(route) and route[-1].partition(".")[0] == name
    return named and (route[:-1] in ((), ("model",), ("base",)) or (len(route) == 3 and route[0] == "variants"))


def with_current_names(spec: Document) -> Document:
    """Rename the sections that a spec calls by their earlier names; both names of one section are a problem."""
    if "version" in spec.data:  # a spec inside of another document
        spec = in_current_version(spec)
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
