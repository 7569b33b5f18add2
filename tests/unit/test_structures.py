from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian, FixScaled
from helpers import assert_close, line, molecule, slab, small_cell
from torch import Tensor

from gemnet_blocks.errors import StructureError
from gemnet_blocks.structures import UNKNOWN_TAG, Structures

FIELDS = ("positions", "numbers", "structure", "cells", "periodic", "tags", "fixed")


def assert_equal(one: Structures, other: Structures) -> None:
    for name in FIELDS:
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)


def batch_of(many: list[Atoms], **changes: Any) -> SimpleNamespace:
    """The same as PyTorch Geometric's batches have it; a change to None removes an attribute."""
    attributes = {
        "pos": torch.tensor(np.concatenate([atoms.positions for atoms in many])),
        "atomic_numbers": torch.tensor(np.concatenate([atoms.numbers for atoms in many])),
        "batch": torch.tensor([index for index, atoms in enumerate(many) for _ in atoms], dtype=torch.long),
        "natoms": torch.tensor([len(atoms) for atoms in many]),
        "cell": torch.tensor(np.stack([atoms.cell.array for atoms in many])),
        "pbc": torch.tensor(np.stack([atoms.pbc for atoms in many])),
        "tags": torch.tensor(np.concatenate([atoms.get_tags() for atoms in many])),
        "fixed": torch.tensor([a in c.index for atoms in many for c in [fixed_of(atoms)] for a in range(len(atoms))]),
    } | changes
    return SimpleNamespace(**{name: value for name, value in attributes.items() if value is not None})


def fixed_of(atoms: Atoms) -> FixAtoms:
    return atoms.constraints[0] if atoms.constraints else FixAtoms([])


MANY = [molecule(4), slab(), small_cell()]

# -- from ASE ---------------------------------------------------------------------------------------------------------


def test_one_structure_from_ase() -> None:
    atoms = slab()
    structures = Structures.from_ase(atoms)
    assert len(structures) == 1
    assert structures.atom_count == 5
    assert structures.positions.dtype == structures.cells.dtype == torch.float64
    np.testing.assert_array_equal(structures.positions, atoms.positions)
    np.testing.assert_array_equal(structures.cells[0], atoms.cell.array)
    assert structures.numbers.tolist() == [29, 29, 29, 29, 8]
    assert structures.periodic.tolist() == [[True, True, False]]
    assert structures.tags.tolist() == [0, 0, 1, 1, 2]
    assert structures.fixed.tolist() == [True, False, False, False, False]
    assert structures.structure.tolist() == [0] * 5


@pytest.mark.parametrize("container", [list, tuple])
def test_many_structures_from_ase(container: type) -> None:
    structures = Structures.from_ase(container([molecule(4), Atoms(), small_cell()]))
    assert len(structures) == 3
    assert structures.atom_counts.tolist() == [4, 0, 2]
    assert structures.structure.tolist() == [0, 0, 0, 0, 2, 2]
    assert structures.periodic.tolist() == [[False] * 3, [False] * 3, [True] * 3]
    assert (structures.cells[0] == 0).all()
    np.testing.assert_array_equal(structures.cells[2], small_cell().cell.array)
    np.testing.assert_array_equal(structures.positions[4:], small_cell().positions)


@pytest.mark.parametrize(("atoms", "count"), [([], 0), (Atoms(), 1), ([Atoms(), Atoms()], 2)])
def test_nothing_from_ase(atoms: Any, count: int) -> None:
    structures = Structures.from_ase(atoms)
    assert len(structures) == count
    assert structures.positions.shape == (0, 3)
    assert structures.cells.shape == (count, 3, 3)
    assert structures.numbers.dtype == structures.tags.dtype == torch.long
    assert structures.fixed.dtype == structures.periodic.dtype == torch.bool
    assert structures.atom_counts.tolist() == [0] * count


def test_floating_point_type_from_ase() -> None:
    structures = Structures.from_ase(slab(), dtype=torch.float32)
    assert structures.positions.dtype == structures.cells.dtype == torch.float32


