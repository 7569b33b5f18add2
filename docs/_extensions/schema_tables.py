"""The directive `schema`: all fields of a file format, from the classes that read it.

    ```{schema} gemnet_blocks.spec.resolve:Spec
    :since: since.yaml
    ```

Each field has its type, bounds, default, unit, the version that introduced it, and its description, which names the
unit.
"""

from __future__ import annotations

import importlib
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from docutils import nodes
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from gemnet_blocks.interactions.bases import OptionsOf
from gemnet_blocks.spec.catalog import BUILT_IN
from gemnet_blocks.spec.document import shown
from gemnet_blocks.spec.part import PartOf, part_of

FIRST = "0.1.0"
"""The version of all fields that `since.yaml` does not list."""

WORDS = {int: "integer", float: "number", bool: "true or false", str: "text", type(None): "null", Any: "anything"}
BOUNDS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}


def unit_of(annotation: Any, description: str) -> str | None:
    """Find the unit of a number in its description; None if the field is not a number or has several units."""
    found = set(re.findall(r"\bin (eV/Å³|eV/Å|eV|Å²|Å|bytes)(?!\w)", description))
    return found.pop() if len(found) == 1 and has_numbers(annotation) else None


def has_numbers(annotation: Any) -> bool:
    """Return whether a type contains numbers."""
    return annotation in (int, float) or any(has_numbers(one) for one in get_args(annotation))


def load(address: str) -> type[BaseModel]:
    """Return the class at `module:name`."""
    module, name = address.split(":")
    return getattr(importlib.import_module(module), name)


@dataclass
class Formats:
    """Descriptions of types, and the classes to document that they refer to."""

    prefix: str
    queue: list[tuple[str, type[BaseModel], str]] = field(default_factory=list)
    seen: dict[type, str] = field(default_factory=dict)
    elsewhere: dict[type, str] = field(default_factory=dict)

    def link(self, owner: type[BaseModel], title: str) -> nodes.Node:
        """Link to the section of a class, and queue the class if it is new and has no page elsewhere."""
        if owner in self.elsewhere:
            page = self.elsewhere[owner]
            return nodes.reference("", page, internal=True, refuri=f"{page}.html")
        if owner not in self.seen:
            name = f"{self.prefix}-{nodes.make_id(title)}"
            if name in self.seen.values():  # a mapping or list of the same field
                name = f"{name}-each"
            self.seen[owner] = name
            self.queue.append((title, owner, name))
        return nodes.reference("", f"{title} below", internal=True, refid=self.seen[owner])

    def words(self, annotation: Any, metadata: tuple[Any, ...], path: str) -> Iterator[nodes.Node]:
        """Describe a type."""
        for entry in metadata:
            if isinstance(entry, PartOf | OptionsOf):
                yield from self._parts(entry.kind if isinstance(entry, PartOf) else part_of(entry.base).kind)
                return
        origin = get_origin(annotation)
        if origin is Annotated:
            inner, *more = get_args(annotation)
            yield from self.words(inner, tuple(more) + metadata, path)
        elif origin in (Union, types.UnionType):
            yield from self._union(get_args(annotation), metadata, path)
        elif origin is Literal:
            for number, value in enumerate(get_args(annotation)):
                yield nodes.Text(", " if number else "")
                yield nodes.literal("", str(value))
        elif origin in (tuple, list):
            yield nodes.Text("list of: ")
            yield from self.words(get_args(annotation)[0], (), f"{path}.*")
        elif origin in (dict, Mapping) or getattr(origin, "__name__", "") == "Mapping":
            yield nodes.Text("mapping of names to: ")
            yield from self.words(get_args(annotation)[1], (), f"{path}.*")
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield self.link(annotation, path)
        else:
            yield nodes.Text(WORDS.get(annotation, str(annotation)) + bounds(metadata))

    def _union(self, members: tuple[Any, ...], metadata: tuple[Any, ...], path: str) -> Iterator[nodes.Node]:
        models = [one for one in members if isinstance(one, type) and issubclass(one, BaseModel)]
        for number, member in enumerate(members):
            yield nodes.Text(" or " if number else "")
            if member in models and len(models) > 1:
                (kind,) = get_args(member.model_fields["type"].annotation)
                yield self.link(member, f"{path}: {kind}")
            else:
                yield from self.words(member, metadata if member is not type(None) else (), path)

    def _parts(self, kind: str) -> Iterator[nodes.Node]:
        yield nodes.Text(f"{kind}, chosen by ")
        yield nodes.literal("", "type")
        yield nodes.Text(": ")
        for name, part in BUILT_IN[kind].items():
            yield self.link(part.Options, f"{kind}: {name}")
            yield nodes.Text(", ")
        yield nodes.Text("or custom")


