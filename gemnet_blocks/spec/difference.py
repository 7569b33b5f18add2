"""The fields in which two specs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gemnet_blocks.spec.document import Route
from gemnet_blocks.spec.schema import SpecFields
from gemnet_blocks.util.html import upper_layer

ABSENT = "–"
"""The value of a missing field."""


@dataclass(frozen=True, slots=True)
class Change:
    """A field of a spec that differs.

    Attributes:
        path: dotted path of the field.
        old: old value as in a spec file; – if the field is missing.
        new: new value as in a spec file; – if the field is missing.
    """

    path: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.path}: {self.old} → {self.new}"


@dataclass(frozen=True, slots=True, repr=False)
class SpecDifference:
    """The difference between two specs; its text has a line per field, and notebooks also draw it.

    Attributes:
        old: the first spec.
        new: the second spec.
        changes: the fields that differ, in the order of the specs; a whole section counts as one change.
    """

    old: SpecFields
    new: SpecFields
    changes: tuple[Change, ...]

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def __repr__(self) -> str:
        return "\n".join(map(str, self.changes)) or "no field differs"

    def _repr_html_(self) -> str:
        return upper_layer("plotting.notebook").html(self)


MISSING = object()
"""The value of an entry that only the other mapping contains."""


def value_at(data: Any, path: str) -> Any:
    """Return the value at a dotted path of nested mappings; `MISSING` if there is none."""
    for key in path.split("."):
        data = data.get(key, MISSING) if isinstance(data, Mapping) else MISSING
    return data


@dataclass(frozen=True, slots=True)
class Differing:
    """An entry in which two nested mappings differ.

    Attributes:
        path: dotted path of the entry.
        old: its value in the first mapping, or `MISSING`.
        new: its value in the second mapping, or `MISSING`.
    """

    path: str
    old: Any
    new: Any


def differing(old: Mapping[str, Any], new: Mapping[str, Any], route: Route = ()) -> Iterator[Differing]:
    """Yield the differences between nested mappings; an entry that only one of them contains is one difference."""
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key, MISSING), new.get(key, MISSING)
        here = (*route, str(key))
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differing(before, after, here)
        elif before != after:
            yield Differing(".".join(here), before, after)


def compare(old: SpecFields, new: SpecFields) -> list[Change]:
    """List the fields in which two specs differ, in the order of the specs; a whole section counts as one change."""
    return [Change(one.path, _flow(one.old), _flow(one.new)) for one in differing(old.to_dict(), new.to_dict())]


def _flow(value: Any) -> str:
    """Format a value on one line as in a spec file, without fields that are null."""
    if value is MISSING:
        return ABSENT
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        inner = (f"{key}: {_flow(entry)}" for key, entry in value.items() if entry is not None)
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value)
