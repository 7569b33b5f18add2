"""Generated pages: notebooks, recorded runs, and a reference page for each package."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from recorded import recorded
from sphinx.application import Sphinx
from sphinx.config import Config

PACKAGE = "gemnet_blocks"
TITLES = {
    "": "Structures, errors, options",
    "ablation": "Ablation studies",
    "aggregation": "Sums over neighbors, triplets and quadruplets",
    "basis": "Bases",
    "calculator": "ASE, TorchSim and relaxation",
    "checkpoints": "Published checkpoints",
    "data": "Data",
    "evaluation": "Evaluation",
    "geometry": "Geometry",
    "graph": "Topology",
    "interactions": "Interactions",
    "layers": "Layers",
    "model": "Models",
    "plotting": "Figures",
    "potential": "Potentials and model files",
    "published": "Published classes",
    "spec": "Specs",
    "spec.published": "Published arguments",
    "testing": "Testing",
    "testing.assertions": "Assertions",
    "testing.oracles": "Slow definitions",
    "testing.strategies": "Strategies",
    "testing.symmetries": "Symmetries",
    "training": "Training",
    "util": "Utilities",
}
SKIPPED = ("cli",)
"""Packages with another page."""


def gather(app: Sphinx, config: Config) -> None:
    """Write new and changed pages to the folder `generated`."""
    root, target = Path(app.srcdir).parent, Path(app.srcdir) / "generated"
    pages = dict(_notebooks(root)) | dict(recorded(root)) | dict(_packages(root / PACKAGE))
    for path in target.rglob("*.*"):
        if path.is_file() and str(path.relative_to(target)) not in pages:
            path.unlink()
    for name, content in pages.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")


def _notebooks(root: Path) -> Iterator[tuple[str, str]]:
    """Return all notebooks and their index."""
    names = []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        json.loads(text)  # an incomplete notebook is an error
        names.append(path.stem)
        yield f"notebooks/{path.name}", text
    listed = "\n".join(names)
    yield (
        "notebooks/index.md",
        f"""# Notebooks

The notebooks are in the folder `notebooks` of the repository, with their outputs; `make test-docs` runs them.

```{{toctree}}
:maxdepth: 1

{listed}
```
""",
    )


def _packages(folder: Path) -> Iterator[tuple[str, str]]:
    """Return a page for each package and their index."""
    packages: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        package, module = ".".join(parts[:-1]), parts[-1]
        if parts[0] not in SKIPPED and module not in ("__main__",):
            packages.setdefault(package, []).append(module)
    names = {package: package or PACKAGE for package in packages}
    for package, modules in packages.items():
        yield f"api/{names[package]}.rst", _package_page(package, modules, packages)
    listed = "\n".join(f"{TITLES.get(package, package)} <{name}>" for package, name in names.items())
    yield (
        "api/index.md",
        f"""# Python

All modules, classes and functions with their docstrings. Types include the shapes of arrays.

```{{toctree}}
:maxdepth: 1

{listed}
```
""",
    )


def _package_page(package: str, modules: list[str], packages: Mapping[str, object]) -> str:
    title = TITLES.get(package, package)
    whole = f"{PACKAGE}.{package}" if package else PACKAGE
    parts = [_heading(title, "="), f".. automodule:: {whole}\n   :no-members:\n"]
    for module in modules:
        if module == "__init__" or f"{package}.{module}".strip(".") in packages:
            continue
        name = f"{whole}.{module}"
        parts.append(_heading(re.sub("_", r"\\_", module), "-"))
        parts.append(f".. automodule:: {name}\n   :members:\n   :ignore-module-all:\n   :show-inheritance:\n")
    if "__init__" in modules and package.startswith("testing."):
        # members of the package itself
        parts[1] = f".. automodule:: {whole}\n   :members:\n   :ignore-module-all:\n"
    return "\n".join(parts)


def _heading(title: str, line: str) -> str:
    return f"{title}\n{line * max(len(title), 3)}\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", gather)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
