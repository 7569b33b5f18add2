from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from data_files import crystals, labelled, molecules, opened, real, written

from gemnet_blocks.errors import StructureError


def moved(atoms: Atoms, kind: str) -> Atoms:
    """The same structure in another form."""
    other = atoms.copy()
    if kind == "renumbered":
        order = np.random.default_rng(0).permutation(len(other))
        other = other[order]
    elif kind == "rotated":
        other.rotate(35, "x", rotate_cell=True)
        other.rotate(20, "z", rotate_cell=True)
    elif kind == "mirrored":
        other.positions[:, 0] *= -1
        other.cell[:, 0] *= -1
    elif kind == "shifted":
        other.positions += [0.3, 0.2, 0.1]
    return labelled(other)


KINDS = ["same", "renumbered", "rotated", "mirrored", "shifted"]


@pytest.mark.parametrize("make", [crystals, molecules])
@pytest.mark.parametrize("kind", KINDS)
def test_copies_in_any_form_are_found(tmp_path: Path, kind: str, make: object) -> None:
    frames = make(6)  # type: ignore[operator]
    written(tmp_path / "train.xyz", frames[:4])
    written(tmp_path / "test.xyz", [frames[4], moved(frames[2], kind), frames[5]])
    files = {"train": ["train.xyz"], "test": ["test.xyz"]}
    rotated = 0 if kind in ("same", "renumbered") else 1
    expected = (
        f"1 of 3 structures of test are in train too, {rotated} of them rotated.*test.xyz, frame 1 = train.xyz, frame 2"
    )
    with pytest.warns(UserWarning, match=expected):
        assert "1 of 3 structures of test are in train too" in opened(tmp_path, **files).report
    with pytest.raises(StructureError, match=expected):
        opened(tmp_path, leakage="error", **files)
    data = opened(tmp_path, leakage="drop", **files)
    assert [int(data.train[i].frame) for i in range(len(data.train))] == [0, 1, 3]
    assert "1 structures of train were dropped" in data.report
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "too" not in opened(tmp_path, leakage="ignore", **files).report


def test_structures_that_only_share_an_energy_are_no_copies(tmp_path: Path) -> None:
    first, second = crystals(3)[0], crystals(3)[2]
    energy = first.get_potential_energy()
    written(tmp_path / "train.xyz", [first])
    written(tmp_path / "test.xyz", [labelled(second, energy=energy)])
    data = opened(tmp_path, train=["train.xyz"], test=["test.xyz"], leakage="error")
    assert "no structure of test is in train too" in data.report


def test_equal_places_count_whatever_the_labels(tmp_path: Path) -> None:
    first = crystals(1)[0]
    written(tmp_path / "train.xyz", [first])
    written(tmp_path / "test.xyz", [labelled(first, energy=0.0)])
    with pytest.raises(StructureError, match="1 of 1 structures of test"):
        opened(tmp_path, train=["train.xyz"], test=["test.xyz"], leakage="error")


def test_validation_is_compared_too(tmp_path: Path) -> None:
    frames = crystals(4)
    written(tmp_path / "all.xyz", frames)
    written(tmp_path / "val.xyz", frames[1:3])
    written(tmp_path / "test.xyz", frames[2:3])
    data = opened(tmp_path, train=["all.xyz"], validation=["val.xyz"], test=["test.xyz"], leakage="drop")
    assert data.validation is not None
    assert [int(data.train[i].frame) for i in range(len(data.train))] == [0, 3]
    assert [int(data.validation[i].frame) for i in range(len(data.validation))] == [0]


def test_dropping_everything_is_an_error(tmp_path: Path) -> None:
    written(tmp_path / "a.xyz", crystals(2))
    with pytest.raises(StructureError, match="nothing is left"):
        opened(tmp_path, train=["a.xyz"], test=["a.xyz"], leakage="drop")


@pytest.mark.parametrize(("element", "count"), [("Si", 3), ("Cu", 11)])
def test_the_repeated_frames_of_mlearn_are_found(element: str, count: int) -> None:
    files = {"train": [f"{element}_train.xyz"], "test": [f"{element}_test.xyz"]}
    with pytest.warns(UserWarning, match=f"{count} of .* structures of test are in train too, {count} of them rotated"):
        opened(real("mlearn"), **files)
