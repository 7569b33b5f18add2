"""Energies and forces do not jump while atoms move."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from ase import Atoms
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.testing.assertions.comparison import Tolerance, as_tolerance
from gemnet_blocks.testing.models import Model, predict

Function = Callable[[Tensor], Tensor]
"""From points t (points,) to values (points, columns)."""

CANDIDATES = 3
"""Places looked at closely: the roughest, and as many that are rougher than their surroundings."""
SURROUNDINGS = 8
"""Intervals to each side that a place is compared with."""
NOISE = 0.1
"""Roughness that is no reason to look closely, where a jump of 1 has 10."""
FINER = 8
"""By how much the spacing of points shrinks in each step."""
STENCIL = (-1.0, 5.0, -10.0, 10.0, -5.0, 1.0)
"""Fifth differences: of smooth functions they vanish as the fifth power of the spacing, of a jump they do not."""
MARGIN = 2
"""Points that the stencil needs to each side of an interval."""


@dataclass(frozen=True, slots=True)
class Jump:
    """Where a function jumps.

    Attributes:
        at: left end of the interval in which it does.
        width: of the interval.
        column: of the values that jumps most.
        size: by how much: the change of that column, beyond the mean change over the two neighboring intervals.
    """

    at: float
    width: float
    column: int
    size: float


def largest_jump(function: Function, samples: int, resolution: float) -> Jump:
    """The largest jump of a function on [0, 1], or what rounding and bends leave in its place where there is none.

    Sample the function evenly, take the intervals whose fifth differences are largest or stand out of their
    surroundings, and sample these and their neighbors eight times as finely, again and again. What is steep and smooth
    becomes flat and straight; what remains is a jump. Two jumps that cancel between two samples are not found.

    Args:
        function: at points t a little outside of [0, 1] too; its columns so scaled that jumps of 1 are of interest.
        samples: intervals to begin with.
        resolution: the width of intervals to end with.
    """
    left = torch.zeros(1, dtype=torch.float64)
    width, count = 1 / samples, samples
    while True:
        steps = torch.arange(-MARGIN, count + MARGIN + 1, dtype=torch.float64)
        points = left[:, None] + steps * width
        values = function(points.reshape(-1)).double().reshape(*points.shape, -1)
        if width <= resolution:
            return _largest(values, points, width)
        places = _candidates(_roughness(values)) if len(left) == 1 else _roughest(_roughness(values), 1)
        left = points[:, MARGIN:][places[:, 0], places[:, 1]] - width
        width, count = width / FINER, 3 * FINER


def _roughness(values: Float[Tensor, "rows points columns"]) -> Float[Tensor, "rows intervals"]:
    """The largest |fifth difference| of any column, by the interval in its middle."""
    count = values.shape[1] - len(STENCIL) + 1
    total = sum(factor * values[:, k : k + count] for k, factor in enumerate(STENCIL))
    assert isinstance(total, Tensor)
    return total.abs().amax(dim=2) if values.shape[2] else values.new_zeros(values.shape[0], count)


def _candidates(roughness: Float[Tensor, "1 intervals"]) -> Tensor:
    """The places to look at closely, at least two."""
    around = torch.nn.functional.pad(roughness[None], (SURROUNDINGS, SURROUNDINGS), mode="replicate")[0]
    usual = around.unfold(1, 2 * SURROUNDINGS + 1, 1).median(dim=2).values
    return torch.cat([_roughest(roughness, CANDIDATES), _roughest(roughness / (usual + NOISE), CANDIDATES)])


def _roughest(roughness: Float[Tensor, "rows intervals"], keep: int) -> Tensor:
    """Row and interval of the `keep` roughest places of each row, no two of them close to each other."""
    roughness = roughness.clone()
    found = []
    for _ in range(min(keep, roughness.shape[1])):
        interval = roughness.argmax(dim=1)
        found.append(torch.stack([torch.arange(len(interval)), interval], dim=1))
        near = (torch.arange(roughness.shape[1]) - interval[:, None]).abs() <= MARGIN
        roughness = roughness.masked_fill(near, -1.0)
    return torch.cat(found)


def _largest(values: Float[Tensor, "rows points columns"], points: Tensor, width: float) -> Jump:
    change = values.diff(dim=1)
    beyond = (change[:, 1:-1] - (change[:, :-2] + change[:, 2:]) / 2).abs()
    # within [0, 1] only: the margin is there for the stencil
    start = points[:, 1:-2]
    beyond = torch.where(((start > -width) & (start < 1))[:, :, None], beyond, torch.zeros_like(beyond))
    if not beyond.numel():
        return Jump(0.0, width, 0, 0.0)
    row, interval, column = (int(i) for i in torch.unravel_index(beyond.argmax(), beyond.shape))
    return Jump(float(start[row, interval]), width, column, float(beyond[row, interval, column]))


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


SURFACE = 1
"""The tag of all atoms, so that none is different."""


def special_structures(cutoff: float, elements: Sequence[int]) -> tuple[Structures, ...]:
    """A dimer, three atoms in a line, a square, a centred tetrahedron, a centred hexagon, and a rock salt crystal.

    The forces on some atoms are sums of opposite or equally distributed terms, angles are 0, 90 and 180 degrees,
    distances are equal. No atom has more than six neighbors, so that caps on neighbors seldom matter.

    Args:
        cutoff: of neighbors, in Å; those meant to be neighbors are closer.
        elements: atomic numbers; of the first the surrounding atoms are, of the last the centres.
    """
    d = round(min(1.3, 0.45 * cutoff), 3)
    outer, centre = elements[0], elements[-1]
    h = round(d / math.sqrt(3), 3)
    corners = [[h, h, h], [h, -h, -h], [-h, h, -h], [-h, -h, h]]
    ring = [[d * math.cos(i * math.pi / 3), d * math.sin(i * math.pi / 3), 0.0] for i in range(6)]
    molecules = [
        Atoms([outer] * 2, positions=[[0, 0, 0], [d, 0, 0]]),
        Atoms([outer] * 3, positions=[[-d, 0, 0], [0, 0, 0], [d, 0, 0]]),
        Atoms([outer] * 4, positions=[[0, 0, 0], [d, 0, 0], [d, d, 0], [0, d, 0]]),
        Atoms([centre] + [outer] * 4, positions=[[0, 0, 0], *corners]),
        Atoms([centre] + [outer] * 6, positions=[[0, 0, 0], *ring]),
    ]
    s = round(0.8 * cutoff, 3)  # the next neighbors, at √2 of it, are beyond the cutoff
    salt = Atoms([outer, centre], positions=[[0, 0, 0], [s, 0, 0]], cell=[[0, s, s], [s, 0, s], [s, s, 0]], pbc=True)
    for atoms in (*molecules, salt):
        atoms.set_tags([SURFACE] * len(atoms))
    return tuple(Structures.from_ase(atoms) for atoms in (*molecules, salt))