def test_tags_that_were_never_set_are_unknown_also_next_to_others() -> None:
    structures = Structures.from_ase([Atoms("H"), line(0)])
    assert structures.tags.tolist() == [UNKNOWN_TAG, 1]


def test_only_fully_fixed_atoms_are_fixed() -> None:
    atoms = molecule(5)
    atoms.set_constraint(
        [FixAtoms([0]), FixCartesian(1, [True, False, False]), FixAtoms(mask=[False, False, False, True, False])]
    )
    assert Structures.from_ase(atoms).fixed.tolist() == [True, False, False, True, False]


@pytest.mark.parametrize("kind", [FixCartesian, FixScaled])
def test_atoms_fixed_in_all_three_directions_are_fixed(kind: type) -> None:
    atoms = molecule(4)
    atoms.cell, atoms.pbc = 10 * np.eye(3), True
    atoms.set_constraint([kind(0), kind([2], [True, True, True]), kind(3, [True, True, False])])
    assert Structures.from_ase(atoms).fixed.tolist() == [True, False, True, False]


def test_structures_do_not_share_memory_with_the_atoms() -> None:
    atoms = molecule(3)
    structures = Structures.from_ase(atoms)
    before = structures.positions.clone()
    atoms.positions += 1
    assert torch.equal(structures.positions, before)


def test_calculators_and_results_do_not_matter() -> None:
    atoms = molecule(3)
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    assert_equal(Structures.from_ase(atoms), Structures.from_ase(molecule(3)))


# -- from batch objects -----------------------------------------------------------------------------------------------


def test_batch_objects_are_read_like_ase_atoms() -> None:
    assert_equal(Structures.from_batch(batch_of(MANY)), Structures.from_ase(MANY))


@pytest.mark.parametrize("missing", ["natoms", "batch"])
def test_either_way_of_telling_structures_apart_is_enough(missing: str) -> None:
    assert_equal(Structures.from_batch(batch_of(MANY, **{missing: None})), Structures.from_ase(MANY))


def test_without_either_everything_is_one_structure() -> None:
    batch = batch_of([slab()], natoms=None, batch=None)
    assert_equal(Structures.from_batch(batch), Structures.from_ase(slab()))


@pytest.mark.parametrize("natoms", [5, [5], torch.tensor(5), torch.tensor([5])])
def test_numbers_of_atoms_may_be_plain(natoms: Any) -> None:
    assert_equal(Structures.from_batch(batch_of([slab()], natoms=natoms)), Structures.from_ase(slab()))


def test_structures_without_atoms_in_the_middle_and_at_the_end() -> None:
    many = [molecule(3), Atoms(), molecule(2), Atoms()]
    structures = Structures.from_batch(batch_of(many))
    assert structures.atom_counts.tolist() == [3, 0, 2, 0]
    assert structures.structure.tolist() == [0, 0, 0, 2, 2]


def test_without_tags_or_constraints() -> None:
    structures = Structures.from_batch(batch_of(MANY, tags=None, fixed=None))
    assert (structures.tags == UNKNOWN_TAG).all()
    assert not structures.fixed.any()
    assert structures.tags.dtype == torch.long


def test_without_cells_nothing_is_periodic() -> None:
    structures = Structures.from_batch(batch_of(MANY, cell=None, pbc=None))
    assert not structures.periodic.any()
    assert structures.cells.shape == (3, 3, 3)
    assert (structures.cells == 0).all()


@pytest.mark.parametrize("pbc", [torch.full((2, 3), 2), torch.tensor([0.5, 1.0, 0.0]), torch.tensor([-1, 0, 1])])
def test_periodicity_of_a_batch_is_truth_values(pbc: torch.Tensor) -> None:
    with pytest.raises(StructureError, match="pbc: expected booleans, found"):
        Structures.from_batch(batch_of([small_cell(), small_cell()], pbc=pbc))


def test_with_cells_and_without_pbc_everything_is_periodic() -> None:
    structures = Structures.from_batch(batch_of([small_cell(), small_cell()], pbc=None))
    assert structures.periodic.all()


