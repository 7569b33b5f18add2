"""The information that worker processes need, passed as import paths of classes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemnet_blocks.ablation.learner import Learner
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Work:
    """The information that a worker needs besides the folder of a run.

    Attributes:
        learner: class of the learner.
        settings: class and fields of the learner as plain data.
        parts: custom components by name.
        allow_imports: whether specs may import types such as `my_lab.blocks:GatedTriplet`.
    """

    learner: type
    settings: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, type] = field(default_factory=dict)
    allow_imports: bool = False

    @classmethod
    def of(cls, learner: Learner, catalog: Catalog) -> Work:
        """Collect the information for a learner and the catalog of its specs."""
        return cls(type(learner), learner.settings(), catalog.extra, catalog.allow_imports)

    def catalog(self) -> Catalog:
        """Return the catalog of components that specs may name."""
        return Catalog(self.parts, self.allow_imports)

    def arguments(self, folder: Path, token: str) -> list[str]:
        """Return the command-line arguments of a worker process.

        Raises:
            SpecError: another process cannot import one of the classes.
        """
        parts = [f"--part={name}={place(part)}" for name, part in self.parts.items()]
        imports = ["--allow-imports"] if self.allow_imports else []
        return [str(folder.resolve()), f"--learner={place(self.learner)}", f"--token={token}", *parts, *imports]


def place(imported_class: type) -> str:
    """Return `module:Class`, the import path of a class.

    Raises:
        SpecError: another process cannot import the class.
    """
    name = imported_class.__qualname__
    if imported_class.__module__ == "__main__" or "<locals>" in name:
        raise SpecError(
            f"worker processes must be able to import {name}, which is defined in a script, notebook or function: move "
            'it to a module, or run the study in this process with executor="here"'
        )
    return f"{imported_class.__module__}:{name}"


def imported(place: str) -> Any:
    """Import the object at `module:Class`."""
    module, _, name = place.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def module_paths() -> list[str]:
    """Return the module search path of this process with absolute paths."""
    return [path or os.getcwd() for path in sys.path]
