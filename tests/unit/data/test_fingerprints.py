"""Fingerprints recognize a structure that is written differently, and no other one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule
from helpers import slab, small_cell

from gemnet_blocks.data.fingerprints import fingerprints, possible_fingerprints
from gemnet_blocks.structures import Structures


def rattled(atoms: Atoms, seed: int = 0) -> Atoms:
    atoms = atoms.copy()
    atoms.rattle(0.05, seed=seed)
    return atoms


STRUCTURES: Mapping[str, Callable[[], Atoms]] = {
    "molecule": lambda: rattled(molecule("CH3OH")),
    "perfect crystal": lambda: bulk("Cu", a=3.61234, cubic=True),
    "rattled crystal": lambda: rattled(bulk("NaCl", "rocksalt", a=5.64)),
    "triclinic cell": small_cell,
    "slab": slab,
    "layer": lambda: rattled(graphene(vacuum=5)),
    "atom": lambda: Atoms("H"),
    "no atoms": Atoms,
}


def with_lattice(atoms: Atoms, vectors: list[list[int]]) -> Atoms:
    """The same structure with other vectors of the same lattice; not periodic ones stay where they are."""
    matrix = np.array(vectors)
    return Atoms(atoms.numbers, atoms.positions, cell=matrix @ atoms.cell[:], pbc=np.abs(matrix) @ atoms.pbc > 0)


def moved_by_lattice_vectors(atoms: Atoms) -> Atoms:
    atoms = atoms.copy()
    moves = np.random.default_rng(1).integers(-2, 3, (len(atoms), 3)) * atoms.pbc
    atoms.positions += moves @ atoms.cell[:]
    return atoms


def wrapped(atoms: Atoms) -> Atoms:
    atoms = atoms.copy()
    atoms.positions += 1.7
    atoms.wrap()
    return atoms


def rotated(atoms: Atoms) -> Atoms:
    atoms = atoms.copy()
    atoms.rotate(35, "x", rotate_cell=True)
    atoms.rotate(-20, "z", rotate_cell=True)
    return atoms


def rounded(atoms: Atoms, digits: int = 4) -> Atoms:
    return Atoms(atoms.numbers, np.round(atoms.positions, digits), cell=np.round(atoms.cell[:], digits), pbc=atoms.pbc)


WAYS: Mapping[str, Callable[[Atoms], Atoms]] = {
    "wrapped": wrapped,
    "moved by lattice vectors": moved_by_lattice_vectors,
    "lattice vectors in another order": lambda atoms: with_lattice(atoms, [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "other lattice vectors": lambda atoms: (
        with_lattice(atoms, [[1, 1, 0], [0, -1, 0], [0, 0, 1]]) if atoms.pbc[:2].all() else atoms.copy()
    ),
    "rotated": rotated,
    "mirrored": lambda atoms: Atoms(
        atoms.numbers, atoms.positions * [-1, 1, 1], cell=atoms.cell[:] * [-1, 1, 1], pbc=atoms.pbc
    ),
    "renumbered": lambda atoms: atoms[::-1],
    "rounded to 4 decimals": rounded,
    "rounded to 5 decimals and wrapped": lambda atoms: rounded(wrapped(atoms), 5),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_structure_written_differently_is_recognized(way: str) -> None:
    frames = [make() for make in STRUCTURES.values()]
    before = fingerprints(Structures.from_ase(frames))
    after = possible_fingerprints(Structures.from_ase([WAYS[way](atoms) for atoms in frames]))
    for name, one, possible in zip(STRUCTURES, before, after, strict=True):
        assert one in possible, f"{name} {way}"


def similar_structures() -> list[Atoms]:
    """Structures that are alike but not the same."""
    perfect = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    displaced, other_displaced, open_, longer = perfect.copy(), perfect.copy(), perfect.copy(), perfect * (2, 1, 1)
    displaced.positions[0, 0] += 0.02
    other_displaced.positions[1, 0] += 0.02
    open_.pbc = (True, True, False)
    strained = [bulk("NaCl", "rocksalt", a=a, cubic=True) for a in np.linspace(5.5, 5.6, 21)]
    rattled_ones = [rattled(molecule("CH3OH"), seed) for seed in range(20)]
    apart = [Atoms("H2O", positions=[[0, 0, 0], [0.74, 0, 0], [x, 0.3, 0]]) for x in np.linspace(6, 7, 21)]
    adsorbed = [fcc111("Cu", (1, 1, 2), vacuum=20) + Atoms("O", positions=[[0, 0, 29 + z]]) for z in range(5)]
    replaced = Atoms("CuAu", positions=[[0, 0, 0], [2.5, 0, 0]])
    return [
        *(perfect, displaced, other_displaced, open_, longer),
        *strained,
        *rattled_ones,
        *apart,
        *adsorbed,
        replaced,
        Atoms("Cu2", positions=replaced.positions),
    ]


def test_similar_structures_are_not_taken_for_each_other() -> None:
    batch = Structures.from_ase(similar_structures())
    known = fingerprints(batch)
    assert len(set(known.tolist())) == len(batch)
    for index, possible in enumerate(possible_fingerprints(batch)):
        assert np.flatnonzero(np.isin(known, possible)).tolist() == [index]


def test_a_batch_has_the_fingerprints_of_its_structures() -> None:
    frames = [make() for make in STRUCTURES.values()]
    alone = [fingerprints(Structures.from_ase(atoms))[0] for atoms in frames]
    np.testing.assert_array_equal(fingerprints(Structures.from_ase(frames)), alone)
