"""Atoms wrapped into their cells, the input of all neighbor searches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemnet_blocks.errors import StructureError
from gemnet_blocks.structures import Structures


@dataclass(frozen=True, slots=True, eq=False)
class WrappedAtoms:
    """Atoms wrapped into their cells along the periodic lattice vectors, in float64.

    The lattice planes that are spanned by the vectors other than a_k have the distance h_k, and t_k is the coordinate
    perpendicular to them:

        t_k = h_k · (fractional coordinate k),   |t_k(i) - t_k(j)| ≤ |r_i - r_j|,   0 ≤ t_k < h_k if periodic.

    Attributes:
        positions: wrapped positions in Å, `original - whole @ cell`.
        structure: the structure of each atom, ascending.
        whole: the lattice translation that was subtracted from each atom; 0 along vectors that are not periodic.
        cells: lattice vectors in Å, with unit vectors perpendicular to all others if not periodic.
        periodic: the periodicity of each structure along each lattice vector.
        heights: h_k in Å.
        depths: t_k in Å.
    """

    positions: Float[Tensor, "atoms 3"]
    structure: Int[Tensor, " atoms"]
    whole: Int[Tensor, "atoms 3"]
    cells: Float[Tensor, "structures 3 3"]
    periodic: Bool[Tensor, "structures 3"]
    heights: Float[Tensor, "structures 3"]
    depths: Float[Tensor, "atoms 3"]

    @property
    def lowest(self) -> Float[Tensor, "structures 3"]:
        """The smallest t_k of the atoms of each structure in Å; +∞ without atoms."""
        index = self.structure[:, None].expand(-1, 3)
        return torch.full_like(self.heights, torch.inf).scatter_reduce(0, index, self.depths, "amin")

    @property
    def highest(self) -> Float[Tensor, "structures 3"]:
        """The largest t_k of the atoms of each structure in Å; -∞ without atoms."""
        index = self.structure[:, None].expand(-1, 3)
        return torch.full_like(self.heights, -torch.inf).scatter_reduce(0, index, self.depths, "amax")


@dataclass(frozen=True, slots=True)
class Extent:
    """Numbers that are read from the device while atoms are wrapped.

    Attributes:
        size: the largest coordinate of positions and cells in Å.
        spread: the largest difference of the components of `WrappedAtoms.whole` of two atoms.
    """

    size: float
    spread: int


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Pairs of wrapped atoms that include all neighbors, each in one of its two directions.

    A pair and its reverse (target, source, -shift) are equivalent.

    Attributes:
        source: the index of the wrapped atom whose image is at `positions[source] + shift @ cell`.
        target: the index of the wrapped atom at `positions[target]`.
        shift: the lattice translation of the source atom; 0 along vectors that are not periodic.
        largest: an upper bound of the components of shifts; None to read it from the device.
    """

    source: Int[Tensor, " candidates"]
    target: Int[Tensor, " candidates"]
    shift: Int[Tensor, "candidates 3"]
    largest: int | None = None


def wrap(structures: Structures) -> WrappedAtoms:
    """Wrap atoms into their cells.

    Raises:
        StructureError: positions or cells are not finite, or the lattice vectors of periodic directions are linearly
            dependent.
    """
    return wrap_and_measure(structures)[0]


def wrap_and_measure(structures: Structures) -> tuple[WrappedAtoms, Extent]:
    """Wrap atoms as `wrap`, and measure them.

    Raises:
        StructureError: as `wrap`.
    """
    positions, periodic = structures.positions.double(), structures.periodic
    cells = _completed(structures.cells.double(), periodic)
    first, second, third = cells.unbind(1)
    normals = torch.stack([_cross(second, third), _cross(third, first), _cross(first, second)], dim=1)
    volume = (first * normals[:, 0]).sum(-1)
    reciprocal = normals / volume[:, None, None]  # rows b_k with b_k · a_l = δ_kl
    relative_volume = volume.abs() / cells.norm(dim=-1).prod(-1)
    of_atom = structures.structure
    whole = torch.einsum("nc,nkc->nk", positions, reciprocal[of_atom]).floor() * periodic[of_atom]
    # the comparison is false for NaN; very flat cells pass the validation below
    valid = (relative_volume > 1e-5).all() & positions.isfinite().all() & structures.cells.isfinite().all()
    sizes = [values.abs().max().double() for values in (structures.positions, cells) if values.numel()]
    spread = [(whole.amax(dim=0) - whole.amin(dim=0)).max()] if len(whole) else []
    is_valid, *measured = torch.stack([valid.double(), *spread, *sizes]).tolist()
    if not is_valid:
        structures.validate()
        if not bool(reciprocal.isfinite().all()):
            raise StructureError("a structure has a cell too flat for a neighbor search: give it a larger volume")
    wrapped = positions - torch.einsum("nk,nkc->nc", whole, cells[of_atom])
    heights = 1 / reciprocal.norm(dim=-1)
    # t_k is computed from wrapped positions, because fractional coordinates far outside of the cell are less accurate
    depths = torch.einsum("nc,nkc->nk", wrapped, (reciprocal * heights[..., None])[of_atom])
    atoms = WrappedAtoms(wrapped, of_atom, whole.long(), cells, periodic, heights, depths)
    return atoms, Extent(max(measured[len(spread) :], default=0.0), int(measured[0]) if spread else 0)


def _completed(cells: Tensor, periodic: Tensor) -> Tensor:
    """Replace lattice vectors that are not periodic by unit vectors perpendicular to all others.

    The entries of such vectors (zeros, a vacuum, a multiple of another vector) must not influence the search.
    """
    known = [periodic[:, axis, None] for axis in range(3)]
    vectors = [torch.where(known[axis], cells[:, axis], torch.zeros_like(cells[:, axis])) for axis in range(3)]
    unit_vectors = torch.eye(3, dtype=cells.dtype, device=cells.device)
    for axis in range(3):
        one, other = axis - 2, axis - 1
        single = vectors[one] + vectors[other]  # used where at most one of them is known
        helper = unit_vectors[single.abs().argmin(-1)]
        normal = torch.where(known[one] & known[other], _cross(vectors[one], vectors[other]), _cross(helper, single))
        normal = torch.where(known[one] | known[other], normal, unit_vectors[axis].expand_as(normal))
        vectors[axis] = torch.where(known[axis], vectors[axis], normal / normal.norm(dim=-1, keepdim=True))
        known[axis] = torch.ones_like(known[axis])
    return torch.stack(vectors, dim=1)


def _cross(one: Tensor, other: Tensor) -> Tensor:
    return torch.linalg.cross(one, other, dim=-1)
