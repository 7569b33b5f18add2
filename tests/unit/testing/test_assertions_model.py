"""Right models pass every property; each wrong one fails the one it violates, with a small counterexample."""

from __future__ import annotations

import pytest
import torch
from ase.calculators.lj import LennardJones
from assertion_models import (
    CUTOFF,
    AnglesBetweenNeighbors,
    Changed,
    HardCutoff,
    PairPotential,
    by_cell,
    by_chance,
    by_coordinate,
    by_direction,
    by_mates,
    by_order,
    of_other_sign,
    to_mean,
    undefined,
)
from helpers import GRADIENT_FORCES, small_model

from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.testing import strategies
from gemnet_blocks.testing.assertions import CounterExample, assert_model
from gemnet_blocks.testing.assertions.models import Properties
from gemnet_blocks.testing.models import CalculatorModel

FEW = strategies.molecules(max_atoms=4, cutoff=CUTOFF, elements=(1, 8)) | strategies.tiny_cells(elements=(1, 8))
"""Structures that are quick to compute."""
GENERIC = strategies.generic_structures(max_atoms=4, cutoff=4.0, elements=(1, 8))
UNCAPPED = {f"graphs__{name}__max_neighbors": None for name in ("atom", "main", "atom_edge", "quad")}


def test_a_right_model() -> None:
    checked = assert_model(PairPotential(), conservative=True, cutoffs=[CUTOFF], max_atoms=8, examples=6)
    assert checked == (
        "finite predictions",
        "repeatability",
        "continuity at cutoffs",
        "independence of other structures in the batch",
        "forces are the gradient of the energy",
        "symmetry under translations",
        "symmetry under rotations and reflections",
        "symmetry under the order of atoms",
        "symmetry under the choice of cell",
        "symmetry under the order of lattice vectors",
        "additivity over supercells",
        "balance of forces",
        "balance of torques",
    )


def test_torques_are_not_checked_without_molecules() -> None:
    cells = strategies.tiny_cells(elements=(1,)).filter(lambda one: bool(one.periodic.any()))
    properties = Properties(PairPotential(), cells, cells, examples=2)
    assert properties.check_gradient_forces() == ("forces are the gradient of the energy", "balance of forces")


def test_a_right_model_in_single_precision() -> None:
    assert_model(PairPotential().float(), structures=FEW, conservative=True, cutoffs=[CUTOFF], examples=3, max_atoms=8)


def test_a_model_without_forces() -> None:
    def none(structures: Structures) -> Prediction:
        return Prediction(PairPotential()(structures).energy, None)

    assert_model(none, structures=FEW, cutoffs=[CUTOFF], examples=2)


def test_a_mean_is_right_if_claimed() -> None:
    def mean(structures: Structures) -> torch.Tensor:
        return to_mean(structures, PairPotential()(structures).energy, torch.zeros(0))[0]

    Properties(mean, FEW, FEW, examples=4).check_symmetries(extensive=False)
    with pytest.raises(CounterExample, match="additivity over supercells: violated"):
        assert_model(mean, structures=FEW, examples=15)


@pytest.mark.parametrize(
    ("change", "name", "atoms"),
    [
        (undefined, "finite predictions", 1),
        (by_chance, "repeatability", 1),
        (by_mates, "independence of other structures in the batch", 4),
        (by_coordinate, "symmetry under translations", 1),
        (by_direction, "symmetry under rotations and reflections", 1),
        (by_order, "symmetry under the order of atoms", 3),
        (by_cell, "symmetry under the choice of cell", 1),
    ],
)
def test_wrong_predictions(change, name: str, atoms: int) -> None:
    with pytest.raises(CounterExample) as caught:
        assert_model(Changed(change), structures=FEW, examples=20)
    # a model that depends on the cell also depends on the order of its vectors, whichever the search finds first
    also = {"symmetry under the order of lattice vectors"} if change is by_cell else set()
    assert caught.value.property in {name, *also}
    assert caught.value.example["structures"].atom_count <= atoms
    assert str(caught.value).startswith(f"{caught.value.property}: violated\n")
    assert "structures = Structures.from_ase([" in str(caught.value)
    if change is not by_chance:
        with pytest.raises(AssertionError, match=r"the tolerance is|not finite"):
            exec(caught.value.code, {"model": caught.value.model})


def test_directions_of_edges() -> None:
    with pytest.raises(CounterExample, match="symmetry under rotations") as caught:
        assert_model(AnglesBetweenNeighbors(), structures=FEW, examples=6)
    assert "symmetry = Rotation(" in str(caught.value)


def test_forces_of_the_wrong_sign() -> None:
    model = Changed(of_other_sign)
    assert_model(model, structures=FEW, examples=2)  # nothing is claimed of the forces
    with pytest.raises(CounterExample, match=r"are not the gradient of its energy: .* the forces predict") as caught:
        assert_model(model, structures=FEW, smooth_structures=FEW, conservative=True, examples=6)
    assert caught.value.property == "forces are the gradient of the energy"


def test_hard_cutoffs() -> None:
    with pytest.raises(CounterExample, match="in a molecule: the energy of structure 0 jumps") as caught:
        assert_model(HardCutoff(), structures=FEW, cutoffs=[5.0, CUTOFF], examples=2)
    assert caught.value.property == "continuity at cutoffs"
    assert caught.value.example["cutoff"] == CUTOFF
    assert "edge_set" not in str(caught.value)
    assert "edge_sets" not in caught.value.example
    with pytest.raises(AssertionError, match="the energy of structure 0 jumps"):
        exec(caught.value.code, {"model": caught.value.model})


def test_shapes() -> None:
    with pytest.raises(CounterExample, match=r"finite predictions: violated\nValueError: .* returned energy of shape"):
        assert_model(lambda structures: torch.zeros(7), structures=FEW, examples=5)


def test_a_foreign_calculator() -> None:
    potential = CalculatorModel(LennardJones(sigma=1.0, epsilon=0.3, rc=3.0, smooth=True))
    molecules = strategies.molecules(max_atoms=4, cutoff=3.0, elements=(1,))
    checked = assert_model(
        potential, structures=molecules, smooth_structures=molecules, conservative=True, examples=3, tolerance=1e-8
    )
    assert "balance of torques" in checked
    assert "continuity at cutoffs" not in checked


def test_a_model_of_the_library_with_gradient_forces() -> None:
    model = small_model(**GRADIENT_FORCES, **UNCAPPED, blocks__count=1)
    assert_model(model, structures=GENERIC, smooth_structures=GENERIC, cutoffs=[], examples=3)


@pytest.mark.slow
@pytest.mark.parametrize("coupled", [True, False])
def test_a_model_of_the_library_with_direct_forces(coupled: bool) -> None:
    model = small_model(**UNCAPPED, blocks__count=1, heads__forces={"type": "direct", "coupled": coupled})
    assert_model(model, structures=GENERIC, smooth_structures=GENERIC, cutoffs=[], examples=3)
    properties = Properties(model, GENERIC, GENERIC, examples=6)
    if coupled:
        properties.check_momentum()
        with pytest.raises(CounterExample, match="forces are the gradient"):
            properties.check_gradient_forces()
    else:
        with pytest.raises(CounterExample, match=r"balance of forces: violated\nthe forces of structure 0 add up to"):
            properties.check_momentum()


def test_caps_make_energies_jump() -> None:
    model = small_model(**UNCAPPED | {"graphs__main__max_neighbors": 1}, blocks__count=1, heads__forces=None)
    with pytest.raises(CounterExample, match="continuity at cutoffs: violated"):
        assert_model(model, structures=GENERIC, smooth_structures=GENERIC, examples=1)