@pytest.mark.parametrize(
    "pbc",
    [
        [True, False, True],
        torch.tensor([True, False, True]),
        torch.tensor([1, 0, 1]),
        torch.tensor([[True, False, True]]),
        torch.tensor([[True, False, True]] * 2),
    ],
    ids=["list", "(3,)", "integers", "(1,3)", "(S,3)"],
)
def test_periodicity_for_all_structures_or_for_each(pbc: Any) -> None:
    structures = Structures.from_batch(batch_of([small_cell(), small_cell()], pbc=pbc))
    assert structures.periodic.tolist() == [[True, False, True]] * 2
    assert structures.periodic.dtype == torch.bool


def test_periodicity_can_be_ignored() -> None:
    structures = Structures.from_batch(batch_of(MANY), use_pbc=False)
    assert not structures.periodic.any()
    # then cells need not span anything either
    Structures.from_batch(batch_of(MANY, cell=torch.zeros(3, 3, 3)), use_pbc=False)


def test_one_cell_may_come_without_an_axis_for_structures() -> None:
    cell = torch.tensor(slab().cell.array)
    assert_equal(Structures.from_batch(batch_of([slab()], cell=cell)), Structures.from_ase(slab()))


def test_rows_that_batching_has_joined_are_taken_apart() -> None:
    many = [small_cell(), slab()]
    batch = batch_of(many)
    batch.cell, batch.pbc = batch.cell.flatten(0, 1), batch.pbc.flatten()
    assert_equal(Structures.from_batch(batch), Structures.from_ase(many))


@pytest.mark.parametrize("name", ["charge", "total_charge", "REF_charge"])
@pytest.mark.parametrize(
    "charge",
    [[0, 1, -1], torch.tensor([0, 1, -1]), torch.tensor([[0.0], [1.0], [-1.0]]), np.array([0, 1, -1])],
    ids=type,
)
def test_charges_of_batches_are_left_behind_with_a_warning(name: str, charge: Any) -> None:
    batch = batch_of(MANY, **{name: charge})
    with pytest.warns(UserWarning, match=rf"2 of 3 structures .* structure 1 \({name}: 1[.0]*\); structure 2"):
        assert_equal(Structures.from_batch(batch), Structures.from_ase(MANY))


class Stored:
    """A batch that keeps its attributes in a store, as PyTorch Geometric's do."""

    def __init__(self, stored: dict[str, Any], callable_keys: bool) -> None:
        self.__dict__["_store"] = stored
        self.__dict__["keys"] = stored.keys if callable_keys else list(stored)  # a property in older versions

    def __getattr__(self, name: str) -> Any:
        if name not in self._store:
            raise AttributeError(name)
        return self._store[name]


@pytest.mark.parametrize("callable_keys", [True, False])
def test_spins_of_batches_with_stores_and_one_value_for_all(callable_keys: bool) -> None:
    batch = Stored(vars(batch_of(MANY, spin=torch.tensor(3))), callable_keys)
    with pytest.warns(UserWarning, match=r"3 of 3 structures .* structure 0 \(spin: 3\)"):
        Structures.from_batch(batch)


