"""Assertions that energies and forces do not jump while atoms move."""

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
"""A function of points t (points,) that returns values (points, columns)."""

CANDIDATES = 3
"""Number of intervals to refine: the roughest ones, and as many that are rougher than their surroundings."""
SURROUNDINGS = 8
"""Number of intervals per side that form the surroundings of an interval."""
NOISE = 0.1
"""Roughness below which an interval is not refined; a jump of 1 has the roughness 10."""
FINER = 8
"""Factor by which each refinement reduces the spacing of points."""
STENCIL = (-1.0, 5.0, -10.0, 10.0, -5.0, 1.0)
"""Fifth differences, which vanish as the fifth power of the spacing for smooth functions, but not for jumps."""
MARGIN = 2
"""Number of points that the stencil needs per side of an interval."""


@dataclass(frozen=True, slots=True)
class Jump:
    """A jump of one column of a function in the interval from `at` to `at + width`.

    Its size is the change in excess of the mean change over the two neighboring intervals.
    """

    at: float
    width: float
    column: int
    size: float


def largest_jump(function: Function, samples: int, resolution: float) -> Jump:
    """Find the largest jump of a function on [0, 1]; without jumps, its size is that of rounding errors and bends.

    The function is sampled evenly; the intervals with the largest fifth differences, absolute or relative to their
    surroundings, and their neighbors are sampled eight times as finely, and so on. Steep but smooth changes vanish in
    this process, and only jumps remain. Two jumps that cancel between two samples are not found.

    Args:
        function: function that is also defined slightly outside of [0, 1]; its columns are scaled so that jumps of 1
            matter.
        samples: initial number of intervals.
        resolution: final width of intervals.
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
    """Compute the largest |fifth difference| of any column for each interval."""
    count = values.shape[1] - len(STENCIL) + 1
    total = sum(factor * values[:, k : k + count] for k, factor in enumerate(STENCIL))
    assert isinstance(total, Tensor)
    return total.abs().amax(dim=2) if values.shape[2] else values.new_zeros(values.shape[0], count)


def _candidates(roughness: Float[Tensor, "1 intervals"]) -> Tensor:
    """Select the intervals to refine, at least two."""
    around = torch.nn.functional.pad(roughness[None], (SURROUNDINGS, SURROUNDINGS), mode="replicate")[0]
    usual = around.unfold(1, 2 * SURROUNDINGS + 1, 1).median(dim=2).values
    return torch.cat([_roughest(roughness, CANDIDATES), _roughest(roughness / (usual + NOISE), CANDIDATES)])


def _roughest(roughness: Float[Tensor, "rows intervals"], keep: int) -> Tensor:
    """Return row and interval of the `keep` roughest intervals of each row that are not close to each other."""
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
    # jumps in the margin, which only the stencil needs, do not count
    start = points[:, 1:-2]
    beyond = torch.where(((start > -width) & (start < 1))[:, :, None], beyond, torch.zeros_like(beyond))
    if not beyond.numel():
        return Jump(0.0, width, 0, 0.0)
    row, interval, column = (int(i) for i in torch.unravel_index(beyond.argmax(), beyond.shape))
    return Jump(float(start[row, interval]), width, column, float(beyond[row, interval, column]))


ATOMS_AT_ONCE = 2000
"""Number of atoms per prediction: many enough for speed, few enough for the memory of a small machine."""


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """A path of positions r + t·v from structures with the positions r, along a displacement v in Å."""

    structures: Structures
    displacement: Float[Tensor, "atoms 3"]

    def at(self, t: Float[Tensor, " points"]) -> Structures:
        """Return a batch with all structures at the first t, then all structures at the second t, and so on."""
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
    """Predictions of a model along a path."""

    energy: Float[Tensor, "points structures"]
    forces: Float[Tensor, "points atoms 3"] | None


def along(model: Model, path: Path, t: Float[Tensor, " points"], forces: bool = True) -> PathValues:
    """Predict energies and forces at the positions r + t·v for all t, without gradients."""
    at_once = max(1, ATOMS_AT_ONCE // max(1, path.structures.atom_count))
    parts = [predict(model, path.at(part)) for part in t.split(at_once)]
    energy = torch.cat([part.energy.detach() for part in parts]).reshape(len(t), -1)
    return PathValues(energy, _forces(parts, path) if forces else None)


def _forces(parts: list[Prediction], path: Path) -> Tensor | None:
    found = [part.forces.detach() for part in parts if part.forces is not None]
    if len(found) < len(parts):
        return None
    return torch.cat(found).reshape(-1, path.structures.atom_count, 3)


# In units of the cutoff: the atom at rest, the moving atom at the cutoff, and three atoms near both, so that triplets
# and quadruplets appear with the edge.
_SITES = ((0.0, 0.0, 0.0), (0.8, 0.36, 0.48), (0.13, -0.31, 0.21), (0.61, 0.52, 0.19), (0.37, 0.09, 0.46))
_CELL = ((1.6, 0.1, -0.2), (0.3, 1.5, 0.2), (-0.1, 0.4, 1.7))
_TAGS = (1, 2, 1, 2, 1)
CROSSING_SAMPLES = 64
"""Initial number of intervals on the path across a cutoff."""


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
    """Assert that neither energies nor forces jump along r + t·v for t from 0 to 1.

    A change counts as a jump if it remains when the path is refined down to `resolution`. Steep functions do not jump;
    where an energy bends sharply, the forces jump.

    Args:
        model: a model that predicts energies of structures, which is called with up to 2,000 atoms at once.
        structures: structures with the positions r.
        displacement: displacement v in Å.
        samples: initial number of intervals on the path. Jumps that are smaller than the fifth differences of the
            smooth function at this spacing may be missed.
        tolerance: tolerance of jumps of energies relative to the largest |energy| on the path.
        force_tolerance: tolerance of jumps of forces relative to the largest |force component| on the path.
        forces: check forces too.
        resolution: final spacing in Å, which must exceed the rounding of positions.

    Raises:
        AssertionError: an energy or force jumps; the message names the place and the size.
        ValueError: the displacement is zero.
    """
    length = float(displacement.norm(dim=-1).amax()) if displacement.numel() else 0.0
    if length == 0:
        raise ValueError("displacement must not be zero: pass a displacement of at least one atom")
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
    """Assert that neither energies nor forces jump when an atom leaves the cutoff of another atom.

    The assertion covers a molecule and a crystal of five atoms with tags; in the crystal, the edge connects an atom to
    an image. Triplets and quadruplets with three nearby atoms appear and disappear with the edge. Energies jump by
    design if a model limits the number of neighbors to less than these structures have (4 in the molecule, 4 to 8 in
    the crystal).

    Args:
        model: a model that predicts energies of structures.
        cutoff: cutoff in Å.
        numbers: atomic numbers of the five atoms, beginning with the atom at rest and the moving atom.
        samples, tolerance, force_tolerance, forces: see `assert_smooth`.

    Raises:
        AssertionError: an energy or force jumps; the message names the structure, the place and the size.
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
    """Return five atoms and a displacement that moves the second atom across the cutoff of the first.

    Args:
        cutoff: cutoff in Å.
        numbers: atomic numbers.
        periodic: return a crystal, in which the second atom crosses the cutoff of an image of the first.
    """
    direction = torch.tensor(_SITES[1], dtype=torch.float64)
    half = min(0.1, 0.05 * cutoff)
    positions = cutoff * torch.tensor(_SITES, dtype=torch.float64)
    positions[1] = (cutoff - 0.9 * half) * direction  # so that the crossing is between two samples
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
    """Tolerances of jumps and the sizes to which they are relative."""

    energy: float
    energy_size: float
    force: float
    force_size: float

    def scaled(self, values: PathValues) -> Float[Tensor, "points columns"]:
        """Return energies and forces divided by their tolerances."""
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
            f"{what} jumps by {jump.size * limit:.2e} (tolerance: {limit:.1e}; largest on the path: {size:.2e}) at "
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
"""The tag of all atoms."""


