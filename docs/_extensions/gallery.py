"""The gallery of notebooks: their order and descriptions from `notebooks.yaml`, their pictures from tagged cells."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

PICTURE = "thumbnail"
"""The tag of the cell that draws the picture of a notebook."""

HEAD = """# Notebooks

In the order in which they build on each other. Building this site executes them; each takes about a minute or less on
one core. The files are in the folder `notebooks` of the repository, and `pip install '.[notebook,testing]'` installs
what they need.

"""


def notebooks(root: Path) -> Iterator[tuple[str, str | bytes]]:
    """Return all notebooks, their pictures, and the gallery."""
    paths = {path.stem: path for path in sorted((root / "notebooks").glob("*.ipynb"))}
    described: dict[str, str] = yaml.safe_load((root / "docs" / "notebooks.yaml").read_text(encoding="utf-8"))
    if set(paths) != set(described):
        raise ValueError(f"notebooks.yaml and the folder notebooks differ in {sorted(set(paths) ^ set(described))}")
    cards = []
    for name, text in described.items():
        content = paths[name].read_text(encoding="utf-8")
        notebook = json.loads(content)
        ending, picture = thumbnail(notebook, name)
        yield f"notebooks/{name}.ipynb", content
        yield f"notebooks/pictures/{name}.{ending}", picture
        shape = "tall" if is_tall(picture) else "wide"
        cards.append(card(name, title(notebook), f"pictures/{name}.{ending}", text, shape))
    tree = "\n".join(["```{toctree}", ":hidden:", "", *described, "```", ""])
    yield "notebooks/index.md", HEAD + "::::{container} gallery\n" + "\n".join(cards) + "::::\n\n" + tree


def card(name: str, heading: str, picture: str, text: str, shape: str) -> str:
    """Return the entry of a notebook: its picture, title and description."""
    return f"""
:::{{container}} card {shape}
[![{heading}]({picture})]({name}.ipynb)

[**{heading}**]({name}.ipynb)

{text}
:::
"""


def is_tall(picture: bytes) -> bool:
    """Return whether a PNG or SVG image is taller than a card, which then shows its upper part."""
    if picture.startswith(b"\x89PNG"):
        width, height = (int.from_bytes(picture[start : start + 4], "big") for start in (16, 20))
    else:
        found = re.search(rb'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', picture)
        width, height = (float(found[1]), float(found[2])) if found else (1.0, 0.0)
    return height > 0.8 * width


def title(notebook: Mapping[str, Any]) -> str:
    """Return the heading of a notebook."""
    return "".join(notebook["cells"][0]["source"]).splitlines()[0].removeprefix("# ")


def thumbnail(notebook: Mapping[str, Any], name: str) -> tuple[str, bytes]:
    """Return the format and content of the first image of the tagged cell.

    Raises:
        ValueError: no cell has the tag, or its outputs contain no image.
    """
    for cell in notebook["cells"]:
        if PICTURE in cell["metadata"].get("tags", ()):
            for output in cell["outputs"]:
                data = output.get("data", {})
                if "image/png" in data:
                    return "png", base64.b64decode("".join(data["image/png"]))
                if "image/svg+xml" in data:
                    return "svg", "".join(data["image/svg+xml"]).encode()
    raise ValueError(f"notebooks/{name}.ipynb: tag a cell with {PICTURE!r} and save the notebook with its image")
