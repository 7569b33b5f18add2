"""Any callable is a model, and what it returns is checked."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from hypothesis import given, settings

from gemnet_blocks.structures import Prediction, Structures, to_ase
from gemnet_blocks.testing.models import CalculatorModel, predict
from gemnet_blocks.testing.strategies import batches, structures

PAIR = Structures.from_ase([Atoms("CO", [[0, 0, 0], [0, 0, 1.1]]), Atoms("H")])
ENERGY, FORCES = torch.tensor([1.0, 2.0]), torch.zeros(3, 3)


@pytest.mark.parametrize(
    ("returned", "has_forces"),
    [
        (Prediction(ENERGY, FORCES), True),
        (Prediction(ENERGY, None), False),
        ((ENERGY, FORCES), True),
        ((ENERGY, None), False),
        (ENERGY, False),
    ],
)
def test_every_form_is_understood(returned: Any, has_forces: bool) -> None:
    prediction = predict(lambda structures: returned, PAIR)
    assert torch.equal(prediction.energy, ENERGY)
    assert (prediction.forces is not None) == has_forces


def test_nan_is_returned() -> None:
    assert predict(lambda structures: ENERGY * torch.nan, PAIR).energy.isnan().all()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (torch.zeros(2, 1), r"energy of shape \(2, 1\): expected .* \(2,\), a number per structure"),
        (torch.zeros(3), r"energy of shape \(3,\)"),
        ((ENERGY, torch.zeros(2, 3)), r"forces of shape \(2, 3\): expected .* \(3, 3\), a row per atom"),
        (torch.zeros(2, dtype=torch.long), "energy of torch.int64: expected a floating-point"),
        ((ENERGY, "forces"), "forces of type str"),
        ((ENERGY, FORCES, None), "returned 3 values"),
        ({"energy": ENERGY}, "my_model must return a Prediction, .* but returned dict"),
        (1.0, "returned float"),
    ],
)
def test_mistakes_are_named(returned: Any, message: str) -> None:
    def my_model(structures: Structures) -> Any:
        return returned

    with pytest.raises(ValueError, match=message):
        predict(my_model, PAIR)


def test_calculators_are_models() -> None:
    slab = fcc111("Cu", (2, 1, 2), vacuum=5)
    slab.rattle(0.1, seed=0)
    many = [bulk("Cu"), Atoms(), slab]
    prediction = predict(CalculatorModel(EMT()), Structures.from_ase(many))
    for index, atoms in enumerate(many):
        if len(atoms):
            atoms.calc = EMT()
            assert prediction.energy[index] == pytest.approx(atoms.get_potential_energy())
    assert prediction.energy[1] == 0
    assert prediction.forces is not None
    assert prediction.forces[1:].numpy() == pytest.approx(slab.get_forces())
    nothing = predict(CalculatorModel(EMT()), Structures.from_ase([]))
    assert nothing.energy.shape == (0,)


def test_meaningless_cells_are_not_passed_on() -> None:
    seen = []

    class Looking(Calculator):  # type: ignore[misc]
        implemented_properties = ("energy",)

        def calculate(self, *arguments: Any) -> None:
            super().calculate(*arguments)
            seen.append((self.atoms.cell[:].tolist(), self.atoms.pbc.tolist()))
            self.results = {"energy": 0.0}

    flat = [[1.0, 0, 0], [2.0, 0, 0], [0, 0, 0]]
    many = Structures.from_ase([Atoms("H", cell=flat), Atoms("H", cell=[3, 0, 5], pbc=[True, False, True])])
    predict(CalculatorModel(Looking()), many)
    assert seen == [
        ([[0.0] * 3] * 3, [False] * 3),
        ([[3.0, 0, 0], [0, 0, 0], [0, 0, 5.0]], [True, False, True]),
    ]
    assert to_ase(many)[0].cell[:].tolist() == flat


def test_forces_on_fixed_atoms_are_not_removed() -> None:
    from ase.constraints import FixAtoms

    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.0]], constraint=FixAtoms([0]))
    forces = predict(CalculatorModel(EMT()), Structures.from_ase(atoms)).forces
    assert forces is not None
    assert forces[0].abs().max() > 0.1


def test_calculators_without_forces_and_with_state() -> None:
    class Counting(Calculator):  # type: ignore[misc]
        implemented_properties = ("energy",)
        calls = 0

        def calculate(self, *arguments: Any) -> None:
            super().calculate(*arguments)
            self.calls += 1
            self.results = {"energy": float(self.calls)}

    model = CalculatorModel(Counting())
    one = PAIR[1].to(dtype=torch.float32)
    first, second = predict(model, one), predict(model, one)
    assert first.forces is None
    assert first.energy.dtype == torch.float32
    assert (float(first.energy), float(second.energy)) == (1, 2), "results must not come from a cache"


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(batches(structures(max_atoms=10, tags=False)))
def test_to_ase_and_back(many: Structures) -> None:
    again = Structures.from_ase(to_ase(many))
    for name in ("positions", "numbers", "structure", "cells", "periodic", "tags", "fixed"):
        assert torch.equal(getattr(again, name), getattr(many, name)), name


def test_callables_without_a_name_are_described() -> None:
    with pytest.raises(ValueError, match="partial must return"):
        predict(partial(str), PAIR)
