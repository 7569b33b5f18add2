"""Completion of arguments in shells, which imports nothing but the names of the shipped files."""

from __future__ import annotations

from collections.abc import Iterator
from glob import escape, glob
from os.path import isdir

from gemnet_blocks.util.shipped import ShippedKind, described, shipped_names


def spec_names(incomplete: str) -> list[tuple[str, str]]:
    """Complete specs."""
    return _names("a spec", incomplete)


def study_names(incomplete: str) -> list[tuple[str, str]]:
    """Complete studies."""
    return _names("a study", incomplete)


def config_names(incomplete: str) -> list[tuple[str, str]]:
    """Complete training configs."""
    return _names("a training config", incomplete)


def _names(kind: ShippedKind, incomplete: str) -> list[tuple[str, str]]:
    """Shipped names with their descriptions, and YAML files, which shells do not offer beside other completions."""
    names = [(name, described(name)) for name in shipped_names(kind) if name.startswith(incomplete)]
    return [*names, *((file, "") for file in _yaml_files(incomplete))]


def _yaml_files(incomplete: str) -> Iterator[str]:
    for path in sorted(glob(f"{escape(incomplete)}*")):
        if path.endswith((".yaml", ".yml")):
            yield path
        elif isdir(path):
            yield from sorted(glob(f"{escape(path.rstrip('/'))}/*.y*ml"))
