"""Verlet list: neighbors that are searched once for many steps of a simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.graph.neighbor_list import NeighborSearch
from gemnet_blocks.graph.pairs import translations
from gemnet_blocks.graph.wrapping import Candidates, WrappedAtoms
from gemnet_blocks.options import positive_number


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """Results of a search, and the structures at that time.

    Attributes:
        positions: the positions of the atoms, not wrapped.
        cells: lattice vectors, with unit vectors perpendicular to all others along directions that are not periodic.
        structure: the structure of each atom.
        periodic: the periodicity of each structure along each lattice vector.
        reach: the largest distance of the pairs that were found, in Å.
        candidates: the pairs, with shifts that refer to positions that are not wrapped.
    """

    positions: Float[Tensor, "atoms 3"]
    cells: Float[Tensor, "structures 3 3"]
    structure: Int[Tensor, " atoms"]
    periodic: Bool[Tensor, "structures 3"]
    reach: float
    candidates: Candidates

    def serve(self, atoms: WrappedAtoms, positions: Tensor, cutoff: float) -> bool:
        """Check that no pair within the cutoff can be missing.

        If cells A₀ have become A₀F and positions r₀ have become r₀F + u, a pair with the distance d had the distance
        d₀ ≤ (d + 2 max|u|)/σ, where σ is the smallest singular value of F.
        """
        same = self.structure.shape == atoms.structure.shape and self.cells.shape == atoms.cells.shape
        if not same or self.cells.device != atoms.cells.device:
            return False
        if not torch.equal(self.structure, atoms.structure) or not torch.equal(self.periodic, atoms.periodic):
            return False
        if torch.equal(self.cells, atoms.cells):
            moved, smallest = positions - self.positions, 1.0
        else:
            deformation = torch.linalg.solve(self.cells, atoms.cells)
            smallest = float(torch.linalg.svdvals(deformation).min())
            of_atoms = deformation.index_select(0, self.structure)
            moved = positions - torch.einsum("ni,nij->nj", self.positions, of_atoms)
        farthest = float(moved.square().sum(-1).max()) ** 0.5 if len(moved) else 0.0
        return cutoff + 2 * farthest <= smallest * self.reach


@final
class VerletList(NeighborSearch):
    """Verlet list: a search with a larger cutoff, whose results are reused as long as no pair can be missing.

    With constant cells, neighbors are searched again when an atom has moved by more than half of the skin. With
    changing cells, displacements are measured relative to the deformation of the cell, and the compression of distances
    reduces the skin. The pairs are identical to those of a new search, including their order, because distances are
    recomputed in every step.

    Args:
        search: the neighbor search.
        skin: the distance in Å by which the cutoff of the search is larger, typically 0.3 to 1. A larger skin needs
            fewer searches but more distances per step.

    Attributes:
        searches: the number of searches so far.

    Raises:
        ValueError: `skin` is not a positive, finite number.
    """

    def __init__(self, search: NeighborSearch, skin: float) -> None:
        self.search = search
        self.skin = positive_number("VerletList", "skin", skin, "Å")
        self.searches = 0
        self._kept: _Kept | None = None

    @override
    def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
        positions = atoms.positions + translations(atoms.whole, atoms.structure, atoms.cells).t()
        if self._kept is None or not self._kept.serve(atoms, positions, cutoff):
            self._kept = None  # frees memory for the search
            self._kept = self._found(atoms, positions, cutoff + self.skin)
            self.searches += 1
        found = self._kept.candidates
        return Candidates(found.source, found.target, found.shift - _between(atoms.whole, found.source, found.target))

    def _found(self, atoms: WrappedAtoms, positions: Tensor, reach: float) -> _Kept:
        found = self.search._candidates(atoms, reach)
        offset = translations(found.shift, atoms.structure.index_select(0, found.target), atoms.cells)
        vector = atoms.positions[found.target] - atoms.positions[found.source] - offset.t()
        # candidates include pairs beyond the reach
        near = (vector.norm(dim=-1) <= reach).nonzero()[:, 0]
        source, target = found.source[near], found.target[near]
        shift = found.shift[near] + _between(atoms.whole, source, target)
        candidates = Candidates(source, target, shift)
        return _Kept(positions, atoms.cells, atoms.structure, atoms.periodic, reach, candidates)


def _between(whole: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Compute the change of the shift of a pair when its wrapped atoms are moved back."""
    return whole.index_select(0, target) - whole.index_select(0, source)
