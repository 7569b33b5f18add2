"""Helpers that both write the files of one version and compare them with what later versions compute from them.

Only public names of the library are used, as users write them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import EnumMeta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import numpy as np
import torch
from ase import Atoms
from ase.io import read
from torch import Tensor, nn
from typer.models import ArgumentInfo, OptionInfo

from gemnet_blocks import Structures

FILES = Path(__file__).parent / "files"
VERSIONS = sorted(FILES.glob("v*"))
"""One folder for each version whose files must be read."""


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that is easy to compare."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_json(content) + "\n", encoding="utf-8")


def _json(content: Any, depth: int = 0) -> str:
    """JSON with one line for every list and every innermost mapping."""
    if not isinstance(content, Mapping) or not any(isinstance(one, (Mapping, list)) for one in content.values()):
        return json.dumps(content, ensure_ascii=False)
    space = " " * (depth + 1)
    lines = (f"{space}{json.dumps(key, ensure_ascii=False)}: {_json(one, depth + 1)}" for key, one in content.items())
    return "{\n" + ",\n".join(lines) + f"\n{' ' * depth}}}"


def read_structures(folder: Path) -> dict[str, Atoms]:
    """Read the two structures of a version's folder: a molecule and a periodic structure."""
    atoms = read(folder / "structures.extxyz", index=":")
    return {one.info["name"]: one for one in atoms}


def predictions(potential: nn.Module, atoms: Atoms) -> dict[str, Any]:
    """All numbers that a potential gives for one structure, as lists."""
    structures = Structures.from_ase(atoms, dtype=potential.dtype)
    found = potential(structures, stress=bool(atoms.pbc.all() and potential.has_stress))
    values = {name: getattr(found, name) for name in ("energy", "forces", "stress", "atom_energies")}
    return {name: None if value is None else value.double().tolist() for name, value in values.items()}


def assert_same_predictions(found: Mapping[str, Any], recorded: Mapping[str, Any], tolerance: float) -> None:
    """Compare predictions with recorded ones.

    The tolerance is relative to the largest force, or absolute if forces are below 1 eV/Å, as reference energies would
    hide differences of what a model says.
    """
    forces = recorded["forces"]
    size = 1.0 if forces is None else max(1.0, float(np.abs(forces).max()))
    for name, before in recorded.items():
        assert (found[name] is None) == (before is None), f"{name} is {found[name]} and was {before}"
        if before is not None:
            assert_close(found[name], before, tolerance * size, name)


def assert_close(found: Any, recorded: Any, tolerance: float, name: str = "value") -> None:
    """Compare arrays with an absolute tolerance."""
    now, before = np.asarray(found, float), np.asarray(recorded, float)
    assert now.shape == before.shape, f"{name} has shape {now.shape} and had {before.shape}"
    np.testing.assert_allclose(now, before, rtol=0, atol=tolerance, err_msg=name)


def summary(tensor: Tensor) -> float:
    """One number that changes with every entry of a tensor and with the order of its entries."""
    flat = tensor.detach().double().flatten()
    return float((flat * torch.cos(torch.arange(len(flat), dtype=torch.float64))).sum())


def summaries(model: nn.Module) -> list[tuple[list[int], float]]:
    """The shape and summary of each parameter, sorted, so that neither names nor order count."""
    return sorted((list(one.shape), summary(one)) for one in model.parameters())


def command_line() -> dict[str, Any]:
    """List the arguments of every command in their order, and its options with all that they accept."""
    from gemnet_blocks.cli import app

    return {str(one.name or one.callback.__name__): _parameters(one.callback) for one in app.registered_commands}


def _parameters(command: Any) -> dict[str, Any]:
    """Read a command's parameters from its signature, as typer does."""
    found: dict[str, Any] = {"arguments": [], "options": {}}
    for name, hint in get_type_hints(command, include_extras=True).items():
        for info in getattr(hint, "__metadata__", ()):
            if isinstance(info, ArgumentInfo):
                found["arguments"].append(name)
            elif isinstance(info, OptionInfo):
                # what stands first in Annotated[..., typer.Option("--name")] is kept as if it were a default
                given = [one for one in (info.default, *(info.param_decls or ())) if str(one).startswith("-")]
                names = given or [f"--{name.replace('_', '-')}"]
                found["options"][names[0]] = [*names, *_choices(hint)]
    return found


def _choices(hint: Any) -> list[str]:
    if isinstance(hint, EnumMeta):
        return [f"={choice.value}" for choice in hint]
    return [choice for inner in get_args(hint) for choice in _choices(inner)]


@contextmanager
def user_module(path: Path) -> Iterator[ModuleType]:
    """Import a user's file under its own name for as long as the context lasts."""
    import sys

    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[path.stem]
        if before is not None:
            sys.modules[path.stem] = before
