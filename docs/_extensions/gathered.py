"""Generated pages and figures: notebooks, recorded runs, and a reference page for each package."""

from __future__ import annotations

from pathlib import Path

from gallery import notebooks
from landing import figures
from python_pages import PACKAGE, python_pages
from recorded import recorded
from sphinx.application import Sphinx
from sphinx.config import Config


def gather(app: Sphinx, config: Config) -> None:
    """Write new and changed pages to the folder `generated`."""
    root, target = Path(app.srcdir).parent, Path(app.srcdir) / "generated"
    pages: dict[str, str | bytes] = {**dict(notebooks(root)), **dict(figures(root)), **dict(recorded(root))}
    pages.update(python_pages(root / PACKAGE))
    for path in target.rglob("*.*"):
        if path.is_file() and str(path.relative_to(target)) not in pages:
            path.unlink()
    for name, content in pages.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written = content if isinstance(content, bytes) else content.encode()
        if not path.exists() or path.read_bytes() != written:
            path.write_bytes(written)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", gather)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