def test_neutral_batches_and_charges_of_atoms_give_no_warning() -> None:
    atoms = sum(map(len, MANY))
    neutral = {"charge": torch.zeros(3), "spin": torch.ones(3, dtype=torch.long), "spin_multiplicity": [1, 1, 1]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for more in (
            neutral,
            {"charge": torch.ones(atoms)},
            {"charge": [[0.5]] * atoms},
            {"charge": [[1, 2], [1, 2, 3], [0, 0]]},
        ):
            Structures.from_batch(batch_of(MANY, **more))
        Structures.from_batch(batch_of(MANY, charge=[1, 1, 1], mult=[2, 2, 2]), ignore=["charge", "spin"])


@pytest.mark.parametrize("fixed", [torch.arange(11), torch.full((11,), -1.0), np.full(11, 2)])
def test_fixed_atoms_of_a_batch_are_truth_values(fixed: Any) -> None:
    with pytest.raises(StructureError, match="fixed: expected booleans, found"):
        Structures.from_batch(batch_of(MANY, fixed=fixed))


def test_positions_keep_their_graph_and_type() -> None:
    batch = batch_of(MANY)
    batch.pos = batch.pos.float().requires_grad_()
    structures = Structures.from_batch(batch)
    assert structures.positions.requires_grad
    assert structures.positions.dtype == torch.float32
    assert structures.cells.dtype == torch.float64  # not narrowed


def test_atomic_numbers_may_be_floating_point_as_in_open_catalyst_data() -> None:
    batch = batch_of(MANY)
    batch.atomic_numbers = batch.atomic_numbers.float()
    batch.tags = batch.tags.float()
    assert_equal(Structures.from_batch(batch), Structures.from_ase(MANY))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pos": None}, "no attribute pos:"),
        ({"atomic_numbers": None}, "no attribute atomic_numbers:"),
        ({"pos": None, "atomic_numbers": None}, "no attribute pos:"),
        ({"atomic_numbers": torch.ones(3)}, r"atomic_numbers has shape \(3,\), expected \(11,\), one per atom"),
        ({"natoms": torch.tensor([4.5, 5.0, 2.0])}, "natoms must be integers"),
        ({"natoms": torch.tensor([4, 5, 3]), "batch": None}, "natoms add up to 12, but pos has 11 rows"),
        ({"cell": torch.eye(3)[None]}, r"cell has shape \(1, 3, 3\), expected \(3, 3, 3\)"),
        ({"cell": torch.ones(3, 3)}, r"cell has shape \(3, 3\), expected \(3, 3, 3\)"),
        ({"cell": torch.tensor(1.0)}, r"cell has shape \(\)"),
        ({"cell": torch.ones(9, 1)}, r"cell has shape \(9, 1\)"),
        ({"cell": torch.ones(3, 2)}, r"cell has shape \(3, 2\)"),
        ({"pbc": torch.ones(2, 3)}, r"pbc has shape \(2, 3\), expected \(3, 3\)"),
        ({"pbc": torch.ones(3, 2)}, r"pbc has shape \(3, 2\), expected \(3, 3\)"),
        ({"pbc": torch.ones(4)}, r"pbc has shape \(4,\)"),
        ({"tags": torch.ones(3)}, r"tags has shape \(3,\), expected \(11,\), one per atom"),
        ({"fixed": torch.ones(3)}, r"fixed has shape \(3,\), expected \(11,\), one per atom"),
        ({"pos": torch.zeros(11, 2)}, r"pos has shape \(11, 2\)"),
        ({"tags": ["a"] * 11}, "tags is not an array of numbers"),
        ({"atomic_numbers": torch.full((11,), 1.5)}, "atomic_numbers must be integers"),
        ({"batch": torch.tensor([1] * 4 + [0] * 5 + [2] * 2)}, "not ascending"),
        ({"batch": torch.tensor([0] * 5 + [1] * 4 + [2] * 2)}, "natoms.*batch"),
        ({"batch": torch.tensor([0] * 4 + [1] * 5 + [3] * 2)}, "natoms.*batch"),
    ],
)
def test_attributes_that_are_missing_or_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StructureError, match=message):
        Structures.from_batch(batch_of(MANY, **changes))


