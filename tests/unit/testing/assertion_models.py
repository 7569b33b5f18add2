"""A right model, simple enough to be right at sight, and wrong ones made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from gemnet_blocks.geometry.edges import EdgeSet, measure
from gemnet_blocks.graph.neighbor_list import VesinSearch
from gemnet_blocks.structures import Prediction, Structures

CUTOFF = 3.0


def per_structure(atoms: Tensor, structures: Structures) -> Tensor:
    return atoms.new_zeros(len(structures)).index_add(0, structures.structure, atoms)


class PairPotential(nn.Module):
    """E = Σ_a Z_a^½ Σ_b φ(d_ab) with φ(d) = exp(-d²/4) (1 - d²/cutoff²)³, and its gradient."""

    def __init__(self, cutoff: float = CUTOFF, power: int = 3) -> None:
        super().__init__()
        self.cutoff, self.power = cutoff, power
        self.strength = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def pair(self, distance: Tensor) -> Tensor:
        x = distance / self.cutoff
        return self.strength * torch.exp(-distance * distance / 4) * (1 - x * x).clamp(min=0) ** self.power

    def atoms(self, edges: EdgeSet, structures: Structures) -> Tensor:
        energy = self.pair(edges.distance) * structures.numbers[edges.target].to(edges.distance).sqrt()
        return energy.new_zeros(edges.atom_count).index_add(0, edges.target, energy)

    def energy(self, structures: Structures) -> Tensor:
        with torch.no_grad():
            pairs = VesinSearch()(structures, self.cutoff)
        return per_structure(self.atoms(measure(pairs, structures, self.strength.dtype), structures), structures)

    def forward(self, structures: Structures) -> Prediction:
        positions = structures.positions
        if not positions.requires_grad:
            positions = positions.detach().requires_grad_()
        energy = self.energy(replace(structures, positions=positions))
        (gradient,) = torch.autograd.grad(energy.sum(), positions, create_graph=True, allow_unused=True)
        forces = torch.zeros_like(positions) if gradient is None else -gradient
        return Prediction(energy, forces.to(energy.dtype))


class HardCutoff(PairPotential):
    """No envelope."""

    def pair(self, distance: Tensor) -> Tensor:
        return self.strength * torch.exp(-distance * distance / 4) * (distance <= self.cutoff)


class AnglesBetweenNeighbors(PairPotential):
    """A term of the directions of edges, wrong: they are not turned with the structure."""

    def atoms(self, edges: EdgeSet, structures: Structures) -> Tensor:
        energy = self.pair(edges.distance) * (1 + 1e-4 * edges.direction[:, 0].square())
        return energy.new_zeros(edges.atom_count).index_add(0, edges.target, energy)


class Untrainable(PairPotential):
    """An energy cut off from the positions."""

    def forward(self, structures: Structures) -> Prediction:
        prediction = super().forward(structures)
        return Prediction(prediction.energy.detach(), prediction.forces)


Change = Callable[[Structures, Tensor, Tensor], tuple[Tensor, Tensor]]


class Changed(nn.Module):
    """The pair potential with energies and forces changed."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.right, self.change = PairPotential(), change

    def forward(self, structures: Structures) -> tuple[Tensor, Tensor]:
        prediction = self.right(structures)
        return self.change(structures, prediction.energy, prediction.forces)


def by_coordinate(structures: Structures, energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    return energy + 1e-6 * per_structure(structures.positions[:, 0], structures), forces


def by_direction(structures: Structures, energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    return energy, forces + 1e-6 * torch.tensor([1.0, 0, 0], dtype=forces.dtype)


def by_handedness(structures: Structures, energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    first = structures.atom_counts.cumsum(0) - structures.atom_counts
    enough = (structures.atom_counts >= 4).nonzero()[:, 0]
    r = structures.positions
    vectors = r[first[enough][:, None] + torch.arange(1, 4)] - r[first[enough]][:, None]
    return energy.index_add(0, enough, torch.linalg.det(vectors)), forces


def by_order(structures: Structures, energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    rank = (
        torch.arange(structures.atom_count, dtype=energy.dtype)
        - ((structures.atom_counts.cumsum(0) - structures.atom_counts)[structures.structure])
    )
    return energy + per_structure(rank * structures.numbers, structures), forces


def by_mates(structures: Structures, energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    return energy - 1e-6 * energy.mean(), forces


def by_cell(structures: Structures, energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    return energy + 1e-6 * structures.cells[:, 0].square().sum(dim=1) * structures.periodic[:, 0], forces


def to_mean(structures: Structures, energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    counts = structures.atom_counts.clamp(min=1)
    return energy / counts, forces


def of_other_sign(structures: Structures, energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    return energy, -forces


def one_sided(structures: Structures, energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    return energy, forces * structures.numbers[:, None]


def turning(structures: Structures, energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    means = torch.stack([per_structure(x, structures) for x in structures.positions.unbind(1)], dim=1)
    means = means / structures.atom_counts.clamp(min=1)[:, None]
    arms = structures.positions - means[structures.structure]
    axis = torch.tensor([[0, 0, 1.0]], dtype=arms.dtype).expand_as(arms)
    return energy, forces + 1e-6 * torch.linalg.cross(arms, axis)


def by_chance(structures: Structures, energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    return energy + 1e-14 * torch.rand(energy.shape, dtype=energy.dtype), forces


def undefined(structures: Structures, energy: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    few = structures.atom_counts == 1
    return torch.where(few, torch.nan, energy), forces
