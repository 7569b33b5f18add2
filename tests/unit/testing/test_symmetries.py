"""Every symmetry holds for a pair potential that is summed over images by brute force."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.testing.models import Model, predict
from gemnet_blocks.testing.strategies import (
    batches,
    cell_changes,
    degenerate_structures,
    generic_structures,
    rotations,
    supercells,
    symmetries,
)
from gemnet_blocks.testing.symmetries import (
    Alone,
    CellChange,
    Permutation,
    Reordering,
    Rotation,
    Supercell,
    Symmetry,
    Translation,
)

CUTOFF = 2.5
quick = partial(settings, derandomize=True, deadline=None, database=None)

CRYSTAL = Structures.from_ase(
    Atoms(
        "CO", [[0.1, 0.2, 0.0], [1.2, 1.0, 0.9]], cell=[[2.3, 0.1, -0.2], [0.7, 3.1, 0.3], [-0.4, 0.6, 3.3]], pbc=True
    )
)
LAYER = Structures.from_ase(
    Atoms("CO", [[0, 0, 0], [0.5, 0.3, 1.1]], cell=[[2.0, 0, 0], [0.5, 2.2, 0], [0, 0, 1.0]], pbc=[True, True, False])
)
MOLECULE = Structures.from_ase(Atoms("OCH", [[0, 0, 0], [1.2, 0, 0], [1.9, 0.7, 0.4]]))
EMPTY, NOTHING = Structures.from_ase(Atoms()), Structures.from_ase([])


def images(structures: Structures) -> Tensor:
    """All lattice translations that can matter: sites within the cutoff plus the extent of the atoms."""
    cell, periodic = structures.cells[0], structures.periodic[0]
    vectors, positions = cell[periodic], structures.positions
    if not len(vectors):
        return torch.zeros(1, 3, dtype=torch.float64)
    reach = torch.linalg.pinv(vectors).norm(dim=0) * (CUTOFF + torch.cdist(positions, positions).max())
    counts = [range(-math.ceil(float(most)), math.ceil(float(most)) + 1) for most in reach]
    return torch.tensor(list(itertools.product(*counts)), dtype=torch.float64) @ vectors


def pair_energy(one: Structures, positions: Tensor) -> Tensor:
    """½ Σ_{i, j, image} (Z_i + Z_j + 10 tag_i tag_j) (1 - d²/cutoff²)³ over all pairs within the cutoff but itself."""
    weights = one.numbers[:, None] + one.numbers + 10.0 * one.tags[:, None] * one.tags
    shifts = images(one)
    vectors = positions[None, None] + shifts[:, None, None] - positions[None, :, None]
    itself = torch.eye(len(positions), dtype=torch.bool) & ~shifts.any(dim=1)[:, None, None]
    falloff = (1 - vectors.square().sum(-1) / CUTOFF**2).clamp(min=0) ** 3
    return (weights * falloff).masked_fill(itself, 0).sum() / 2


def pair_potential(structures: Structures) -> Prediction:
    energies, forces = [torch.zeros(0, dtype=torch.float64)], [torch.zeros(0, 3, dtype=torch.float64)]
    for index in range(len(structures)):
        one = structures[index]
        positions = one.positions.clone().requires_grad_()
        energy = pair_energy(one, positions) if one.atom_count else positions.sum()
        (gradient,) = torch.autograd.grad(energy, positions)
        energies.append(energy.detach()[None])
        forces.append(-gradient)
    return Prediction(torch.cat(energies), torch.cat(forces))


def assert_holds(symmetry: Symmetry, structures: Structures) -> None:
    before = pair_potential(structures)
    expected, actual = symmetry.expected(before, structures), pair_potential(symmetry.apply(structures))
    assert torch.allclose(actual.energy, expected.energy, rtol=1e-9, atol=1e-8), str(symmetry)
    assert actual.forces is not None
    assert expected.forces is not None
    assert torch.allclose(actual.forces, expected.forces, rtol=1e-9, atol=1e-7), str(symmetry)
    without = symmetry.expected(Prediction(before.energy, None), structures)
    assert without.forces is None
    assert torch.equal(without.energy, expected.energy)


@quick(max_examples=30)
@given(st.data())
def test_all_hold_on_generic_structures(data: st.DataObject) -> None:
    structures = data.draw(batches(generic_structures(max_atoms=5), max_structures=2))
    assert_holds(data.draw(symmetries(structures)), structures)


@quick(max_examples=60)
@given(st.data())
def test_all_hold_on_degenerate_structures(data: st.DataObject) -> None:
    structures = data.draw(batches(degenerate_structures(max_atoms=5), max_structures=2))
    assert_holds(data.draw(symmetries(structures)), structures)


@pytest.mark.parametrize(
    "symmetry",
    [
        Rotation(0.3, 1.2, 2.5, reflect=True),
        Translation(0.5, -20, 3),
        CellChange(((0, 1, 2), (2, 0, -1), (1, 2, 1)), ((1, 0, -2), (0, 3, 1), (0, 0, 0))),
        Reordering((2, 0, 1)),
        Supercell((2, 1, 2)),
    ],
)
@pytest.mark.parametrize("structures", [CRYSTAL, LAYER, MOLECULE, EMPTY, NOTHING])
def test_each_holds(symmetry: Symmetry, structures: Structures) -> None:
    assert_holds(symmetry, structures)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s: s.positions.new_zeros(len(s)).index_add(0, s.structure, s.positions[:, 0]),  # an orientation
        lambda s: s.cells.det(),  # a volume with sign
        lambda s: s.cells.diagonal(dim1=1, dim2=2).sum(1),
        lambda s: s.cells.norm(dim=-1).sum(-1),  # which lattice vectors were chosen
        lambda s: s.positions.new_zeros(len(s)).index_add(0, s.structure, torch.arange(s.atom_count).double()),
    ],
)
def test_models_without_the_symmetry_are_found_out(wrong: Model) -> None:
    structures = Structures.from_ase([bulk("NaCl", "rocksalt", 5.6), Atoms("CO", [[0, 0, 0], [0, 0.3, 1.1]])])
    moved = [
        Rotation(0.3, 1.2, 2.5, reflect=True),
        Translation(1, 2, 3),
        Permutation((1, 0, 2, 3)),
        CellChange(((0, 1, 1),), ((1, 0, 0),)),
        Supercell((1, 2, 1)),
        Alone(1),
    ]
    before = predict(wrong, structures)
    deviations = [
        predict(wrong, symmetry.apply(structures)).energy - symmetry.expected(before, structures).energy
        for symmetry in moved
    ]
    assert max(float(deviation.abs().max()) for deviation in deviations) > 0.1


def test_rotations_turn_cells_and_forces_like_positions() -> None:
    rotation = Rotation(0.3, 1.2, 2.5)
    matrix = rotation.matrix
    assert torch.allclose(matrix @ matrix.T, torch.eye(3, dtype=torch.float64), atol=1e-14)
    assert torch.det(matrix) == pytest.approx(1)
    assert torch.equal(replace(rotation, reflect=True).matrix, -matrix)
    turned, forces = rotation.apply(CRYSTAL), torch.tensor([[1.0, 0, 0], [0, 2, 0]], dtype=torch.float64)
    assert torch.allclose(turned.positions[1], matrix @ CRYSTAL.positions[1])
    assert torch.allclose(turned.cells[0, 2], matrix @ CRYSTAL.cells[0, 2])
    expected = rotation.expected(Prediction(torch.zeros(1), forces), CRYSTAL).forces
    assert expected is not None
    assert torch.allclose(expected[1], 2 * matrix[:, 1])


def test_the_order_of_angles_is_that_of_the_docstring() -> None:
    def about(axis: int, angle: float) -> Tensor:
        """Right-handed, about x or y."""
        matrix = torch.eye(3, dtype=torch.float64)
        one, other = (1, 2) if axis == 0 else (2, 0)
        matrix[one, one] = matrix[other, other] = math.cos(angle)
        matrix[other, one], matrix[one, other] = math.sin(angle), -math.sin(angle)
        return matrix

    assert torch.allclose(Rotation(0.3, 1.2, 2.5).matrix, about(1, 0.3) @ about(0, 1.2) @ about(1, 2.5), atol=1e-12)


@quick(max_examples=30)
@given(cell_changes())
def test_cell_changes_keep_volume_and_move_atoms_by_lattice_vectors(change: CellChange) -> None:
    changed = change.apply(CRYSTAL)
    assert changed.cells.det() == pytest.approx(float(CRYSTAL.cells.det()))
    moved = (changed.positions - CRYSTAL.positions) @ CRYSTAL.cells[0].inverse()
    shifts = change.shifts or ((0, 0, 0),)
    wanted = torch.tensor([shifts[atom % len(shifts)] for atom in range(2)]).double()
    assert torch.allclose(moved, wanted, atol=1e-9)
    matrix = changed.cells[0] @ CRYSTAL.cells[0].inverse()
    assert torch.allclose(matrix, matrix.round(), atol=1e-9)
    assert torch.equal(matrix.round(), torch.eye(3, dtype=torch.float64)) == shears_undo_each_other(change)


def shears_undo_each_other(change: CellChange) -> bool:
    product = torch.eye(3, dtype=torch.float64)
    for i, j, n in change.shears:
        product[i] += n * product[j]
    return bool(torch.equal(product, torch.eye(3, dtype=torch.float64)))


def test_cell_changes_leave_axes_without_periodicity() -> None:
    changed = CellChange(((0, 1, 2), (0, 2, 1), (2, 0, 1)), ((0, 0, 5),)).apply(LAYER)
    assert torch.equal(changed.positions, LAYER.positions)
    assert torch.equal(changed.cells[0, 0], LAYER.cells[0, 0] + 2 * LAYER.cells[0, 1])
    assert torch.equal(changed.cells[0, 1:], LAYER.cells[0, 1:])
    unchanged = CellChange(((0, 1, 2),), ((1, 1, 1),)).apply(MOLECULE)
    assert torch.equal(unchanged.positions, MOLECULE.positions)


def test_supercells_repeat_along_periodic_axes_only() -> None:
    repeated = Supercell((2, 1, 3)).apply(LAYER)
    assert repeated.atom_count == 4
    assert repeated.numbers.tolist() == [6, 8, 6, 8]
    assert torch.equal(repeated.positions[2:], LAYER.positions + LAYER.cells[0, 0])
    assert torch.equal(repeated.cells[0], LAYER.cells[0] * torch.tensor([[2], [1], [1]]))
    energy = torch.ones(1, dtype=torch.float64)
    assert Supercell((2, 3, 1)).expected(Prediction(energy, None), LAYER).energy.tolist() == [6]
    assert Supercell((2, 3, 1), extensive=False).expected(Prediction(energy, None), LAYER).energy.tolist() == [1]


@quick(max_examples=20)
@given(supercells(max_images=6))
def test_supercells_are_those_of_ase(supercell: Supercell) -> None:
    atoms = bulk("Ti", "hcp", a=2.95)
    ours, theirs = supercell.apply(Structures.from_ase(atoms)), Structures.from_ase(atoms.repeat(supercell.repeats))
    assert torch.allclose(ours.positions, theirs.positions)
    assert torch.allclose(ours.cells, theirs.cells)
    assert torch.equal(ours.numbers, theirs.numbers)


def test_permutations_stay_within_structures() -> None:
    pair = Structures.from_ase([Atoms("CO", [[0, 0, 0], [0, 0, 1.1]], tags=[1, 2]), Atoms("H")])
    permuted = Permutation((1, 0, 2)).apply(pair)
    assert permuted.numbers.tolist() == [8, 6, 1]
    assert permuted.tags.tolist() == [2, 1, -1]
    assert torch.equal(permuted.positions, pair.positions[[1, 0, 2]])
    with pytest.raises(ValueError, match="moves atom 2 to place 1 in another structure"):
        Permutation((0, 2, 1)).apply(pair)
    with pytest.raises(ValueError, match="a permutation of 3 atoms"):
        Permutation((0, 1)).apply(pair)
    with pytest.raises(ValueError, match="a permutation of 3 atoms"):
        Permutation((0, 0, 2)).apply(pair)


def test_impossible_symmetries_are_refused() -> None:
    with pytest.raises(ValueError, match="with different lattice vectors"):
        CellChange(((1, 1, 2),))
    with pytest.raises(ValueError, match="among 0, 1 and 2"):
        CellChange(((0, 3, 2),))
    with pytest.raises(ValueError, match="in some order"):
        Reordering((0, 1, 1))
    with pytest.raises(ValueError, match="at least 1"):
        Supercell((0, 1, 1))
    with pytest.raises(ValueError, match="below the number of structures, 1; got 2"):
        Alone(2).apply(MOLECULE)


@quick(max_examples=60)
@given(st.data())
def test_repr_makes_them_again(data: st.DataObject) -> None:
    symmetry = data.draw(symmetries(data.draw(batches(generic_structures(max_atoms=4)))))
    assert eval(repr(symmetry)) == symmetry
    assert "E(" in str(symmetry)


@quick(max_examples=20)
@given(rotations())
def test_types_are_kept_and_gradients_carried(rotation: Rotation) -> None:
    single = CRYSTAL.to(dtype=torch.float32)
    cells = single.cells.clone().requires_grad_()
    for symmetry in (rotation, CellChange(((0, 1, 1),), ((1, 2, 0),)), Supercell((2, 1, 1)), Translation(1, 0, 0)):
        transformed = symmetry.apply(replace(single, cells=cells))
        assert transformed.positions.dtype == transformed.cells.dtype == torch.float32
        assert transformed.cells.requires_grad
        forces = symmetry.expected(Prediction(torch.zeros(1), torch.zeros(2, 3)), single).forces
        assert forces is not None
        assert forces.dtype == torch.float32
