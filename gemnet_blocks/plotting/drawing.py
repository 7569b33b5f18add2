"""Draw an architecture, or what one spec changes in another, from specs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from gemnet_blocks.plotting.architecture import Architecture, read_architecture
from gemnet_blocks.plotting.canvas import Canvas
from gemnet_blocks.plotting.diagram import Content, lay_out
from gemnet_blocks.plotting.difference import Difference, compare, difference
from gemnet_blocks.plotting.picture import Format, Picture
from gemnet_blocks.plotting.svg import svg_text
from gemnet_blocks.plotting.text import clean
from gemnet_blocks.spec.schema import Spec

HASH_DIGITS = 12
CHANGES_AT_MOST = 60
"""How many changed fields are listed; the others are counted."""


@final
class DrawnArchitecture(Picture):
    """An architecture as shapes.

    Args:
        canvas: the shapes.
        changes: the fields that differ from the spec that it was drawn against.
    """

    def __init__(self, canvas: Canvas, changes: tuple[str, ...] = ()) -> None:
        self.canvas = canvas
        self.changes = changes

    @property
    def svg(self) -> str:
        """The content of an SVG file."""
        return svg_text(self.canvas)

    def content(self, format: Format) -> bytes:
        """The content of a file of that format."""
        if format == "svg":
            return self.svg.encode()
        from gemnet_blocks.plotting.painting import painted

        return painted(self.canvas).content(format)

    def _repr_svg_(self) -> str:
        return self.svg


def draw_architecture(
    spec: Spec,
    against: Spec | None = None,
    *,
    title: str | None = None,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
) -> DrawnArchitecture:
    """Draw what reads what in the model of a spec, from structures at the top to energies and forces at the bottom.

    Args:
        spec: the architecture.
        against: another one; what this spec removes, adds and changes in it is marked.
        title: the line above; None: a general one.
        extra: your own parts by the name that `type` gives them.
        allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported; only for specs that you trust.

    Raises:
        SpecError: a model cannot be built.
    """
    new = read_architecture(spec, extra, allow_imports)
    if against is None:
        return DrawnArchitecture(lay_out(_one(new, clean(title or "Architecture"))))
    old = read_architecture(against, extra, allow_imports)
    found = difference(old, new, compare(against, spec))
    canvas = lay_out(_two(old, new, found, clean(title or "Difference of two architectures")))
    return DrawnArchitecture(canvas, tuple(map(str, found.changes)))


def _headings(architecture: Architecture) -> dict[str, str]:
    sections = dict.fromkeys(node.section for node in architecture.nodes)
    headings: dict[str, str] = {section: section for section in sections if section != "input"}
    if "shared projections" in headings:
        headings["shared projections"] = "shared projections, computed once"
    headings["block"] = f"block × {architecture.blocks}" + (
        ": all messages are added up" if architecture.blocks else ""
    )
    return headings


def _one(architecture: Architecture, title: str) -> Content:
    introduction = (
        f"{architecture.parameters:,} parameters · architecture {architecture.content_hash[:HASH_DIGITS]}",
        "Each part reads the wires with an arrow to it. On its right: its parameters.",
    )
    return Content(title, introduction, architecture.nodes, _headings(architecture), {}, {})


def _two(old: Architecture, new: Architecture, found: Difference, title: str) -> Content:
    same = old.content_hash == new.content_hash
    introduction = (
        f"parameters: {old.parameters:,} → {new.parameters:,}",
        f"architecture: {old.content_hash[:HASH_DIGITS]} → " + ("the same" if same else new.content_hash[:HASH_DIGITS]),
    )
    changed = old.blocks != new.blocks
    headings = {**_headings(old), **_headings(new)}
    listed = tuple(clean(change) for change in found.changes[:CHANGES_AT_MOST])
    if len(found.changes) > len(listed):
        listed = (*listed, f"and {len(found.changes) - len(listed)} more")
    return Content(
        title,
        introduction,
        found.nodes,
        headings | ({"block": f"block × {old.blocks} → {new.blocks}"} if changed else {}),
        found.marks,
        _notes(found),
        "changed" if changed else None,
        ("changed fields of the spec", *(listed or ("none",))),
    )


def _notes(found: Difference) -> dict[str, str]:
    """What the changed parts were before."""
    notes = {}
    for node in found.nodes:
        mark, before = found.marks.get(node.key), found.before.get(node.key)
        if before is None:
            continue
        said = [before.title] if before.title != node.title else []
        said += [detail for detail in before.details if detail and detail not in node.details]
        said = [f"before: {' · '.join(said)}"] if said else []
        if before.parameters != node.parameters and mark != "removed":
            said.append(f"{before.parameters:,} → {node.parameters:,} parameters")
        if said:
            notes[node.key] = "; ".join(said)
    return notes
