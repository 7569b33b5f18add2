"""What workers need, and how they are told of it: places of classes, which another process can import."""

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
    """What a worker needs besides the folder of a run.

    Attributes:
        learner: the class of the learner.
        settings: of the learner, as they are written down.
        parts: the user's own parts by name.
        allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported.
    """

    learner: type
    settings: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, type] = field(default_factory=dict)
    allow_imports: bool = False

    @classmethod
    def of(cls, learner: Learner, catalog: Catalog) -> Work:
        """What runs of a learner need, with specs of a catalog."""
        return cls(type(learner), learner.settings(), catalog.extra, catalog.allow_imports)

    def catalog(self) -> Catalog:
        """The parts that specs may name."""
        return Catalog(self.parts, self.allow_imports)

    def arguments(self, folder: Path, token: str) -> list[str]:
        """The arguments of a worker process.

        Raises:
            SpecError: a class cannot be imported by another process.
        """
        parts = [f"--part={name}={place(one)}" for name, one in self.parts.items()]
        imports = ["--allow-imports"] if self.allow_imports else []
        return [str(folder.resolve()), f"--learner={place(self.learner)}", f"--token={token}", *parts, *imports]


def place(one: type) -> str:
    """`module:Class` of a class that another process can import.

    Raises:
        SpecError: it cannot.
    """
    if one.__module__ == "__main__" or "<locals>" in one.__qualname__:
        raise SpecError(
            f"{one.__qualname__} is defined where other processes cannot import it from: put it into a module, "
            'or run the study in this process with executor="here"'
        )
    return f"{one.__module__}:{one.__qualname__}"


def imported(place: str) -> Any:
    """What `module:Class` names."""
    module, _, name = place.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def module_paths() -> list[str]:
    """Where this process looks for modules."""
    return [path or os.getcwd() for path in sys.path]
