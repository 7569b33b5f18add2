"""Reference pages of Python: one per package, with the names that it exports first."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from textwrap import indent
from types import ModuleType
from typing import Any

from docstrings import to_rst
from sphinx.pycode import ModuleAnalyzer

PACKAGE = "gemnet_blocks"
CONCEPTS: Mapping[str, Mapping[str, str]] = {
    "Structures and models": {
        "": "Structures, predictions, errors",
        "spec": "Specs: read, change and build architectures",
        "model": "Models: predictions, embeddings, costs",
        "plotting": "Drawings",
    },
    "Layers": {
        "graph": "Graphs: edges, triplets, quadruplets",
        "basis": "Bases of distances and angles",
        "interactions": "Interactions",
        "layers": "Dense layers, projections, scale factors",
        "geometry": "Distances, directions and angles",
        "aggregation": "Sums over neighbors, triplets and quadruplets",
    },
    "Training and simulation": {
        "data": "Data: read, check, split, batch",
        "training": "Training",
        "evaluation": "Evaluation",
        "potential": "Potentials and model files",
        "calculator": "ASE, TorchSim and relaxation",
    },
    "Research": {
        "ablation": "Ablation studies",
        "testing": "Tests of your own layers and models",
        "testing.assertions": "Assertions",
        "testing.strategies": "Random structures",
        "testing.oracles": "Slow definitions",
    },
    "Published models": {
        "published": "Published classes",
        "checkpoints": "Published checkpoints",
        "spec.published": "Published arguments",
    },
}
"""The titles of packages by concept, in the order of the index. Others are listed as internal."""

INTERNAL = "Internal"
SKIPPED = ("cli",)
"""Packages with another page."""

HIDDEN = ("model_config", "model_post_init", "extra_repr")
"""Members of classes that belong to their base classes."""

INDEX = """# Python

Every page begins with an example and the names to import; the modules behind them follow for those who change the
library. Types include the shapes of arrays.
"""

MODULES = """The modules of this package contain everything else, for readers of its code. Import the names above from
the package, not from its modules.
"""


def python_pages(folder: Path) -> Iterator[tuple[str, str]]:
    """Return a page for each package and their index.

    Args:
        folder: the folder of the package `gemnet_blocks`.
    """
    packages = packages_in(folder)
    for package, modules in packages.items():
        yield f"api/{package or PACKAGE}.rst", package_page(package, modules, packages)
    known = {package for titles in CONCEPTS.values() for package in titles}
    internal = {package: package for package in packages if package not in known}
    parts = [INDEX]
    for concept, titles in {**CONCEPTS, INTERNAL: internal}.items():
        lines = [f"{text} <{package or PACKAGE}>" for package, text in titles.items() if package in packages]
        parts.append("\n".join([f"## {concept}", "", "```{toctree}", ":maxdepth: 1", "", *lines, "```", ""]))
    yield "api/index.md", "\n".join(parts)


def packages_in(folder: Path) -> dict[str, list[str]]:
    """Return the modules of each package, by the dotted names of both within the library."""
    packages: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        *parents, module = path.relative_to(folder).with_suffix("").parts
        if module != "__main__" and not set(parents[:1]) & set(SKIPPED):
            packages.setdefault(".".join(parents), []).append(module)
    return packages


def package_page(package: str, modules: list[str], packages: Mapping[str, object]) -> str:
    """Return the page of a package: its docstring, the exported names, then its modules."""
    whole = f"{PACKAGE}.{package}" if package else PACKAGE
    titles = {name: text for of_concept in CONCEPTS.values() for name, text in of_concept.items()}
    parts = [heading(titles.get(package, package), "="), f".. automodule:: {whole}\n   :no-members:\n"]
    names = exported(import_module(whole))
    if names:
        parts += [heading("Names to import", "-"), *(summary(name, value) for name, value in names.items()), ""]
        parts += [documented(f"{whole}.{name}", value) for name, value in names.items()]
    inside = [one for one in modules if one != "__init__" and f"{package}.{one}".strip(".") not in packages]
    if names and inside:
        parts += [heading("Modules", "-"), MODULES]
    for module in inside:
        above = (one.__name__ for one in names.values() if getattr(one, "__module__", "") == f"{whole}.{module}")
        hidden = ", ".join((*HIDDEN, *above))
        parts.append(heading(module.replace("_", r"\_"), "~" if names else "-"))
        options = f"   :members:\n   :ignore-module-all:\n   :show-inheritance:\n   :exclude-members: {hidden}\n"
        if module in names:  # a name has one target, which is what users import
            options += "   :no-index:\n"
        parts.append(f".. automodule:: {whole}.{module}\n{options}")
    return "\n".join(parts)


def exported(package: ModuleType) -> dict[str, Any]:
    """Return what a package exports, except modules and versions."""
    found = {name: getattr(package, name) for name in getattr(package, "__all__", ()) if not name.startswith("_")}
    return {name: value for name, value in found.items() if not inspect.ismodule(value)}


def summary(name: str, value: Any) -> str:
    """Return a line with a name and the first sentence of its docstring."""
    text = inspect.getdoc(value) if inspect.isclass(value) or inspect.isroutine(value) else None
    paragraph = " ".join((text or "").partition("\n\n")[0].split())
    sentence = paragraph.partition(". ")[0].rstrip(".:")
    return f"- `{name}`" + (f": {to_rst([sentence])[0]}" if sentence else "")


def documented(address: str, value: Any) -> str:
    """Return the directive that documents an exported name."""
    if inspect.isclass(value):
        return f".. autoclass:: {address}\n   :members:\n   :show-inheritance:\n"
    if inspect.isroutine(value):
        return f".. autofunction:: {address}\n"
    text = indent("\n".join(to_rst(comment_on(address, value))), "   ")
    return f".. py:data:: {address}\n\n{text}\n"


def comment_on(address: str, value: Any) -> list[str]:
    """Return the docstring below a constant that a package exports, from the module that defines it."""
    name = address.rpartition(".")[2]
    own = [module for key, module in sys.modules.items() if key.startswith(f"{PACKAGE}.")]
    for module in own:
        if getattr(module, name, None) is value:
            comments = ModuleAnalyzer.for_module(module.__name__).find_attr_docs()
            if ("", name) in comments:
                return comments["", name]
    raise ValueError(f"{address}: expected a docstring below its definition, found none")


def heading(title: str, line: str) -> str:
    """Return a heading with its underline."""
    return f"{title}\n{line * max(len(title), 3)}\n"
