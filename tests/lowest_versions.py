"""Print the lowest versions that pyproject.toml allows of everything that users install, as constraints for pip.

    python tests/lowest_versions.py [NAME==VERSION ...]

Versions that are given replace the lowest ones. Tools of development are left out: `constraints.txt` pins them.
"""

from __future__ import annotations

import sys
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DEVELOPMENT = ("dev", "docs")
"""Extras that only developers of the library install."""


def lowest_versions() -> dict[str, str]:
    """The lowest version of each dependency by its name, from the metadata of the installed package."""
    versions = {}
    for requirement in map(Requirement, requires("gemnet_blocks") or ()):
        lowest = [one.version for one in requirement.specifier if one.operator == ">="]
        extra = str(requirement.marker or "")
        if lowest and not any(f'"{name}"' in extra for name in DEVELOPMENT):
            versions[canonicalize_name(requirement.name)] = lowest[0]
    return versions


if __name__ == "__main__":
    given = dict(one.split("==") for one in sys.argv[1:])
    for package, version in {**lowest_versions(), **given}.items():
        print(f"{package}=={version}")
