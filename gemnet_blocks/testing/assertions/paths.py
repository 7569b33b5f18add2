"""Energies and forces at many positions of the same atoms, in few batches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.testing.models import Model, predict

ATOMS_AT_ONCE = 2000
"""Enough to keep a processor busy, few enough for the memory of a small machine."""


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """The positions r + t·v.

    Attributes:
        structures: r, and all else.
        displacement: v in Å.
    """

    structures: Structures
    displacement: Float[Tensor, "atoms 3"]

    def at(self, t: Float[Tensor, " points"]) -> Structures:
        """One batch: all structures at the first t, then all at the second, …"""
        start, count = self.structures, len(t)
        moved = start.positions.detach() + t.to(start.positions)[:, None, None] * self.displacement.to(start.positions)
        offset = torch.arange(count, device=start.structure.device)[:, None] * len(start)
        return replace(
            start,
            positions=moved.reshape(-1, 3),
            numbers=start.numbers.repeat(count),
            structure=(start.structure + offset).reshape(-1),
            cells=start.cells.detach().repeat(count, 1, 1),
            periodic=start.periodic.repeat(count, 1),
            tags=start.tags.repeat(count),
            fixed=start.fixed.repeat(count),
        )


@dataclass(frozen=True, slots=True, eq=False)
class PathValues:
    """What a model predicts along a path.

    Attributes:
        energy: of each structure at each point.
        forces: on each atom at each point, or None.
    """

    energy: Float[Tensor, "points structures"]
    forces: Float[Tensor, "points atoms 3"] | None


def along(model: Model, path: Path, t: Float[Tensor, " points"], forces: bool = True) -> PathValues:
    """The predictions at r + t·v for all t, detached.

    Args:
        model: anything that predicts energies of structures.
        path: where.
        t: the points.
        forces: whether to keep the forces.
    """
    at_once = max(1, ATOMS_AT_ONCE // max(1, path.structures.atom_count))
    parts = [predict(model, path.at(part)) for part in t.split(at_once)]
    energy = torch.cat([part.energy.detach() for part in parts]).reshape(len(t), -1)
    return PathValues(energy, _forces(parts, path) if forces else None)


def _forces(parts: list[Prediction], path: Path) -> Tensor | None:
    found = [part.forces.detach() for part in parts if part.forces is not None]
    if len(found) < len(parts):
        return None
    return torch.cat(found).reshape(-1, path.structures.atom_count, 3)
