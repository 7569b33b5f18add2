"""Small files with labels, and where the real data is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from gemnet_blocks.data.opening import DataSplits, open_data
from gemnet_blocks.data.options import DataOptions

REAL = Path(os.environ.get("GEMNET_BLOCKS_DATA", Path(__file__).parents[4] / "shared" / "data"))


def real(name: str) -> Path:
    """A folder of real data; skips the test where it is absent."""
    if not (REAL / name).exists():
        pytest.skip(f"needs the real data {name} in {REAL}: set GEMNET_BLOCKS_DATA")
    return REAL / name


def options(**changes: Any) -> DataOptions:
    """Options with everything that is required."""
    return DataOptions.model_validate({"units": "eV", "energy": "total", "batch": {"structures": 2}, **changes})


def opened(folder: Path, **changes: Any) -> DataSplits:
    """What these options open."""
    return open_data(options(**changes), folder)


def labelled(atoms: Atoms, **results: Any) -> Atoms:
    """Atoms with results; energy and forces by default are those of EMT."""
    atoms = atoms.copy()
    constraints = atoms.constraints
    atoms.set_constraint()
    known = {"energy": _emt(atoms).get_potential_energy(), "forces": _emt(atoms).get_forces(), **results}
    atoms.set_constraint(constraints)
    atoms.calc = SinglePointCalculator(atoms, **{key: value for key, value in known.items() if value is not None})
    return atoms


def crystals(count: int = 6) -> list[Atoms]:
    """Rattled copper cells with energy, forces and stress, each with a name."""
    frames = []
    for index in range(count):
        atoms = bulk("Cu", cubic=True) * (1 + index % 2, 1, 1)
        atoms.rattle(0.1, seed=index)
        atoms.info["name"] = f"{'AB'[index % 2]}_{index}"
        frames.append(labelled(atoms, stress=_emt(atoms).get_stress()))
    return frames


def molecules(count: int = 6) -> list[Atoms]:
    """Rattled methanol, not periodic."""
    frames = []
    for index in range(count):
        atoms = molecule("CH3OH")
        atoms.rattle(0.05, seed=index)
        frames.append(labelled(atoms))
    return frames


def written(path: Path, frames: list[Atoms]) -> Path:
    """An extended XYZ file."""
    write(path, frames, format="extxyz")
    return path


def npz(path: Path, **changes: Any) -> Path:
    """An archive in the format of rMD17: 8 frames of water in kcal/mol."""
    random = np.random.default_rng(0)
    arrays = {
        "nuclear_charges": np.array([8, 1, 1], dtype=np.uint8),
        "coords": random.normal(size=(8, 3, 3)),
        "energies": -100 + random.normal(size=8),
        "forces": random.normal(size=(8, 3, 3)),
        "old_indices": np.arange(8) // 4,
        **changes,
    }
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


@contextmanager
def geometric_classes() -> Iterator[Mapping[str, type]]:
    """Classes with the names of PyTorch Geometric's, to write pickles with; gone afterwards."""
    places = {
        "Data": "torch_geometric.data.data",
        "DataEdgeAttr": "torch_geometric.data.data",
        "DataTensorAttr": "torch_geometric.data.data",
        "GlobalStorage": "torch_geometric.data.storage",
    }
    names = {part for place in places.values() for part in (place, place.rpartition(".")[0], "torch_geometric")}
    before = {name: sys.modules.get(name) for name in names}
    classes = {}
    for name in names:
        sys.modules[name] = ModuleType(name)
    for name, place in places.items():
        classes[name] = type(name, (), {"__module__": place, "__qualname__": name})
        setattr(sys.modules[place], name, classes[name])
    try:
        yield classes
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _emt(atoms: Atoms) -> Atoms:
    atoms = atoms.copy()
    atoms.set_constraint()
    atoms.calc = EMT()
    return atoms
