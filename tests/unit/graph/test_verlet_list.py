"""Neighbors that are searched for once for many steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from helpers import molecule, slab, small_cell

from gemnet_blocks.graph.neighbor_list import NeighborSearch, TorchSearch, VesinSearch
from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.graph.verlet_list import VerletList
from gemnet_blocks.structures import Structures

CUTOFF = 4.0
FRAMES = {"molecule": molecule(8), "slab": slab(), "small cell": small_cell()}


def assert_identical(one: Pairs, other: Pairs) -> None:
    """The same pairs in the same order, distances to the last bit, within their bounds."""
    for name in ("source", "target", "shift", "distance"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for bounds in (one.bounded(), other.bounded()):
        read = replace(one, bounds=None).bounded()
        assert read.atom <= bounds.atom
        assert read.distance <= bounds.distance
        assert read.shift <= bounds.shift


def displaced(atoms: Atoms, size: float, seed: int) -> Atoms:
    """Atoms moved by less than `size` in random directions."""
    random = np.random.default_rng(seed)
    moved = atoms.copy()
    steps = random.normal(size=moved.positions.shape)
    moved.positions += 0.999 * size * steps / np.linalg.norm(steps, axis=1, keepdims=True)
    return moved


@pytest.mark.parametrize("search", [VesinSearch(), TorchSearch()])
@pytest.mark.parametrize("kind", FRAMES)
def test_pairs_are_those_of_a_search_while_atoms_wander(kind: str, search: NeighborSearch) -> None:
    atoms, kept = FRAMES[kind].copy(), VerletList(search, 0.6)
    steps = 60
    for step in range(steps):
        atoms = displaced(atoms, 0.06, step)
        atoms.positions += [0, 0.02, 0.05]  # across the borders of the cell
        structures = Structures.from_ase(atoms)
        assert_identical(kept(structures, CUTOFF), search(structures, CUTOFF))
    assert 3 < kept.searches < steps / 2


def test_a_search_is_made_once_an_atom_has_moved_by_half_the_skin() -> None:
    kept = VerletList(VesinSearch(), 0.5)
    start = Structures.from_ase(slab())
    kept(start, CUTOFF)
    for distance, searches in ((0.24, 1), (-0.24, 1), (0.26, 2)):
        moved = start.positions.clone()
        moved[2, 1] += distance
        other = Structures.from_ase(slab())
        other.positions.copy_(moved)
        assert_identical(kept(other, CUTOFF), VesinSearch()(other, CUTOFF))
        assert kept.searches == searches


@pytest.mark.parametrize("kind", ["slab", "small cell"])
def test_cells_that_change(kind: str) -> None:
    """Atoms that follow their cell have not moved, but come nearer where it shrinks."""
    random = np.random.default_rng(0)
    kept, original = VerletList(VesinSearch(), 0.6), FRAMES[kind]
    atoms, steps = original.copy(), 40
    for step in range(steps):
        strain = random.uniform(-0.03, 0.02, (3, 3))
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
        atoms = displaced(atoms, 0.03, step)
        structures = Structures.from_ase(atoms)
        assert_identical(kept(structures, CUTOFF), VesinSearch()(structures, CUTOFF))
    assert 2 < kept.searches < steps


def test_cells_that_grow_need_no_search() -> None:
    """No pair comes within the cutoff where everything moves apart."""
    kept = VerletList(VesinSearch(), 0.6)
    for factor in (1, 1.02, 1.05, 1.1):
        atoms = small_cell()
        atoms.set_cell(small_cell().cell[:] * factor, scale_atoms=True)
        structures = Structures.from_ase(atoms)
        assert_identical(kept(structures, CUTOFF), VesinSearch()(structures, CUTOFF))
    assert kept.searches == 1


def test_the_same_crystal_in_another_cell() -> None:
    kept, atoms = VerletList(VesinSearch(), 0.5), small_cell()
    for other in (
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[1, 0, 0], [1, 1, 0], [0, 0, 1]],
        [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
    ):
        atoms.set_cell(np.array(other) @ small_cell().cell[:])
        structures = Structures.from_ase(atoms)
        assert_identical(kept(structures, CUTOFF), VesinSearch()(structures, CUTOFF))


def test_other_structures_are_searched_again() -> None:
    kept = VerletList(VesinSearch(), 0.5)
    open_one = small_cell()
    open_one.pbc = (True, False, True)
    batches = [
        [small_cell()],
        [open_one],
        [small_cell(), small_cell()],
        [small_cell() * (2, 1, 1)],
        [molecule(4)],
        [],
        [Atoms()],
        [molecule(1), molecule(3)],
        [molecule(2), molecule(2)],
    ]
    for searches, frames in enumerate(batches, start=1):
        structures = Structures.from_ase(frames)
        assert_identical(kept(structures, CUTOFF), VesinSearch()(structures, CUTOFF))
        assert kept.searches == searches
    kept(structures, CUTOFF - 1)
    assert kept.searches == len(batches)
    assert_identical(kept(structures, CUTOFF + 1), VesinSearch()(structures, CUTOFF + 1))
    assert kept.searches == len(batches) + 1


@pytest.mark.parametrize("skin", [0, -1.0, float("nan"), float("inf"), True])
def test_impossible_skins_are_refused(skin: float) -> None:
    with pytest.raises(ValueError, match="skin must be a positive, finite number in Å"):
        VerletList(VesinSearch(), skin)
