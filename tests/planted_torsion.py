"""Labels of a pair potential plus a torsion term, and a learner that fits them with or without torsions.

Each structure is a chain of four atoms, H–O–O–H, among argon atoms that have no part in the torsion:

    E = Σ_pairs v(d) + ½ cos φ,    v(d) = Σ_k c_k exp(−(d − d_k)² / 2w²)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from ase import Atoms
from torch import Tensor, nn

from gemnet_blocks.ablation import Fit, Learner, Task
from gemnet_blocks.ablation.runs.run_folder import PREDICTIONS
from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.evaluation import keep_predictions
from gemnet_blocks.structures import Prediction, Structures

CENTERS, WIDTH = torch.linspace(0.8, 4.4, 7, dtype=torch.float64), 0.5
PLANTED = torch.tensor([1.5, -0.4, -0.6, -0.3, -0.2, -0.1, 0.0, 0.5], dtype=torch.float64)
"""The coefficients of the bumps, and the size of the torsion."""
DIHEDRAL = 4
"""The number of atoms of the chain, which come first."""


class InMemory(LabelledDataset):
    """A dataset that counts how often structures are read."""

    def __init__(self, items: Sequence[LabelledStructures]) -> None:
        self.items, self.reads = items, 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> LabelledStructures:
        self.reads += 1
        return self.items[index]

    @property
    def atom_counts(self) -> np.ndarray:
        return np.array([one.structures.atom_count for one in self.items])

    @property
    def labels(self) -> frozenset[str]:
        return frozenset({"energy", "forces"})


def structure(seed: int) -> Structures:
    random = np.random.default_rng(seed)
    torsion = random.uniform(0, 2 * np.pi)
    chain = [[0.9, 0.3, 0.0], [0.0, 0.7, 0.0], [0.0, -0.7, 0.0]]
    chain.append([0.9 * np.cos(torsion), -0.3, 0.9 * np.sin(torsion)])
    argon = [[3.0, 0.0, 0.0], [-1.5, 2.6, 0.5], [-1.5, -2.6, -0.5]]
    positions = np.array(chain + argon) + random.normal(0, 0.05, (7, 3))
    return Structures.from_ase(Atoms("HOOHAr3", positions))


def features(positions: Tensor) -> Tensor:
    """Sums of the bumps over all pairs, and the cosine of the dihedral angle."""
    first, second = torch.triu_indices(len(positions), len(positions), 1)
    distances = (positions[first] - positions[second]).norm(dim=-1)
    bumps = torch.exp(-((distances[:, None] - CENTERS) ** 2) / (2 * WIDTH**2)).sum(dim=0)
    a, b, c = positions[1:DIHEDRAL] - positions[: DIHEDRAL - 1]
    normals = torch.linalg.cross(a, b), torch.linalg.cross(b, c)
    cosine = torch.dot(*normals) / (normals[0].norm() * normals[1].norm())
    return torch.cat([bumps, cosine[None]])


def gradients(positions: Tensor) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(features, positions)
    assert isinstance(jacobian, Tensor)
    return jacobian


@functools.cache
def labelled(seed: int, noise: float = 0.0) -> LabelledStructures:
    one = structure(seed)
    forces = -torch.tensordot(PLANTED, gradients(one.positions), 1)
    errors = torch.as_tensor(np.random.default_rng([seed, 1]).normal(0, noise, (7, 3)))
    energy = features(one.positions) @ PLANTED
    return LabelledStructures(one, energy[None], forces + errors, None, torch.tensor([seed]))


class LinearPotential(nn.Module):
    """The potential with given coefficients."""

    meaning, device, has_stress = "total", torch.device("cpu"), False

    def __init__(self, coefficients: Tensor) -> None:
        super().__init__()
        self.coefficients = coefficients

    def forward(self, structures: Structures, stress: bool = False, given: object = None) -> Prediction:
        positions = [structures[index].positions for index in range(len(structures))]
        energies = torch.stack([features(one) @ self.coefficients for one in positions])
        forces = [-torch.tensordot(self.coefficients, gradients(one), 1) for one in positions]
        return Prediction(energies.round(decimals=9), torch.cat(forces).round(decimals=9))


@dataclass(frozen=True)
class TorsionLearner(Learner):
    """Least-squares fit of the forces; specs with quadruplets see the torsion."""

    train: int = 10
    test: int = 8

    needs_data: ClassVar[bool] = False

    def fit(self, task: Task, folder: Path) -> Fit:
        seen = slice(None if "quadruplet" in task.spec.interactions else -1)
        items = [labelled(100 * task.seed + 1000 + index, noise=0.02) for index in range(self.train)]
        columns = torch.cat([-gradients(one.structures.positions)[seen].flatten(1).T for one in items])
        labels = torch.cat([one.forces.flatten() for one in items])
        coefficients = torch.zeros_like(PLANTED)
        # rounded as predictions are, since the last digits depend on where in memory the numbers are
        coefficients[seen] = torch.linalg.lstsq(columns, labels[:, None]).solution[:, 0].round(decimals=9)
        test = InMemory([labelled(index) for index in range(self.test)])
        kept = keep_predictions(LinearPotential(coefficients), test)
        kept.save(folder / PREDICTIONS)
        error = float(kept.errors("forces").mean())
        return Fit({"forces_mae": error}, [{"step": 1.0, "seconds": 1.0, "forces_mae": error}], {"parameters": 8.0})