@pytest.mark.parametrize("name", ["pos", "cell", "atomic_numbers", "tags"])
@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda value: value.to(torch.float8_e4m3fn), "must have a type of 16 to 64 bits, got torch.float8_e4m3fn"),
        (lambda value: value.to(torch.float8_e5m2), "must have a type of 16 to 64 bits, got torch.float8_e5m2"),
        (lambda value: value.to_sparse(), "must be a dense tensor of ordinary numbers, got .* torch.sparse_coo"),
        (
            lambda value: value.reshape(len(value), -1).to_sparse_csr(),
            "must be a dense tensor of ordinary numbers, got .* torch.sparse_csr",
        ),
        (
            lambda value: torch.quantize_per_tensor(value.float(), 0.1, 0, torch.qint8),
            "must be a dense tensor of ordinary numbers, got .* torch.qint8",
        ),
        (
            lambda value: torch.nested.nested_tensor(list(value.reshape(len(value), -1))),
            "must be a dense tensor of ordinary numbers, got .* nested",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's kinds of tensors are prototypes
def test_tensors_that_torch_cannot_compute_with_are_refused(
    name: str, convert: Callable[[Tensor], Tensor], message: str
) -> None:
    batch = batch_of(MANY)
    setattr(batch, name, convert(getattr(batch, name)))
    with pytest.raises(StructureError, match=f"the batch's {name} {message}"):
        Structures.from_batch(batch)


def test_positions_of_a_narrow_type_are_refused_wherever_they_come_from() -> None:
    with pytest.raises(StructureError, match="positions must have a type of 16 to 64 bits"):
        Structures.from_ase(MANY, dtype=torch.float8_e5m2)
    with pytest.raises(StructureError, match="positions must have a type of 16 to 64 bits"):
        Structures.from_ase(MANY).to(dtype=torch.float8_e4m3fn)
    with pytest.raises(StructureError, match="pos must be real numbers"):
        Structures.from_batch(batch_of(MANY, pos=torch.zeros(11, 3, dtype=torch.complex128)))


# -- validation -------------------------------------------------------------------------------------------------------


def broken(name: str, index: int, value: float) -> Structures:
    """Three structures, of which one row of one attribute is replaced."""
    structures = Structures.from_ase([molecule(2), molecule(3), small_cell()])
    changed: Tensor = getattr(structures, name).clone()
    changed[index] = value
    return replace(structures, **{name: changed})


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        (broken("positions", 4, torch.nan), "structure 1 has positions that are NaN or infinite"),
        (broken("positions", 5, torch.inf), "structure 2 has positions that are NaN or infinite"),
        (broken("cells", 2, torch.nan), "structure 2 has a cell that is NaN or infinite"),
        (broken("cells", 0, torch.inf), "structure 0 has a cell that is NaN or infinite"),
        (broken("numbers", 3, 0), "structure 1 has an atomic number below 1"),
        (broken("numbers", 0, -3), "structure 0 has an atomic number below 1"),
        (broken("cells", 2, 0), "structure 2 has lattice vectors that do not span.*pbc"),
        (broken("cells", 2, 1), "structure 2 has lattice vectors that do not span"),
        (broken("periodic", 1, True), "structure 1 has lattice vectors that do not span"),
    ],
)
def test_structures_that_cannot_be_computed(structures: Structures, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        structures.validate()


def test_elements_and_tags_are_checked_where_a_model_needs_them() -> None:
    heavy, untagged = broken("numbers", 5, 84), broken("tags", 2, UNKNOWN_TAG)
    heavy.validate()
    heavy.validate(element_count=84)
    with pytest.raises(StructureError, match=r"structure 2 has an atomic number above 83.*`elements`"):
        heavy.validate(element_count=83)
    untagged.validate()
    with pytest.raises(StructureError, match=r"structure 1 has no tags.*set_tags"):
        untagged.validate(needs_tags=True)


def test_the_first_structure_concerned_is_named() -> None:
    structures = broken("positions", 0, torch.nan)
    positions = structures.positions.clone()
    positions[-1] = torch.nan
    with pytest.raises(StructureError, match="structure 0"):
        replace(structures, positions=positions).validate()


@pytest.mark.parametrize(
    ("cell", "pbc", "valid"),
    [
        ([[3, 0, 0], [0, 3, 0], [0, 0, 0]], [True, True, False], True),
        ([[3, 0, 0], [0, 0, 0], [0, 0, 3]], [True, True, False], False),
        ([[3, 0, 0], [6, 0, 0], [0, 0, 3]], [True, False, True], True),
        ([[3, 0, 0], [6, 0, 0], [0, 0, 3]], [True, True, True], False),
        ([[3, 0, 0], [1, 1, 0], [4, 1, 0]], [True, True, True], False),
        ([[3, 0, 0], [1, 1, 0], [4, 1, 0]], [True, True, False], True),
        ([[0, 0, 0]] * 3, [False] * 3, True),
        ([[0, 0, 0]] * 3, [False, True, False], False),
        ([[300, 0, 0], [0, 0.01, 0], [0, 0, -5]], [True] * 3, True),  # long, short and left-handed
    ],
)
def test_lattice_vectors_must_span_what_is_periodic(cell: Any, pbc: Any, valid: bool) -> None:
    atoms = Atoms("H", cell=cell, pbc=pbc)
    if valid:
        assert Structures.from_ase(atoms).periodic.tolist() == [pbc]
    else:
        with pytest.raises(StructureError, match="structure 1 has lattice vectors"):
            Structures.from_ase([molecule(2), atoms])


def test_constructors_validate() -> None:
    bad = molecule(3)
    bad.positions[1] = np.nan
    for make in (Structures.from_ase, lambda many: Structures.from_batch(batch_of(many))):
        with pytest.raises(StructureError, match="structure 1 has positions"):
            make([molecule(2), bad])
    with pytest.raises(StructureError, match="structure 0 has an atomic number below 1"):
        Structures.from_ase(Atoms("X"))


# -- the value itself -------------------------------------------------------------------------------------------------


def test_one_structure_of_many() -> None:
    structures = Structures.from_ase(MANY)
    for index, atoms in enumerate(MANY):
        assert_equal(structures[index], Structures.from_ase(atoms))
        assert_equal(structures[index - 3], structures[index])
    assert [one.atom_count for one in structures] == [4, 5, 2]
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"structure {index} of 3"):
            structures[index]


