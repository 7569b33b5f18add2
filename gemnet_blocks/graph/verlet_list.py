"""Neighbors that are searched for once for many steps of a simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemnet_blocks.graph.neighbor_list import NeighborSearch
from gemnet_blocks.graph.pairs import translations
from gemnet_blocks.graph.wrapping import Candidates, WrappedAtoms
from gemnet_blocks.options import positive_number


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """What was found of structures as they were then.

    Attributes:
        positions: where the atoms were, not wrapped.
        cells: lattice vectors, with unit vectors perpendicular to all others where not periodic.
        structure: the structure of each atom.
        periodic: whether the structures repeat along each lattice vector.
        reach: all pairs up to this distance were found, in Å.
        candidates: the pairs, with shifts between atoms that are not wrapped.
    """

    positions: Float[Tensor, "atoms 3"]
    cells: Float[Tensor, "structures 3 3"]
    structure: Int[Tensor, " atoms"]
    periodic: Bool[Tensor, "structures 3"]
    reach: float
    candidates: Candidates

    def serve(self, atoms: WrappedAtoms, positions: Tensor, cutoff: float) -> bool:
        """Whether no pair within the cutoff can be missing.

        With cells A₀F for what were cells A₀, and atoms at r₀F + u for what were atoms at r₀, a pair d apart was
        d₀ ≤ (d + 2 max|u|)/σ apart, where σ is the smallest singular value of F.
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
class KeptNeighbors(NeighborSearch):
    """A search that looks farther than it must, and keeps what it finds as long as no pair can be missing.

    While cells stay, that is until an atom has moved by half of the skin. Where cells change, the part of a movement
    that follows them does not count, but neighbors come nearer by their compression. The pairs are exactly those of the
    search itself, in the same order, since distances are computed anew each time.

    Args:
        search: the search.
        skin: how much farther it looks, in Å.

    Attributes:
        searches: how often neighbors were searched for so far.

    Raises:
        ValueError: the skin is no positive length.
    """

    def __init__(self, search: NeighborSearch, skin: float) -> None:
        self.search = search
        self.skin = positive_number("KeptNeighbors", "skin", skin, "Å")
        self.searches = 0
        self._kept: _Kept | None = None

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
        # searches propose more than what is within reach
        near = (vector.norm(dim=-1) <= reach).nonzero()[:, 0]
        source, target = found.source[near], found.target[near]
        shift = found.shift[near] + _between(atoms.whole, source, target)
        candidates = Candidates(source, target, shift)
        return _Kept(positions, atoms.cells, atoms.structure, atoms.periodic, reach, candidates)


def _between(whole: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """What a pair's shift grows by where its atoms are put back from where they were wrapped to."""
    return whole.index_select(0, target) - whole.index_select(0, source)
