"""Labelled structures in memory, and a potential that is wrong by known amounts."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from ase.constraints import FixAtoms
from torch import nn

from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.structures import Prediction, Structures


class InMemory(LabelledDataset):
    """A dataset of what it is given."""

    def __init__(self, items):
        self.items = list(items)

    @property
    def atom_counts(self):
        return np.array([item.structures.atom_count for item in self.items])

    @property
    def labels(self):
        return frozenset()

    def place(self, index):
        return f"frame {index} of memory"

    def value(self, index, key):
        raise NotImplementedError

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Shifted(nn.Module):
    """Predicts the labels, plus a constant on energies and a vector on each force."""

    meaning, device = "adsorption", torch.device("cpu")

    def __init__(self, items, energy=0.0, force=(0.0, 0.0, 0.0), stress=None):
        super().__init__()
        self.items = {float(item.structures.positions[0, 0]): item for item in items}
        self.energy, self.force, self.stress = energy, torch.tensor(force, dtype=torch.float64), stress
        self.has_stress = stress is not None
        self.modes = []

    def forward(self, structures, stress=False, given=None):
        self.modes.append((self.training, torch.is_grad_enabled()))
        items = [self.items[float(structures[index].positions[0, 0])] for index in range(len(structures))]
        energy = torch.cat([item.energy if item.energy is not None else torch.zeros(1) for item in items]).double()
        forces = [item.forces if item.forces is not None else item.structures.positions * 0 for item in items]
        sigma = torch.cat([item.stress for item in items]) + self.stress if stress else None
        return Prediction(energy + self.energy, torch.cat(forces) + self.force, sigma)


def item(number, symbols="CuO", energy=-5.0, forces=None, fixed=(), stress=None, labels="energy forces"):
    """One labelled structure; its number makes it known to `Shifted`."""
    count = len(Atoms(symbols))
    positions = np.random.default_rng(number).normal(size=(count, 3)) + number
    atoms = Atoms(symbols, positions=positions, constraint=FixAtoms(list(fixed)), cell=[9] * 3, pbc=stress is not None)
    forces = np.ones((count, 3)) if forces is None else np.asarray(forces, dtype=float)
    return LabelledStructures(
        structures=Structures.from_ase(atoms),
        energy=torch.tensor([energy], dtype=torch.float64) if "energy" in labels else None,
        forces=torch.as_tensor(forces) if "forces" in labels else None,
        stress=None if stress is None else torch.full((1, 3, 3), stress, dtype=torch.float64),
        frame=torch.tensor([100 + number]),
    )
