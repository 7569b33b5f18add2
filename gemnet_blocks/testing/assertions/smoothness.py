"""Energies and forces do not jump while atoms move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from ase import Atoms
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.assertions.jumps import Jump, largest_jump
from gemnet_blocks.testing.assertions.paths import Path, PathValues, along
from gemnet_blocks.testing.assertions.tolerances import Tolerance, as_tolerance
from gemnet_blocks.testing.models import Model

# In units of the cutoff: the atom at rest, the moving one (at the cutoff from it), and three others near both, so that
# triplets and quadruplets appear with the edge.
_SITES = ((0.0, 0.0, 0.0), (0.8, 0.36, 0.48), (0.13, -0.31, 0.21), (0.61, 0.52, 0.19), (0.37, 0.09, 0.46))
_CELL = ((1.6, 0.1, -0.2), (0.3, 1.5, 0.2), (-0.1, 0.4, 1.7))
_TAGS = (1, 2, 1, 2, 1)
CROSSING_SAMPLES = 64
"""Points on the path across a cutoff, to begin with."""


def assert_smooth(
    model: Model,
    structures: Structures,
    displacement: Float[Tensor, "atoms 3"],
    samples: int = 256,
    tolerance: Tolerance | float | None = None,
    force_tolerance: Tolerance | float | None = None,
    forces: bool = True,
    resolution: float = 1e-10,
) -> None:
    """No energy and no force jumps along r + t·v, t from 0 to 1.

    A jump is what is left of a change when the change is looked at ever more closely, down to `resolution`; steep
    functions are no jumps, and energies that bend sharply are none either (but then their forces jump).

    Args:
        model: anything that predicts energies of structures, which is called with up to 2,000 atoms at once.
        structures: r.
        displacement: v in Å.
        samples: points on the path, to begin with; each jump must be larger than what is left of fifth differences of
            the smooth function at this spacing.
        tolerance: of jumps of energies, relative to the largest |energy| on the path.
        force_tolerance: of jumps of forces, relative to the largest |component of a force| on the path.
        forces: whether forces must not jump either.
        resolution: to look at, in Å; above the rounding of positions.

    Raises:
        AssertionError: says what jumps, where and by how much.
        ValueError: nothing moves.
    """
    length = float(displacement.norm(dim=-1).amax()) if displacement.numel() else 0.0
    if length == 0:
        raise ValueError("displacement is zero: say how the atoms move")
    path = Path(structures, displacement)
    coarse = along(model, path, torch.linspace(0, 1, samples + 1, dtype=torch.float64), forces)
    limits = _limits(coarse, tolerance, force_tolerance)

    def scaled(t: Tensor) -> Tensor:
        return limits.scaled(_finite(along(model, path, t, forces), t))

    jump = largest_jump(scaled, samples, resolution / length)
    if jump.size > 1:
        raise AssertionError(limits.describe(jump, len(structures), length))


def assert_smooth_at_cutoff(
    model: Model,
    cutoff: float,
    numbers: Sequence[int] = (6, 8, 1, 7, 1),
    samples: int = CROSSING_SAMPLES,
    tolerance: Tolerance | float | None = None,
    force_tolerance: Tolerance | float | None = None,
    forces: bool = True,
) -> None:
    """No energy and no force jumps while an atom leaves the cutoff of another, in a molecule and in a crystal.

    Three more atoms stand near both, so that with the edge, triplets and quadruplets come and go. In the crystal, the
    edge is one to an image. All have tags. Where a model limits the number of neighbors to less than what these
    structures have (4 in the molecule, about 4 in the crystal, by chance up to 8), its energies jump by design.

    Args:
        model: anything that predicts energies of structures.
        cutoff: in Å.
        numbers: the elements of the five atoms, the one at rest and the moving one first.
        samples, tolerance, force_tolerance, forces: as of `assert_smooth`.

    Raises:
        AssertionError: says in which structure what jumps, at which distance and by how much.
    """
    for periodic in (False, True):
        structures, displacement = crossing(cutoff, numbers, periodic)
        try:
            assert_smooth(model, structures, displacement, samples, tolerance, force_tolerance, forces)
        except AssertionError as error:
            where = "crystal" if periodic else "molecule"
            raise AssertionError(f"an atom leaves the cutoff of {cutoff:g} Å in a {where}: {error}") from None


def crossing(
    cutoff: float, numbers: Sequence[int] = (6, 8, 1, 7, 1), periodic: bool = False
) -> tuple[Structures, Float[Tensor, "atoms 3"]]:
    """Five atoms, and a displacement that takes the second across the cutoff of the first.

    Args:
        cutoff: in Å.
        numbers: the elements.
        periodic: whether the structure is a crystal, and the second atom crosses the cutoff of an image of the first.
    """
    direction = torch.tensor(_SITES[1], dtype=torch.float64)
    half = min(0.1, 0.05 * cutoff)
    positions = cutoff * torch.tensor(_SITES, dtype=torch.float64)
    positions[1] = (cutoff - 0.9 * half) * direction  # the crossing is not in the middle, where samples are
    cell = cutoff * torch.tensor(_CELL, dtype=torch.float64)
    if periodic:
        positions[1] -= cell[0]
    displacement = torch.zeros_like(positions)
    displacement[1] = 2 * half * direction
    atoms = Atoms(numbers=list(numbers), positions=positions.numpy(), tags=_TAGS)
    if periodic:
        atoms.set_cell(cell.numpy())
        atoms.pbc = True
    return Structures.from_ase(atoms), displacement


@dataclass(frozen=True, slots=True)
class _Limits:
    """What jumps are allowed, and the sizes that they are relative to."""

    energy: float
    energy_size: float
    force: float
    force_size: float

    def scaled(self, values: PathValues) -> Float[Tensor, "points columns"]:
        """Energies, then forces, divided by their limits."""
        energy = values.energy.double() / self.energy
        if values.forces is None:
            return energy
        return torch.cat([energy, values.forces.double().flatten(1) / self.force], dim=1)

    def describe(self, jump: Jump, structure_count: int, length: float) -> str:
        if jump.column < structure_count:
            what, limit, size = f"the energy of structure {jump.column}", self.energy, self.energy_size
        else:
            atom = (jump.column - structure_count) // 3
            what, limit, size = f"the force on atom {atom}", self.force, self.force_size
        return (
            f"{what} jumps by {jump.size * limit:.2e} (allowed: {limit:.1e}; largest on the path: {size:.2e}) at "
            f"t = {jump.at + jump.width / 2:.10f}, within {jump.width * length:.0e} Å"
        )


def _limits(
    values: PathValues, tolerance: Tolerance | float | None, force_tolerance: Tolerance | float | None
) -> _Limits:
    dtype = values.energy.dtype
    finite = values.energy[values.energy.isfinite()].abs()
    energy_size = float(finite.max()) if finite.numel() else 0.0
    force_size = 0.0
    if values.forces is not None and values.forces.numel():
        force_size = float(torch.nan_to_num(values.forces, 0.0, 0.0, 0.0).abs().max())
    return _Limits(
        as_tolerance(tolerance, "jumps of energies", dtype).limit(energy_size),
        energy_size,
        as_tolerance(force_tolerance, "jumps of forces", dtype).limit(force_size),
        force_size,
    )


def _finite(values: PathValues, t: Tensor) -> PathValues:
    parts = {"energy": values.energy, "force": values.forces}
    for what, part in parts.items():
        if part is not None and not bool(part.isfinite().all()):
            index = int((~part.isfinite()).reshape(len(t), -1).any(dim=1).nonzero()[0])
            raise AssertionError(f"the {what} is not finite at t = {float(t[index]):.10f}")
    return values
