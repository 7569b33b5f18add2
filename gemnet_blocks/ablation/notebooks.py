"""Studies from Python values, as a file would say them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gemnet_blocks.spec import resolve
from gemnet_blocks.spec.document import Document, Problem, Route
from gemnet_blocks.spec.schema import Spec


def study_document(base: Any, patches: Any, given: Mapping[str, Any]) -> Document:
    """The study that arguments describe: mappings or dotted paths, options, numbers of numpy, paths.

    Args:
        base: a spec, which the document leaves out; a mapping; or a path.
        patches: by the name of each variant.
        given: everything else; None where nothing is said.
    """
    document = resolve.as_document({name: value for name, value in given.items() if value is not None})
    data, problems = dict(document.data), list(document.problems)
    places: dict[Route, str] = {}
    if isinstance(base, Mapping):
        mapping = resolve.as_document(base)
        data["base"], places = mapping.data, {("base",): "base"}
        problems += [Problem(("base", *one.route), one.message) for one in mapping.problems]
    elif base is not None and not isinstance(base, Spec):
        data["base"] = os.fspath(base) if isinstance(base, os.PathLike) else base
    named = isinstance(patches, Mapping)
    data["variants"] = {name: _patch(name, one, problems) for name, one in patches.items()} if named else patches
    return Document(data, places, tuple(problems))


def _patch(name: Any, patch: Any, problems: list[Problem]) -> Any:
    if isinstance(patch, Spec):
        message = 'must be what differs from the base, such as {"blocks.count": 6}, not a whole spec'
        problems.append(Problem(("variants", str(name)), message))
        return {}
    if not isinstance(patch, Mapping):
        return patch
    document = resolve.as_document(patch)
    problems += [Problem(("variants", str(name), *one.route), one.message) for one in document.problems]
    return document.data