def bounds(metadata: tuple[Any, ...]) -> str:
    """Describe the bounds of a number or list."""
    found = []
    for entry in metadata:
        for one in getattr(entry, "metadata", [entry]):
            found += [
                f"{sign} {getattr(one, name):g}" for kind, (sign, name) in BOUNDS.items() if isinstance(one, kind)
            ]
            if isinstance(one, MinLen) and one.min_length > 1:
                found.append(f"at least {one.min_length} entries")
            if isinstance(one, MaxLen):
                found.append(f"at most {one.max_length} entries")
    # bounds with exponents, such as 64 bits, do not help readers
    shown = [one for one in dict.fromkeys(found) if "e+" not in one]
    return f" {', '.join(shown)}" if shown else ""


def text_nodes(text: str) -> list[nodes.Node]:
    """Convert text with `code`."""
    pieces = re.split(r"`([^`]+)`", " ".join(text.split()))
    return [nodes.literal("", one) if odd % 2 else nodes.Text(one) for odd, one in enumerate(pieces)]


class Schema(SphinxDirective):
    """The reference of a file format."""

    required_arguments = 1
    option_spec: ClassVar = {"since": str, "prefix": str, "links": str}

    def run(self) -> list[nodes.Node]:
        """Return one section per class."""
        owner = load(self.arguments[0])
        formats = Formats(self.options.get("prefix", nodes.make_id(owner.__name__)))
        self.since = self._since()
        for entry in self.options.get("links", "").split():
            address, page = entry.split("=")
            formats.elsewhere[load(address)] = page
        formats.link(owner, "the file")
        sections = []
        while formats.queue:
            title, one, name = formats.queue.pop(0)
            sections.append(self._section(title, one, name, formats))
        return sections

    def _since(self) -> dict[str, str]:
        path = Path(self.env.srcdir) / self.options.get("since", "since.yaml")
        self.env.note_dependency(str(path))
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}

    def _section(self, title: str, owner: type[BaseModel], name: str, formats: Formats) -> nodes.section:
        section = nodes.section(
            "", nodes.title("", title[0].upper() + title[1:] if " " in title else title), ids=[name]
        )
        description = (owner.__doc__ or "").strip().split("\n\n")[0]
        section += nodes.paragraph("", "", *text_nodes(description))
        listed = nodes.definition_list(classes=["fields"])
        for field_name, info in owner.model_fields.items():
            listed += self._field(owner, field_name, info, title, name, formats)
        if owner.model_config.get("extra") == "allow":
            listed += self._further(owner, title, formats)
        section += listed
        self.state.document.note_explicit_target(section)
        return section

    def _field(
        self, owner: type[BaseModel], name: str, info: FieldInfo, title: str, section: str, formats: Formats
    ) -> nodes.definition_list_item:
        path = name if title == "the file" else f"{title}.{name}"
        facts: list[nodes.Node] = [*formats.words(info.annotation, tuple(info.metadata), path)]
        facts += [nodes.Text(" · "), *self._default(info)]
        unit = unit_of(info.annotation, info.description or "")
        if unit:
            facts.append(nodes.Text(f" · unit {unit}"))
        # the class may inherit the field
        versions = (self.since.get(f"{one.__name__}.{name}") for one in owner.__mro__)
        facts.append(nodes.Text(f" · since {next(filter(None, versions), FIRST)}"))
        target = f"{section}-{nodes.make_id(name)}"
        term = nodes.term("", "", nodes.literal("", name, classes=["field-name"]), ids=[target])
        body = nodes.definition("", nodes.paragraph("", "", *facts, classes=["field-facts"]))
        body += nodes.paragraph("", "", *text_nodes(info.description or ""))
        return nodes.definition_list_item("", term, body)

    def _further(self, owner: type[BaseModel], title: str, formats: Formats) -> nodes.definition_list_item:
        """Describe the entries of any other name."""
        # annotations of pydantic's own attributes cannot be evaluated here
        annotations = (vars(one).get("__annotations__", {}) for one in owner.__mro__)
        entries = {"entries": next(one["__pydantic_extra__"] for one in annotations if "__pydantic_extra__" in one)}
        alone = type("Entries", (), {"__annotations__": entries, "__module__": owner.__module__})
        annotation = get_args(get_type_hints(alone, include_extras=True)["entries"])[1]
        path = "*" if title == "the file" else f"{title}.*"
        facts = [*formats.words(annotation, (), path), nodes.Text(" · optional")]
        described = (owner.__doc__ or "").strip().split("\n\n")[-1]
        body = nodes.definition("", nodes.paragraph("", "", *facts, classes=["field-facts"]))
        body += nodes.paragraph("", "", *text_nodes(described))
        return nodes.definition_list_item("", nodes.term("", "", nodes.emphasis("", "any other name")), body)

    def _default(self, info: FieldInfo) -> list[nodes.Node]:
        if info.is_required():
            return [nodes.strong("", "required")]
        value = info.get_default(call_default_factory=True)
        if isinstance(value, BaseModel):
            if not value.model_dump(exclude_unset=True):
                return [nodes.Text("default: as below")]
            value = value.model_dump(mode="json")
        plain = list(value) if isinstance(value, tuple) else value
        return [nodes.Text("default "), nodes.literal("", shown(plain))]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("schema", Schema)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
