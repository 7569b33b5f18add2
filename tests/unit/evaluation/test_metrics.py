from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from evaluation_data import item

from gemnet_blocks.data.labelled import collate
from gemnet_blocks.evaluation.metrics import Errors, ErrorSums, residuals
from gemnet_blocks.structures import Prediction


def predicted(labelled, energy_errors, force_errors, stress=None):
    energy = torch.zeros(len(labelled)) if labelled.energy is None else labelled.energy
    forces = torch.zeros_like(labelled.structures.positions) if labelled.forces is None else labelled.forces
    return Prediction(energy + torch.tensor(energy_errors), forces + torch.tensor(force_errors), stress)


def errors_of(labelled, prediction, atoms="all"):
    sums = ErrorSums()
    sums.add(residuals(prediction, labelled, atoms))
    return sums.errors()


@pytest.fixture
def two():
    """CuO with its copper fixed, and a lone O."""
    return collate([item(0, forces=[[0, 3, 4], [0, 0, 0]], fixed=[0]), item(1, "O", forces=[[0, 0, 2]])])


FORCE_ERRORS = [[0.0, 3.0, 4.0], [0.0, 0.0, -2.0], [0.0, 0.0, -3.0]]


def test_errors_follow_their_definitions(two):
    found = errors_of(two, predicted(two, [0.4, -1.0], FORCE_ERRORS))

    assert (found.structures, found.atoms) == (2, 3)
    assert found.energy_mae == pytest.approx(0.7)
    assert found.energy_rmse == pytest.approx(math.sqrt((0.16 + 1) / 2))
    assert found.energy_mae_per_atom == pytest.approx((0.2 + 1.0) / 2)
    assert found.energy_rmse_per_atom == pytest.approx(math.sqrt((0.04 + 1) / 2))
    assert found.forces_mae == pytest.approx((7 + 2 + 3) / 9)
    assert found.forces_rmse == pytest.approx(math.sqrt((25 + 4 + 9) / 9))
    assert found.forces_l2_mae == pytest.approx((5 + 2 + 3) / 3)
    # predicted lengths 10, 2, 1 and labelled ones 5, 0, 2
    assert found.forces_magnitude_mae == pytest.approx((5 + 2 + 1) / 3)
    # the atom whose label is zero has no direction; one is right, one is opposite
    assert found.forces_cosine == pytest.approx(0.0, abs=1e-12)
    assert found.zero_forces_mae == pytest.approx((7 + 2) / 9)
    assert found.zero_forces_rmse == pytest.approx(math.sqrt((25 + 4) / 9))
    assert found.stress_mae is None


def test_fixed_atoms_do_not_count_among_free_ones(two):
    found = errors_of(two, predicted(two, [0.4, -1.0], FORCE_ERRORS), "free")

    assert found.atoms == 2
    assert found.forces_mae == pytest.approx((2 + 3) / 6)
    assert found.forces_l2_mae == pytest.approx((2 + 3) / 2)
    assert found.forces_cosine == pytest.approx(-1.0)
    assert found.zero_forces_mae == pytest.approx(2 / 6)
    assert found.energy_mae == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("energy", "force", "atoms", "right"),
    [
        (0.019, 0.029, "all", True),
        (-0.021, 0.0, "all", False),
        (0.0, -0.031, "all", False),
        (0.0, -0.031, "free", False),
    ],
)
@pytest.mark.parametrize("fixed", [0, 1])
def test_within_threshold_needs_energy_and_every_component_on_free_atoms(energy, force, atoms, right, fixed):
    labelled = item(0, fixed=[fixed])
    if fixed == 0:  # of the force that may be wrong
        right = abs(energy) < 0.02
    prediction = predicted(labelled, [energy], [[0.0, force, 0.0], [0.0, 0.0, 0.029]])

    assert errors_of(labelled, prediction, atoms).within_threshold == float(right)


def test_a_length_beyond_the_threshold_is_right_if_its_components_are():
    labelled = item(0, "O")

    assert errors_of(labelled, predicted(labelled, [0.0], [[0.029, 0.029, 0.029]])).within_threshold == 1


def test_a_structure_without_free_atoms_is_judged_by_its_energy():
    labelled = item(0, fixed=[0, 1])
    found = errors_of(labelled, predicted(labelled, [0.0], [[9.0, 9.0, 9.0]] * 2), "free")

    assert (found.within_threshold, found.atoms, found.forces_mae) == (1.0, 0, None)


def test_stress_errors_are_means_of_nine_components():
    labelled = item(0, stress=0.1)
    stress = labelled.stress.clone()
    stress[0, 0, 1] += 0.9
    found = errors_of(labelled, predicted(labelled, [0.0], [[0.0, 0.0, 0.0]] * 2, stress))

    assert found.stress_mae == pytest.approx(0.1)
    assert found.stress_rmse == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("labels", "missing"),
    [
        ("forces", {"energy_mae", "energy_rmse", "energy_mae_per_atom", "energy_rmse_per_atom"}),
        ("energy", {field.name for field in fields(Errors) if "forces" in field.name}),
    ],
)
def test_missing_labels_have_no_errors(labels, missing):
    labelled = item(0, labels=labels)
    found = errors_of(labelled, predicted(labelled, [0.1], [[0.1, 0.0, 0.0]] * 2)).to_dict()

    always = {"within_threshold", "stress_mae", "stress_rmse"}
    assert {name for name, value in found.items() if value is None} == missing | always


def test_a_model_without_forces_has_no_errors_of_forces():
    labelled = item(0)
    found = errors_of(labelled, Prediction(labelled.energy + 0.5, None))

    assert (found.energy_mae, found.forces_mae, found.zero_forces_mae) == (0.5, None, None)


def test_sums_merge_and_do_not_depend_on_batches():
    items = [item(number, forces=np.random.default_rng(number).normal(size=(2, 3))) for number in range(5)]
    shift = [0.3, -0.1, 0.2]
    whole, first, second = ErrorSums(), ErrorSums(), ErrorSums()
    joined = collate(items)
    whole.add(residuals(predicted(joined, [0.1] * 5, [shift] * 10), joined))
    for number, one in enumerate(items):
        (first if number < 2 else second).add(residuals(predicted(one, [0.1], [shift] * 2), one))

    first.merge(second)

    assert first.errors().to_dict() == pytest.approx(whole.errors().to_dict(), nan_ok=False)


def test_rows_hold_groups_and_elements():
    labelled = collate([item(0), item(1, "O")])
    prediction = predicted(labelled, [0.5, -0.25], [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    batch = residuals(prediction, labelled)
    groups, elements = ErrorSums(3), ErrorSums(100)
    groups.add(batch, torch.tensor([2, 0]))
    elements.add_atoms(batch, batch.numbers)

    assert groups.errors(0).energy_mae == 0.25
    assert groups.errors(1) == Errors(0, 0)
    assert groups.errors(2).forces_mae == pytest.approx(0.5)
    assert elements.errors(8).forces_mae == pytest.approx(5 / 6)
    assert elements.errors(29).forces_l2_mae == pytest.approx(1.0)
    assert elements.errors(8).energy_mae is None


def test_errors_of_large_energies_in_single_precision_forces_are_exact():
    labelled = item(0, energy=-1e6).to(dtype=torch.float32)
    forces = labelled.forces + torch.tensor([0.5, 0.0, 0.0])

    found = errors_of(labelled, Prediction(labelled.energy + 1e-6, forces))

    assert found.energy_mae == pytest.approx(1e-6, rel=1e-3)
    assert found.forces_mae == pytest.approx(0.5 / 3)
