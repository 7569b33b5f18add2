"""Detection of coinciding atoms, which are errors in the input and which forces cannot move apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from ase.data import chemical_symbols
from ase.geometry import minkowski_reduce
from jaxtyping import Int
from torch import Tensor

from gemnet_blocks.errors import StructureError, first_few
from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.graph.wrapping import WrappedAtoms, wrap
from gemnet_blocks.structures import Structures

COINCIDING = 0.01
"""Distance in Å below which atoms coincide: much shorter than any bond, but longer than rounding errors of coordinates
in files, which often list atoms on symmetry elements twice."""

_BOX = 0.5
"""The edge length in Å of the boxes that atoms are sorted into; small enough that few boxes contain two atoms."""

_PLACES_AT_MOST = 64
"""The largest distance in the sorted list at which atoms of one box are compared. Without this limit, a file whose
positions are all zero would have N² pairs."""

_MULTIPLIERS = (73_856_093, 19_349_663, 83_492_791, 2_654_435_761)
"""Odd numbers that hash the coordinates of a box and its structure to one integer."""


@dataclass(frozen=True, slots=True, eq=False)
class CoincidingAtoms:
    """Pairs of atoms that coincide with each other or with a periodic image of each other.

    Attributes:
        first: the index of one atom of each pair, ascending.
        second: the index of the other atom, which is the same atom if it coincides with its own image.
        structure: the structure of each pair.
    """

    first: Int[Tensor, " pairs"]
    second: Int[Tensor, " pairs"]
    structure: Int[Tensor, " pairs"]

    def __len__(self) -> int:
        return len(self.first)

    def by_structure(self, structures: Structures, place: Callable[[int], str]) -> dict[str, str]:
        """Describe one pair of coinciding atoms in each structure that has such pairs.

        Args:
            structures: the structures that were searched.
            place: maps the index of a structure to its name.

        Returns:
            Descriptions of the atoms, with their indices and elements, by the name of the structure.
        """
        found: dict[str, str] = {}
        starts = torch.searchsorted(structures.structure, self.structure).tolist()
        homes, numbers = self.structure.tolist(), structures.numbers
        for first, second, home, start in zip(self.first.tolist(), self.second.tolist(), homes, starts, strict=True):
            one, other = (f"{atom - start} ({_symbol(int(numbers[atom]))})" for atom in (first, second))
            atoms = f"atom {one} and its own image" if first == second else f"atoms {one} and {other}"
            found.setdefault(place(home), atoms)
        return found


def coinciding_message(found: Mapping[str, str], count: int) -> str:
    """Write a warning about the first few structures with coinciding atoms.

    Args:
        found: descriptions of two coinciding atoms by the name of the structure.
        count: the number of structures that were searched.
    """
    listed = first_few([f"{place} ({atoms})" for place, atoms in found.items()], 3)
    return (
        f"atoms coincide (less than {COINCIDING} Å apart) in {len(found)} of {count} structures: {listed}: "
        "correct or remove these structures"
    )


def coinciding_pairs(structures: Structures, pairs: Pairs) -> CoincidingAtoms:
    """Select the coinciding atoms from known neighbors.

    Args:
        structures: the structures.
        pairs: all pairs of these structures within a cutoff larger than `COINCIDING`.
    """
    near = (pairs.distance < COINCIDING).nonzero()[:, 0]
    first, second = pairs.source[near], pairs.target[near]
    return _ordered(structures, first, second)


@torch.no_grad()
def coinciding_atoms(structures: Structures) -> CoincidingAtoms:
    """Find all coinciding atoms without a neighbor search, in time linear in the number of atoms.

    Every atom is sorted into each box that overlaps a cube around it, which is a single box for most atoms. The cubes
    of coinciding atoms overlap, so that these atoms share a box.

    Raises:
        StructureError: positions or cells are not finite, or a cell has no volume.
    """
    atoms = wrap(structures)
    key, atom = _boxes(atoms)
    key, order = key.sort()
    atom = atom[order]
    with_own_image = _with_own_image(atoms)
    first, second = [with_own_image], [with_own_image]
    step = 1
    # compare neighbors in the sorted list, then atoms two places apart if three atoms share a box, and so on
    while step < min(len(key), _PLACES_AT_MOST) and bool((same := key[step:] == key[:-step]).any()):
        place = same.nonzero()[:, 0]
        one, other = atom[place], atom[place + step]
        near = _near(atoms, one, other)
        first.append(one[near])
        second.append(other[near])
        step += 1
    return _ordered(structures, torch.cat(first), torch.cat(second))


def refuse_coinciding(structures: Structures, pairs: Pairs) -> None:
    """Check that no atoms coincide in structures whose neighbors are known.

    Raises:
        StructureError: atoms coincide; the message names two of them in the first such structure.
    """
    found = coinciding_pairs(structures, pairs).by_structure(structures, str)
    for structure, atoms in found.items():
        raise StructureError(
            f"has coinciding {atoms}, less than {COINCIDING} Å apart, which forces cannot move apart: remove one of "
            "each such pair, or allow them with allow_coinciding=True (command line: --allow-coinciding)",
            structure=int(structure),
        )


def _boxes(atoms: WrappedAtoms) -> tuple[Tensor, Tensor]:
    """Compute one hash for each box that overlaps the cube around an atom, and the atom."""
    count = (atoms.heights / _BOX).floor().clamp(min=1)
    edge = torch.where(atoms.periodic, atoms.heights / count, _BOX)[atoms.structure]
    low = ((atoms.depths - COINCIDING / 2) / edge).floor().long()
    high = ((atoms.depths + COINCIDING / 2) / edge).floor().long()
    turns = torch.where(atoms.periodic, count.long(), torch.iinfo(torch.long).max)[atoms.structure]
    atom = torch.arange(len(low), device=low.device)
    key = atoms.structure * _MULTIPLIERS[3]
    for axis, multiplier in enumerate(_MULTIPLIERS[:3]):
        lower, upper = (side[:, axis] % turns[:, axis] * multiplier for side in (low, high))
        divided = (lower != upper)[atom].nonzero()[:, 0]
        key = torch.cat([key + lower[atom], key[divided] + upper[atom[divided]]])
        atom = torch.cat([atom, atom[divided]])
    return key, atom


def _with_own_image(atoms: WrappedAtoms) -> Tensor:
    """Find the atoms that coincide with their own image because a lattice vector is too short."""
    # a lattice vector that leaves a lattice plane is at least as long as the distance between the planes
    flat = ((atoms.heights < COINCIDING) & atoms.periodic).any(dim=-1).nonzero()[:, 0].tolist()
    reduced = {index: minkowski_reduce(atoms.cells[index].cpu(), atoms.periodic[index].cpu())[0] for index in flat}
    short = [index for index, vectors in reduced.items() if (vectors**2).sum(axis=1).min() < COINCIDING**2]
    return torch.isin(atoms.structure, atoms.structure.new_tensor(short)).nonzero()[:, 0]


def _near(atoms: WrappedAtoms, one: Tensor, other: Tensor) -> Tensor:
    """Select coinciding pairs of wrapped atoms; atoms of different structures may have the same hash."""
    home = atoms.structure[one]
    shift = ((atoms.depths[one] - atoms.depths[other]) / atoms.heights[home]).round() * atoms.periodic[home]
    offset = torch.einsum("pk,pkc->pc", shift, atoms.cells[home])
    distance = (atoms.positions[one] - atoms.positions[other] - offset).norm(dim=-1)
    return (home == atoms.structure[other]) & (one != other) & (distance < COINCIDING)


def _ordered(structures: Structures, one: Tensor, other: Tensor) -> CoincidingAtoms:
    """Sort pairs and remove duplicates."""
    count = structures.atom_count
    pairs = (torch.minimum(one, other) * count + torch.maximum(one, other)).unique()
    first, second = pairs // max(count, 1), pairs % max(count, 1)
    return CoincidingAtoms(first, second, structures.structure[first])


def _symbol(number: int) -> str:
    return chemical_symbols[number] if 0 <= number < len(chemical_symbols) else f"element {number}"
