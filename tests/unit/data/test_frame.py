from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gemnet_blocks.data.frame import Frame, LabelRules, checked, packed
from gemnet_blocks.data.units import Units
from gemnet_blocks.errors import StructureError
from gemnet_blocks.structures import UNKNOWN_TAG

WATER = Frame(
    positions=np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]),
    numbers=np.array([8, 1, 1]),
    cell=np.eye(3) * 4,
    periodic=True,
    labels={"energy": -3.0, "forces": np.arange(9.0).reshape(3, 3), "stress": np.zeros(6)},
)
RULES = LabelRules(Units(energy=2, length=10, force=3, stress=5), frozenset({"energy", "forces"}))


NO_TRUTH = (
    "F",
    np.ones(2, bool),
    np.ones(4, bool),
    [2, 2, 0],
    [np.nan, 1.0, 0.0],
    np.array(["F", "F", "F"]),
    [True, None, False],
    [],
)
"""What is not one truth value or three."""


def with_labels(**labels: object) -> Frame:
    return replace(WATER, labels={**WATER.labels, **labels})


def test_numbers_are_converted() -> None:
    frame = checked(WATER, RULES, "here")
    result = packed([frame], [7], ["here"], RULES)
    assert result.energy.tolist() == [-6.0]  # type: ignore[union-attr]
    assert torch.equal(result.forces, 3 * torch.arange(9.0, dtype=torch.float64).reshape(3, 3))
    assert torch.equal(result.structures.cells[0], 40 * torch.eye(3, dtype=torch.float64))
    assert result.structures.positions[1].tolist() == [10, 0, 0]
    assert result.stress is None
    assert result.frame.tolist() == [7]
    assert result.structures.tags.tolist() == [UNKNOWN_TAG] * 3
    assert not result.structures.fixed.any()


def test_single_precision_and_arrays_of_one_energy_are_taken() -> None:
    frame = with_labels(energy=np.array([-3.0], dtype=np.float32))
    assert checked(frame, RULES, "here").labels["energy"] == -6


def test_labels_that_are_not_asked_for_may_be_wrong() -> None:
    assert "stress" not in checked(with_labels(stress=np.array([np.nan])), RULES, "here").labels


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (with_labels(energy=None), r"has no energy \(key 'energy'"),
        (with_labels(energy=np.nan), "energy is NaN"),
        (with_labels(forces=np.full((3, 3), 1e200)), "forces of atom 0 is 3e\\+200, which no atoms have"),
        (with_labels(energy=[[1], [2, 3]]), "the energy: rows of different lengths"),
        (replace(WATER, positions=[[0, 0, 0], [1], [2]]), "positions: rows of different lengths"),
        (replace(WATER, periodic=[[True], [True, False]]), "periodicity: rows of different lengths"),
        (replace(WATER, numbers=np.array([8.0, 1.0, 1e30])), "atomic numbers: expected integers"),
        (with_labels(energy=np.zeros(2)), "the energy: expected the shape a single number, found 2"),
        (with_labels(energy="low"), "the energy: expected numbers, found 'low'"),
        (with_labels(forces=[["a", "b", "c"]]), r"forces: expected numbers, found \[\['a'"),
        (with_labels(forces=np.zeros((2, 3))), "forces: expected the shape 3 × 3, found 2 × 3"),
        (with_labels(forces=np.array([[0.0] * 3, [np.inf, 0, 0], [0] * 3])), "forces of atom 1 is NaN or infinite"),
        (replace(WATER, positions=np.zeros((2, 3))), "positions: expected the shape 3 × 3, found 2 × 3"),
        (replace(WATER, cell=np.zeros(3)), "the cell: expected the shape 3 × 3, found 3"),
        (replace(WATER, tags=np.zeros(2)), "tags: expected the shape"),
        (replace(WATER, numbers=np.array([8, 1, 1.5])), "expected integers"),
        (replace(WATER, numbers=np.array([8, 1, 300])), "300 is not an element"),
        *(
            (replace(WATER, periodic=value), r"periodicity \(pbc\): expected one truth value or three")
            for value in NO_TRUTH
        ),
    ],
)
def test_wrong_frames_are_named(frame: Frame, message: str) -> None:
    with pytest.raises(StructureError, match=f"file.xyz, frame 3: .*{message}"):
        checked(frame, RULES, "file.xyz, frame 3")


@pytest.mark.parametrize("value", [[1, 0, 1], np.array([1.0, 0.0, 1.0]), [True, False, True]])
def test_numbers_can_be_truth_values(value: object) -> None:
    assert checked(replace(WATER, periodic=value), RULES, "here").periodic.tolist() == [True, False, True]


def test_messages_name_the_key_of_a_label() -> None:
    rules = replace(RULES, keys={"energy": "REF_energy"})
    with pytest.raises(StructureError, match=r"here: the energy \(key REF_energy\): expected numbers, found 'low'"):
        checked(with_labels(energy="low"), rules, "here")


def test_a_missing_label_lists_the_present_ones() -> None:
    frame = replace(with_labels(energy=None), available=("REF_energy", "REF_forces"))
    with pytest.raises(StructureError, match="REF_energy, REF_forces"):
        checked(frame, RULES, "here")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (replace(WATER, positions=np.full((3, 3), np.nan)), "positions that are NaN"),
        (replace(WATER, cell=np.zeros((3, 3))), "lattice vectors that do not span"),
        (replace(WATER, numbers=np.array([0, 1, 1])), "an atomic number below 1"),
    ],
)
def test_impossible_structures_are_named(frame: Frame, message: str) -> None:
    frames = [checked(WATER, RULES, "a"), checked(frame, RULES, "b")]
    with pytest.raises(StructureError, match=f"^b: has {message}"):
        packed(frames, [0, 1], ["a", "b"], RULES)


def test_nothing_can_be_packed() -> None:
    assert len(packed([], [], [], RULES)) == 0
