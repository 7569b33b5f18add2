"""The specs, studies and training configs that the library ships, and their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal

ShippedKind = Literal["a spec", "a study", "a training config"]

FOLDERS: Mapping[str, ShippedKind] = {
    "recipes": "a training config",
    "studies": "a study",
    "training": "a training config",
}
"""Folders of shipped files that are not specs."""

_MODELINE = "# yaml-language-server:"
"""The beginning of a comment that tells editors where the schema of a file is."""


def shipped_folder() -> Path:
    """The folder of the files that the library ships: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "paper_configs"
    return installed if installed.is_dir() else package.parent / "paper_configs"


def shipped_names(kind: ShippedKind, pattern: str = "*") -> list[str]:
    """List the names of all shipped files of a kind: paths in their folder without `.yaml`.

    Args:
        kind: the kind.
        pattern: a wildcard pattern that the names match, such as `gemnet-*` or `bridge/*`.
    """
    return [name for name, found in _kinds().items() if found == kind and fnmatchcase(name, pattern)]


def shipped_file(name: str) -> Path | None:
    """The shipped file of a name, of whichever kind; None if the library ships none of this name."""
    return shipped_folder() / f"{name}.yaml" if name in _kinds() else None


def described(name: str) -> str:
    """The first sentence of the comment at the top of a shipped file."""
    lines = (shipped_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        if not line.startswith(_MODELINE):
            comment.append(line.removeprefix("#").strip())
    return re.split(r"(?<=[.?]) (?=[A-Z0-9`])", " ".join(comment), maxsplit=1)[0].removesuffix(".")


@cache
def _kinds() -> Mapping[str, ShippedKind]:
    folder = shipped_folder()
    names = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
    return {name: FOLDERS.get(name.partition("/")[0], "a spec") if "/" in name else "a spec" for name in names}
