"""Atoms at the same place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from helpers import KINDS, small_cell

from gemnet_blocks.graph.coinciding import COINCIDING, coinciding_atoms, coinciding_pairs
from gemnet_blocks.graph.neighbor_list import neighbor_search
from gemnet_blocks.structures import Structures

CELL = np.array([[4.0, 0, 0], [1.0, 5.0, 0], [0.3, -0.4, 6.0]])
CELLS = {"open": (None, False), "periodic": (CELL, True), "slab": (CELL, [True, False, True])}


def pair(offset: list[float], kind: str) -> Atoms:
    cell, periodic = CELLS[kind]
    start = np.array([0.0, 0.0, 0.0])
    return Atoms("CHO", [start, [1.1, 0.2, 2.0], start + offset], cell=cell, pbc=periodic)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("offset", [[0, 0, 0], [1e-6, 0, 0], [0, -5e-3, 5e-3]])
def test_atoms_at_the_same_place_are_found(kind: str, offset: list[float]) -> None:
    found = coinciding_atoms(Structures.from_ase(pair(offset, kind)))
    assert (found.first.tolist(), found.second.tolist()) == ([0], [2])


@pytest.mark.parametrize("shift", [CELL[0], -2 * CELL[2], CELL[0] + CELL[2] + [1e-6, 0, -1e-6]])
def test_atoms_a_lattice_vector_apart_coincide_where_the_cell_repeats(shift: np.ndarray) -> None:
    for kind, expected in (("open", 0), ("periodic", 1), ("slab", 1)):
        assert len(coinciding_atoms(Structures.from_ase(pair(list(shift), kind)))) == expected


SHORT = [
    Atoms("Cu", cell=[0.005, 5, 5], pbc=True),
    Atoms("CuAu", [[0, 0, 0], [1, 2, 0]], cell=[5, 5, 0.005], pbc=[False, False, True]),
    Atoms("Cu", cell=[[5, 0, 0], [5.004, 0.001, 0], [0, 0, 5]], pbc=True),  # the difference of two vectors
    Atoms("Cu", cell=[[5, 0, 0], [5.004, 0.001, 0], [0, 0, 0]], pbc=[True, True, False]),
]


@pytest.mark.parametrize("atoms", SHORT, ids=["cubic", "chain", "skewed", "skewed layer"])
def test_atoms_that_coincide_with_their_own_images_are_found(atoms: Atoms) -> None:
    structures = Structures.from_ase([small_cell(), atoms])
    first = len(small_cell())
    for found in (
        coinciding_atoms(structures),
        coinciding_pairs(structures, neighbor_search("torch")(structures, 0.1)),
    ):
        assert found.first.tolist() == found.second.tolist() == list(range(first, first + len(atoms)))
        symbol = atoms.symbols[0]
        assert found.by_structure(structures, str) == {"1": f"atom 0 ({symbol}) and its own image"}


def test_flat_cells_and_directions_that_do_not_repeat_are_not_taken_for_short_lattice_vectors() -> None:
    skewed = Atoms("Cu", cell=[[5, 0, 0], [3.14, 1e-3, 0], [0, 0, 5]], pbc=True)
    open_direction = Atoms("Cu", cell=[0.005, 5, 5], pbc=[False, True, True])
    assert len(coinciding_atoms(Structures.from_ase([skewed, open_direction]))) == 0


def test_both_ways_of_finding_them_agree_with_all_distances() -> None:
    random = np.random.default_rng(0)
    many = []
    for index in range(60):
        atoms = small_cell() * (2, 1, 1) if index % 2 else Atoms("H6", random.normal(size=(6, 3)))
        for _ in range(2):  # copies, some just near enough and some just not
            copied = atoms[[random.integers(len(atoms))]]
            direction = random.normal(size=3)
            copied.positions += random.choice([0, 0.99, 1.01]) * COINCIDING * direction / np.linalg.norm(direction)
            copied.positions += random.integers(-2, 3, 3) @ atoms.cell[:]
            atoms += copied
        many.append(atoms)
    structures = Structures.from_ase(many)
    expected = set()
    start = 0
    for atoms in many:
        near = np.argwhere(np.triu(atoms.get_all_distances(mic=True) < COINCIDING, 1))
        expected |= {(start + int(one), start + int(other)) for one, other in near}
        start += len(atoms)
    pairs = neighbor_search("vesin")(structures, 2.0)
    for found in (coinciding_atoms(structures), coinciding_pairs(structures, pairs)):
        assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
    assert len(expected) > 40


@pytest.mark.parametrize("kind", KINDS)
def test_odd_structures_are_searched(kind: str) -> None:
    structures = KINDS[kind]()
    assert len(coinciding_atoms(structures)) == (1 if kind == "coincident atoms" else 0)


def test_a_file_of_zeros_is_searched_in_little_memory() -> None:
    structures = Structures.from_ase(Atoms(numbers=np.ones(3000), positions=np.zeros((3000, 3))))
    assert 3000 <= len(coinciding_atoms(structures)) < 500_000


def test_atoms_are_named_by_their_number_in_their_structure() -> None:
    structures = Structures.from_ase([small_cell(), pair([0, 0, 0], "open")])
    found = coinciding_atoms(structures).by_structure(structures, "frame {}".format)
    assert found == {"frame 1": "atoms 0 (C) and 2 (O)"}
    assert coinciding_atoms(structures).structure.dtype == torch.long
