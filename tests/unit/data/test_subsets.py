"""Subsets of data by element, by size and by number of structures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from data_files import opened, options
from pydantic import ValidationError

from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.opening import DataSplits
from gemnet_blocks.errors import SpecError, StructureError

FORMULAS = ("H2", "H2O", "O2", "CO", "CH4", "H2O2", "N2")


def some(folder: Path, name: str = "some.xyz", formulas: Sequence[str] = FORMULAS) -> str:
    frames = []
    for formula in formulas:
        atoms = Atoms(formula)
        atoms.positions = [[1.1 * i, 0.1 * i * i, 0] for i in range(len(atoms))]
        atoms.calc = SinglePointCalculator(atoms, energy=float(len(atoms)), forces=0 * atoms.positions)
        frames.append(atoms)
    write(folder / name, frames)
    return name


def frames(dataset: LabelledDataset | None) -> list[int]:
    return [] if dataset is None else [int(dataset[i].frame) for i in range(len(dataset))]


def kept(folder: Path, **filters: Any) -> DataSplits:
    return opened(folder, files=[some(folder)], **filters)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"elements": ["H", "O"]}, [0, 1, 2, 5]),
        ({"elements": [8]}, [2]),
        ({"atoms_at_most": 2}, [0, 2, 3, 6]),
        ({"atoms_at_most": 3, "elements": ["H", 8]}, [0, 1, 2]),
        ({}, list(range(7))),
    ],
)
def test_structures_of_some_elements_and_sizes_are_kept(
    tmp_path: Path, filters: dict[str, Any], expected: list[int]
) -> None:
    data = kept(tmp_path, **filters)
    assert frames(data.train) == expected
    assert (f"train: {len(expected)} of 7 structures pass " in data.report) == bool(filters)


def test_a_larger_count_keeps_the_structures_of_a_smaller_one(tmp_path: Path) -> None:
    few, many = (frames(kept(tmp_path, count=count).train) for count in (2, 5))
    assert len(set(few)) == 2
    assert many[:2] == few
    split = {"type": "random", "validation": 2}
    seeds = [
        frames(kept(tmp_path, count=3, split={**split, "seed": seed}).train) + frames(kept(tmp_path).validation)
        for seed in (1, 2)
    ]
    assert seeds[0] != seeds[1]


def test_filters_hold_for_all_parts_and_counts_for_training_alone(tmp_path: Path) -> None:
    data = opened(
        tmp_path,
        train=[some(tmp_path)],
        validation=[some(tmp_path, "more.xyz", ("CO2", "H2O"))],
        elements=["H", "O"],
        count=1,
        leakage="ignore",
    )
    assert len(data.train) == 1
    assert frames(data.validation) == [1]


@pytest.mark.parametrize(
    ("filters", "error", "message"),
    [
        ({"elements": ["Au"]}, StructureError, r"data: none of the 7 structures of train passes elements: \[Au\]"),
        ({"atoms_at_most": 1}, StructureError, "passes atoms_at_most: 1: widen the filters"),
        ({"count": 8}, SpecError, "data.count: 8 structures are asked for, but the training set has 7"),
    ],
)
def test_too_narrow_filters_are_errors(
    tmp_path: Path, filters: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        kept(tmp_path, **filters)


@pytest.mark.parametrize("filters", [{"elements": ["Xx"]}, {"elements": []}, {"count": 0}, {"atoms_at_most": 0.5}])
def test_impossible_filters_are_refused(filters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        options(files=["a.xyz"], **filters)
