"""A small spec file, and short ways to write files and to read what an error says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import Spec

SMALL = """\
elements: 83
sizes: {atom: 6, edge: 8, radial: 3, circular: 3, spherical: 4}
neighbors: {ties: strict}
graphs:
  atom: {cutoff: 4.0}
  main: {cutoff: 4.0, max_neighbors: 5, within: atom, symmetrize: lower_index}
  atom_edge: {cutoff: 4.0, max_neighbors: 4, within: atom}
  quad: {cutoff: 4.0, max_neighbors: 3, within: atom}
bases:
  radial: {type: gaussian, count: 5}
  envelope: {type: polynomial, exponent: 5}
  circular: {type: legendre, count: 3}
  spherical: {type: legendre_outer, count: 2}
blocks: {count: 1, before_skip: 1, after_skip: 1, concatenation: 1, update: 1, atom: 1}
interactions:
  triplet: {down: 4, up: 4}
  quadruplet: {down: 4, up: 4}
  atom_edge: {down: 4, up: 4}
  edge_atom: {down: 4, up: 4}
  atom_atom: {down: 4, up: 4}
readout: {type: concatenated, layers: 1, after_atom: 1, network: 1}
heads:
  energy: {reduce: sum}
  forces: {type: direct}
"""
NAMES = ("triplet", "quadruplet", "atom_edge", "edge_atom", "atom_atom")
PAPER_CONFIGS = sorted((Path(__file__).parents[3] / "paper_configs").glob("*.yaml"))


def small_spec(changes: dict[str, Any] | None = None) -> Spec:
    """The spec of SMALL, changed."""
    return Spec.from_yaml(SMALL).patch(changes)


def write(folder: Path, **files: str) -> Path:
    """Write small.yaml and further YAML files; the path of the last one."""
    path = folder / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    for name, text in files.items():
        path = folder / f"{name}.yaml"
        path.write_text(dedent(text), encoding="utf-8")
    return path


def error_of(function: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """What the SpecError says that a call raises, without the folder of its files."""
    with pytest.raises(SpecError) as caught:
        function(*arguments, **named)
    folders = [str(argument.parent) + "/" for argument in arguments if isinstance(argument, Path)]
    message = str(caught.value)
    for folder in folders:
        message = message.replace(folder, "")
    return message
