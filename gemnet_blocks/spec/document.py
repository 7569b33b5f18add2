"""YAML documents that keep the file and line of every entry, for error messages."""

from __future__ import annotations

import errno
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from gemnet_blocks.errors import SpecError
from gemnet_blocks.util.file_kinds import KINDS, kind_of_document, mistaken

Route = tuple[str, ...]
"""The keys from the top of a document to an entry."""

STANDARD_INPUT = Path("-")
"""The path that stands for standard input, as in other commands."""

_YAML = "tag:yaml.org,2002:"
_NULL = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of one entry of a document.

    Attributes:
        route: the entry.
        message: the problem and its fix.
    """

    route: Route
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data with the place of each entry.

    Attributes:
        data: mappings, lists, numbers, text, booleans and null.
        places: file and line, or another description, by route.
        problems: known problems, which validation reports with all others.
    """

    data: dict[str, Any]
    places: Mapping[Route, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def place(self, route: Route) -> str:
        """Return the place of an entry, or of the nearest enclosing entry with a known place; else an empty string."""
        for length in range(len(route), -1, -1):
            if route[:length] in self.places:
                return self.places[route[:length]]
        return ""

    def located(self, problem: Problem) -> str:
        """Format a problem as one line: place, dotted path, message."""
        return ": ".join(part for part in (self.place(problem.route), ".".join(problem.route), problem.message) if part)

    def impossible_numbers(self) -> Iterator[Problem]:
        """Find numbers that no field accepts: infinity, NaN and integers beyond 64 bits."""
        pending: list[tuple[Route, Any]] = [((), self.data)]
        while pending:
            route, value = pending.pop()
            if isinstance(value, Mapping):
                pending.extend(((*route, str(key)), entry) for key, entry in value.items())
            elif isinstance(value, (list, tuple)):
                pending.extend(((*route, str(index)), entry) for index, entry in enumerate(value))
            elif isinstance(value, float) and not math.isfinite(value):
                yield Problem(route, f"must be finite, got {value}")
            elif isinstance(value, int) and abs(value) >= 2**63:
                yield Problem(route, f"must be below 2^63, got {shown(value)}")


def read_document(path: Path, wanted: str = "a spec") -> Document:
    """Read a YAML file of plain data. It cannot run code; tags, aliases and merge keys are refused.

    Args:
        path: the file; `-` is standard input.
        wanted: `a spec`, `a training config` or `a study`, for errors.

    Raises:
        SpecError: the file cannot be read or is not a YAML mapping; names the file and the line.
    """
    try:
        text = sys.stdin.buffer.read().decode() if path == STANDARD_INPUT else path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        wide = error.object.startswith((b"\xff\xfe", b"\xfe\xff"))  # text in UTF-16
        if path.suffix == ".safetensors" or (b"\0" in error.object[:1024] and not wide):
            raise SpecError(
                f"{path}: expected a YAML file, but this is a binary file; `gemnet-blocks evaluate`, `relax` and "
                "`predict` take model files, and `convert` takes checkpoints"
            ) from None
        line, byte = error.object[: error.start].count(b"\n") + 1, error.object[error.start]
        raise SpecError(f"{path}:{line}: byte 0x{byte:02x} is not UTF-8: save the file as UTF-8") from None
    except FileNotFoundError:
        raise SpecError(f"{path}: {absent(path)}") from None
    except IsADirectoryError:
        raise SpecError(f"{path}: is a directory: name a file in it") from None
    except OSError as error:
        reason = absent(path) if error.errno == errno.ELOOP else f"cannot be read: {error.strerror or error}"
        raise SpecError(f"{path}: {reason}") from error
    try:
        return parse_document(text, "standard input" if path == STANDARD_INPUT else str(path), wanted)
    except SpecError:
        if text and (found := mistaken(path, "a YAML file")) is not None and path.suffix not in (".yaml", ".yml"):
            raise SpecError(f"{path}: expected {wanted}, but this {found}") from None
        raise


def absent(path: Path, link: str = "link") -> str:
    """Describe why a file cannot be found, for errors, which call a symbolic link `link`."""
    if path.is_symlink():
        target = f"is a {link} to {path.readlink()}"
        if _leads_to_itself(path):
            return f"{target}, which leads back to this link: link to the file itself"
        return f"{target}, which does not exist: correct the link"
    return "there is no such file"


def _leads_to_itself(link: Path) -> bool:
    try:
        link.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def check_kind(document: Document, path: Path, wanted: str) -> None:
    """Check that a document is not of another kind.

    Args:
        document: the document.
        path: its file.
        wanted: `a spec`, `a training config` or `a study`.

    Raises:
        SpecError: the document is of another kind; names the kind and the command that takes it.
    """
    if not document.data.keys() & KINDS[wanted].keys:
        found = kind_of_document(document.data.keys())
        if found is not None:
            raise SpecError(f"{document.places.get((), path)}: is {found}, not {wanted}: {KINDS[found].use}")


def parse_document(text: str, name: str, wanted: str = "a spec") -> Document:
    """Read YAML text by the rules of `read_document`.

    Args:
        text: the YAML document.
        name: its name in errors.
        wanted: the expected kind of document.

    Raises:
        SpecError: the text is not a YAML mapping; names the line.
    """
    places: dict[Route, str] = {(): name}
    data = _Reader(name, places).read(text)
    if data is None:
        raise SpecError(f"{name}: is empty: write {wanted}, or `extends: other.yaml` and the differences")
    if not isinstance(data, dict):
        raise SpecError(f"{name}: must be a mapping of fields, such as `{KINDS[wanted].keys[0]}:`, not {shown(data)}")
    return Document(data, places)


def parse_value(text: str, name: str) -> Any:
    """Read one YAML value by the rules of `read_document`.

    Args:
        text: the value.
        name: its name in errors.

    Raises:
        SpecError: the text is not a YAML value.
    """
    return _Reader(name, {}, numbered=False).read(text)


def dump(data: Mapping[str, Any]) -> str:
    """Write data as a YAML document with one line per innermost mapping."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=10**6)


def entries(value: Any, route: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over the entries of nested mappings with their dotted paths."""
    if isinstance(value, Mapping) and value:
        for key, entry in value.items():
            yield from entries(entry, f"{route}.{key}" if route else str(key))
    else:
        yield route, value


def shown(value: Any) -> str:
    """Format a value as in a file, shortened to 60 characters."""
    text = repr(value) if isinstance(value, str) else _Dumper.flow(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Reader:
    """Reader of YAML text as plain data.

    Unquoted values follow YAML 1.2: 1e-3 is a number; yes, on, 1:30 and 2020-01-01 are text, and 010 is ten.
    """

    def __init__(self, name: str, places: dict[Route, str], numbered: bool = True) -> None:
        self._name, self._places, self._numbered = name, places, numbered

    def read(self, text: str) -> Any:
        try:
            node = _Loader(text).get_single_node()
            return None if node is None else self._plain(node, ())
        except RecursionError:
            raise SpecError(f"{self._name}: is nested too deeply for a spec") from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            reason = ", ".join(part for part in (error.context, error.problem) if part)
            self._refuse(mark, f"invalid YAML: {reason}" if not isinstance(error, _Refused) else reason)
        except yaml.YAMLError as error:
            self._refuse(None, f"invalid YAML: {str(error).splitlines()[0]}")

    def _plain(self, node: yaml.Node, route: Route) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*route, str(index))) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, route)
        return self._scalar(node) if isinstance(node, yaml.ScalarNode) and node.style is None else node.value

    def _mapping(self, node: yaml.MappingNode, route: Route) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark, key = key_node.start_mark, key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or (key_node.style is None and key in _NULL):
                self._refuse(mark, "keys must be names")
            here = (*route, key)
            if key == "<<" and key_node.style is None:
                self._refuse(mark, "merge keys (<<) are not supported: write the fields out, or use `extends`")
            if key in mapping:
                self._refuse(mark, f"{'.'.join(here)} is written twice: remove one")
            self._places[here] = f"{self._name}:{mark.line + 1}"
            mapping[key] = self._plain(value_node, here)
        return mapping

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text: str = node.value
        if text in _NULL:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if _INTEGER.fullmatch(text):
            if len(text) > 1000:  # Python refuses integers of 4,300 digits
                self._refuse(node.start_mark, f"expected a number of at most 1,000 digits, found {len(text)} digits")
            return int(text)
        return float(text.replace(".", "", 1) if text[-1] in "fFnN" else text) if _NUMBER.fullmatch(text) else text

    def _refuse(self, mark: yaml.Mark | None, reason: str) -> NoReturn:
        line = f":{mark.line + 1}" if mark and self._numbered else ""
        raise SpecError(f"{self._name}{line}: {reason}") from None


class _Refused(yaml.MarkedYAMLError):
    """YAML syntax that specs do not allow."""

    def __init__(self, reason: str, mark: Any) -> None:
        super().__init__(None, None, reason, mark)


class _Loader(yaml.SafeLoader):
    """Loader that refuses aliases and tags."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(f"aliases (*{event.anchor}) are not supported: write the entry out", event.start_mark)
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise _Refused(f"tags ({tag.replace(_YAML, '!!')}) are not supported: remove it", event.start_mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Dumper that quotes text with another meaning in YAML 1.1 or 1.2, and writes innermost mappings in braces."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        innermost = not any(isinstance(entry, Mapping) for entry in mapping.values())
        return super().represent_mapping(tag, mapping, flow_style or innermost)

    @classmethod
    def flow(cls, value: Any) -> str:
        try:
            text = yaml.dump(value, Dumper=cls, default_flow_style=True, allow_unicode=True, width=10**6)
        except yaml.YAMLError:
            return repr(value)
        return " ".join(text.removesuffix("...\n").split())


_Dumper.add_implicit_resolver(f"{_YAML}float", re.compile(f"^(?:{_NUMBER.pattern})$"), list("-+.0123456789"))
