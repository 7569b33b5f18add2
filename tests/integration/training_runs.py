"""Small training runs: a few strained copper cells with the labels of a classical potential, and a tiny model."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write

from gemnet_blocks.training import TrainingConfig, parse_config

CONFIG = """
model:
  elements: 30
  sizes: {atom: 8, edge: 8, radial: 4, circular: 4, spherical: 4}
  neighbors: {ties: inclusive}
  graphs:
    main: {cutoff: 3.5, symmetrize: union}
  bases:
    radial: {type: spherical_bessel, count: 6}
    envelope: {type: polynomial, exponent: 5}
    circular: {type: legendre, count: 3}
    spherical: null
  blocks: {count: 1, before_skip: 1, after_skip: 1, concatenation: 1, update: 1, atom: 1}
  interactions:
    triplet: {down: 4, up: 4}
  readout: {type: concatenated, layers: 1, after_atom: 1, network: 1}
  heads: {forces: {type: gradient}}
data:
  files: [structures.xyz]
  units: eV
  energy: total
  labels: [energy, forces, stress]
  split: {type: random, train: 24, validation: 6, seed: 0}
  batch: {structures: 4}
scales: {batches: 2}
loss: {energy: {type: mse}, forces: {type: l2mae, weight: 2}}
optimizer: {learning_rate: 1.0e-2}
training:
  steps: 40
  validate_every: {steps: 8}
  ema: 0.9
  deterministic: true
  device: cpu
  checkpoint: {steps: 5, minutes: null}
  log: {every: 4, tensorboard: false}
output: run
"""


def write_structures(path: Path, count: int = 30, seed: int = 0) -> None:
    """Copper cells, strained, rattled, of 1 to 4 atoms, some of which, or all, are fixed."""
    random = np.random.default_rng(seed)
    many = []
    for index in range(count):
        atoms = bulk("Cu", cubic=index % 2 == 0) if index % 3 else bulk("Cu") * (2, 1, 1)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.04 * random.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += 0.1 * random.normal(size=(len(atoms), 3))
        atoms.calc = EMT()
        labels = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **labels)
        if len(atoms) > 1:
            atoms.set_constraint(FixAtoms(range(len(atoms)) if index % 5 == 0 else [0]))
        many.append(atoms)
    write(path, many)


def config(folder: Path, text: str = CONFIG, **patches: Any) -> TrainingConfig:
    """A config whose data are in the folder; patches by section, as `{"training": {"steps": 3}}`."""
    if not (folder / "structures.xyz").exists():
        write_structures(folder / "structures.xyz")
    from gemnet_blocks.spec.document import dump

    (folder / "base.yaml").write_text(text)
    from gemnet_blocks.training import load_config

    loaded = load_config(folder / "base.yaml", patches)
    return parse_config(dump(loaded.to_dict()), folder)


def rows(folder: Path) -> list[dict[str, str]]:
    """The log without times."""
    with (folder / "log.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def tensors(value: Any, route: str = "") -> dict[str, Any]:
    """All tensors and numbers of a checkpoint by where they are, without times."""
    if isinstance(value, dict):
        return {
            name: leaf
            for key, entry in value.items()
            if key not in ("seconds", "pytorch-lightning_version")
            for name, leaf in tensors(entry, f"{route}/{key}").items()
        }
    if isinstance(value, (list, tuple)):
        return {name: leaf for i, entry in enumerate(value) for name, leaf in tensors(entry, f"{route}/{i}").items()}
    return {route: value}


def assert_same_state(one: Path, other: Path) -> None:
    """Check that two runs left the same, bit by bit, but for the time that they took."""
    first, second = (tensors(torch.load(folder / "checkpoint.ckpt", weights_only=True)) for folder in (one, other))
    assert first.keys() == second.keys()
    for name, value in first.items():
        if "/batches_that_stepped" in name or name.startswith("/loops"):
            continue
        same = torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        assert same, f"{name}: {value} and {second[name]}"
    assert rows(one) == rows(other)
