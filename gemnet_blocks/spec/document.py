"""YAML documents with the file and line of every entry, so that errors can name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gemnet_blocks.errors import SpecError

Route = tuple[str, ...]
"""The keys that lead to an entry, from the top."""


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data, and where each entry was written.

    Attributes:
        data: mappings, lists, numbers, text, booleans and null.
        places: file and line, or another description, by route.
    """

    data: dict[str, Any]
    places: Mapping[Route, str] = field(default_factory=dict)

    def place(self, route: Route) -> str:
        """Where the entry, or the nearest one around it, was written; empty where nobody knows."""
        for length in range(len(route), -1, -1):
            if route[:length] in self.places:
                return self.places[route[:length]]
        return ""


def read_document(path: Path) -> Document:
    """Read a YAML file of plain data. Nothing in it can run code; anchors and aliases are refused.

    Raises:
        SpecError: the file cannot be read or is no YAML mapping; names the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from error
    try:
        aliases = [token for token in yaml.scan(text, Loader=yaml.SafeLoader) if isinstance(token, yaml.AliasToken)]
        if aliases:
            raise SpecError(
                f"{path}:{aliases[0].start_mark.line + 1}: aliases (*{aliases[0].value}) are not read: "
                "write the entry out"
            )
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return Document({}, {(): str(path)})
        places: dict[Route, str] = {(): str(path)}
        data = _plain(root, (), str(path), places)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise SpecError(f"{path}{line}: no valid YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(data, dict):
        raise SpecError(f"{path}: must be a mapping of fields, such as `sizes:`, not {type(data).__name__}")
    return Document(data, places)


def _plain(node: yaml.Node, route: Route, file: str, places: dict[Route, str]) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*route, str(index)), file, places) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return yaml.SafeLoader("").construct_object(node)
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key, line = key_node.value, key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise SpecError(f"{file}:{line}: keys must be names")
        if key in mapping:
            raise SpecError(f"{file}:{line}: {'.'.join((*route, key))} is written twice: remove one")
        places[(*route, key)] = f"{file}:{line}"
        mapping[key] = _plain(value_node, (*route, key), file, places)
    return mapping
