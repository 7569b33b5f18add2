"""The fields in which two specs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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


def compare(old: SpecFields, new: SpecFields) -> list[Change]:
    """List the fields in which two specs differ, in the order of the specs; a whole section counts as one change."""
    return list(_compared(old.to_dict(), new.to_dict(), ""))


def _compared(old: Any, new: Any, path: str) -> list[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in dict.fromkeys((*old, *new)):
            inner = f"{path}.{key}" if path else str(key)
            if key in old and key in new:
                found += _compared(old[key], new[key], inner)
            else:
                found.append(Change(inner, _shown(old, key), _shown(new, key)))
        return found
    return [] if old == new else [Change(path, _flow(old), _flow(new))]


def _shown(fields: Mapping[str, Any], key: str) -> str:
    return _flow(fields[key]) if key in fields else ABSENT


def _flow(value: Any) -> str:
    """Format a value on one line as in a spec file, without fields that are null."""
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