def test_moving_changes_the_type_of_floating_point_fields_only() -> None:
    structures = Structures.from_ase(MANY)
    moved = structures.to("cpu", torch.float32)
    assert moved.positions.dtype == moved.cells.dtype == torch.float32
    for name in FIELDS:
        if name not in ("positions", "cells"):
            assert getattr(moved, name).dtype == getattr(structures, name).dtype
    assert_equal(structures.to(), structures)


def test_structures_are_immutable() -> None:
    structures = Structures.from_ase(MANY)
    with pytest.raises(FrozenInstanceError):
        structures.positions = torch.zeros(1, 3)  # type: ignore[misc]


def test_arrays_and_lists_will_do() -> None:
    plain = batch_of(MANY)
    expected = Structures.from_batch(plain)
    lists = SimpleNamespace(**{name: value.tolist() for name, value in vars(plain).items() if value is not None})
    lists.pos = plain.pos.numpy()
    read = Structures.from_batch(lists)
    assert_close(read.positions, expected.positions)
    assert_close(read.cells, expected.cells)
    for name in ("numbers", "structure", "periodic", "tags", "fixed"):
        assert torch.equal(getattr(read, name), getattr(expected, name)), name


def test_gradients_to_the_cell_stay() -> None:
    batch = batch_of(MANY)
    batch.cell = batch.cell.clone().requires_grad_()
    assert Structures.from_batch(batch).cells.requires_grad


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tags": torch.zeros(2, dtype=torch.long)}, r"tags has shape \(2,\)"),
        ({"cells": torch.zeros(2, 3)}, r"cells has shape \(2, 3\)"),
        ({"positions": torch.tensor(1.0)}, r"positions has shape \(\), expected \(atoms, 3\)"),
        ({"numbers": torch.ones(5, dtype=torch.long, device="meta")}, "numbers is on the device meta, but positions"),
        ({"structure": torch.tensor([1, 0, 0, 0, 0])}, "must ascend"),
        ({"structure": torch.tensor([0, 0, 0, 0, 1])}, "stay below 1"),
        ({"structure": torch.tensor([-1, 0, 0, 0, 0])}, "must ascend"),
    ],
)
def test_arrays_that_do_not_fit_each_other(changes: dict[str, Any], message: str) -> None:
    structures = Structures.from_ase(molecule(5))
    for name, value in changes.items():  # past the constructor, where the tests' own checks of shapes would complain
        object.__setattr__(structures, name, value)
    with pytest.raises(StructureError, match=message):
        structures.validate()