def special_structures(cutoff: float, elements: Sequence[int]) -> tuple[Structures, ...]:
    """Return structures of high symmetry: dimer, line, square, tetrahedron, hexagon (both with a center), rock salt.

    Their distances are equal, their angles 0, 90 and 180 degrees, and forces on some atoms cancel by symmetry. No atom
    has more than six neighbors, so that limits on the number of neighbors rarely matter.

    Args:
        cutoff: cutoff in Å, which exceeds the distances of neighbors.
        elements: atomic numbers; the first is that of outer atoms, the last that of central atoms.
    """
    d = round(min(1.3, 0.45 * cutoff), 3)
    outer, center = elements[0], elements[-1]
    h = round(d / math.sqrt(3), 3)
    corners = [[h, h, h], [h, -h, -h], [-h, h, -h], [-h, -h, h]]
    ring = [[d * math.cos(i * math.pi / 3), d * math.sin(i * math.pi / 3), 0.0] for i in range(6)]
    molecules = [
        Atoms([outer] * 2, positions=[[0, 0, 0], [d, 0, 0]]),
        Atoms([outer] * 3, positions=[[-d, 0, 0], [0, 0, 0], [d, 0, 0]]),
        Atoms([outer] * 4, positions=[[0, 0, 0], [d, 0, 0], [d, d, 0], [0, d, 0]]),
        Atoms([center] + [outer] * 4, positions=[[0, 0, 0], *corners]),
        Atoms([center] + [outer] * 6, positions=[[0, 0, 0], *ring]),
    ]
    s = round(0.8 * cutoff, 3)  # second neighbors, at √2 s, are beyond the cutoff
    salt = Atoms([outer, center], positions=[[0, 0, 0], [s, 0, 0]], cell=[[0, s, s], [s, 0, s], [s, s, 0]], pbc=True)
    for atoms in (*molecules, salt):
        atoms.set_tags([SURFACE] * len(atoms))
    return tuple(Structures.from_ase(atoms) for atoms in (*molecules, salt))
