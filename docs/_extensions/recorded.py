"""Pages of recorded runs: the reports that programs wrote, with links adapted to the site."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = "records"
SOURCES = {
    "accuracy": ("Accuracy on real data", "benchmarks/accuracy/RESULTS.md"),
    "accuracy-how": ("How accuracy is measured", "benchmarks/accuracy/README.md"),
    "ablation": ("Ablations", "benchmarks/ablation/README.md"),
    "interactions": ("Combinations of interactions", "benchmarks/ablation/interactions/README.md"),
    "warm": ("Cold against warm", "benchmarks/ablation/warm/README.md"),
    "messages": ("Kinds of messages", "benchmarks/ablation/messages/README.md"),
    "gpu": ("Measurements on a GPU", "benchmarks/GPU.md"),
    "benchmarks-how": ("How times and memory are measured", "benchmarks/README.md"),
}
"""Title and file of each page. Missing files have no page."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def recorded(root: Path) -> Iterator[tuple[str, str]]:
    """Return all pages and their index."""
    there = {name: root / file for name, (_, file) in SOURCES.items() if (root / file).is_file()}
    names = {path.resolve(): name for name, path in there.items()}
    for name, path in there.items():
        yield f"{FOLDER}/{name}.md", linked(path, names, root / "docs" / "generated" / FOLDER)
    listed = "\n".join(f"{SOURCES[name][0]} <{name}>" for name in there)
    yield (
        f"{FOLDER}/index.md",
        f"""# Recorded runs

Results on real data, written by the programs in the folder `benchmarks`. [Benchmarks](../../benchmarks.md) has the
times of predictions and training steps.

```{{toctree}}
:maxdepth: 1

{listed}
```
""",
    )


def linked(path: Path, names: dict[Path, str], folder: Path) -> str:
    """Read a file and adapt its links to a page in another folder.

    Args:
        path: the file.
        names: the pages of files on the site.
        folder: the folder of the page.
    """

    def link(found: re.Match[str]) -> str:
        picture, text, address, anchor = found[1], found[2], found[3], found[4] or ""
        if re.match(r"\w+:", address):
            return found[0]
        target = (path.parent / address).resolve()
        if target in names:
            return f"[{text}]({names[target]}.md{anchor})"
        if target.is_file() and target.suffix != ".md":
            return f"{picture}[{text}]({os.path.relpath(target, folder.resolve())})"
        return text if text.startswith("`") else f"`{text}`"

    return LINK.sub(link, path.read_text(encoding="utf-8"))
