"""Where spec files are: paths, and the names of the specs that the library ships."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.catalog import near
from gemnet_blocks.spec.document import absent

if TYPE_CHECKING:
    from os import PathLike


def shipped_folder() -> Path:
    """The folder of the specs that the library ships: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "paper_configs"
    return installed if installed.is_dir() else package.parent / "paper_configs"


_OTHER_FILES = ("studies/", "training/")
"""Folders of shipped studies and training configs."""


def list_specs(pattern: str = "*") -> list[str]:
    """List the names of the specs that the library ships, all of which `load_spec` and `extends` take.

    Args:
        pattern: a wildcard pattern that the names match, such as `gemnet-*` or `bridge/*`.
    """
    folder = shipped_folder()
    names = (path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
    return sorted(name for name in names if fnmatchcase(name, pattern) and not name.startswith(_OTHER_FILES))


def is_shipped(name: str) -> bool:
    """Whether the library ships a spec of this name."""
    return name in list_specs()


def find_spec(path: str | PathLike[str], folder: Path = Path()) -> Path:
    """The file at a path relative to a folder; if there is none, the spec that the library ships under this name."""
    file = folder / path
    return shipped_folder() / f"{path}.yaml" if not file.is_file() and is_shipped(str(path)) else file


def existing_spec(path: str, folder: Path, place: str) -> Path:
    """Find the spec file that another file names.

    Args:
        path: relative to `folder`, or the name of a spec that the library ships.
        folder: the folder of the file that names it.
        place: the entry that names it, for the message.

    Raises:
        SpecError: the file does not exist; suggests a similar name.
    """
    found = find_spec(path, folder)
    if found.is_file():
        return found
    if found.is_dir():
        raise SpecError(f"{place}: {found} is a directory")
    raise SpecError(f"{place}: {found} {absent(found) if found.is_symlink() else 'does not exist'}{near_file(found)}")


def near_file(path: Path) -> str:
    """Suggest the file in the same folder, or the shipped spec, that a missing path may mean; nothing for links."""
    if path.is_symlink():
        return ""
    names = [file.name for file in path.parent.glob("*") if file.suffix in (".yaml", ".yml") and file != path]
    return near(path.name, names if path.suffix else [*names, *list_specs()])
