"""Default descriptions of the figures that cells draw."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx


def describe(app: Sphinx, document: nodes.document) -> None:
    """Describe figures without an alternative text by the last line of their cell."""
    for cell in document.findall(nodes.container):
        if cell.get("nb_element") != "cell_code":
            continue
        sources = [block.astext().strip() for block in cell.findall(nodes.literal_block)]
        last = sources[0].splitlines()[-1].strip() if sources and sources[0] else "a hidden cell"
        for image in cell.findall(nodes.image):
            image.setdefault("alt", f"drawn by {last}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-read", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
