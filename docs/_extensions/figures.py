"""Descriptions of the figures that cells draw, and classes of figures for dark pages."""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx


def prepare(app: Sphinx, document: nodes.document) -> None:
    """Describe figures without an alternative text by the last line of their cell, and mark those on white."""
    for cell in document.findall(nodes.container):
        if cell.get("nb_element") != "cell_code":
            continue
        sources = [block.astext().strip() for block in cell.findall(nodes.literal_block)]
        last = sources[0].splitlines()[-1].strip() if sources and sources[0] else "a hidden cell"
        for image in cell.findall(nodes.image):
            image.setdefault("alt", f"drawn by {last}")
    for image in document.findall(nodes.image):
        if is_on_white(Path(app.srcdir, image["uri"])):
            image["classes"].append("on-white")


def is_on_white(path: Path) -> bool:
    """Return whether an image does not follow the color scheme by itself, as drawings of architectures do."""
    return path.is_file() and b"prefers-color-scheme" not in path.read_bytes()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-read", prepare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
