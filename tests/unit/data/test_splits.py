from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from data_files import crystals, molecules, npz, opened, options, written
from pydantic import ValidationError

from gemnet_blocks.data.dataset import Concatenation, Subset
from gemnet_blocks.data.opening import DataSplits, open_data, open_files
from gemnet_blocks.errors import SpecError, StructureError


def numbers(data: DataSplits) -> list[list[int]]:
    """The frames of each part."""
    parts = (data.train, data.validation, data.test)
    return [[] if part is None else [int(part[i].frame) for i in range(len(part))] for part in parts]


def test_random_splits_depend_on_the_seed_alone(tmp_path: Path) -> None:
    npz(tmp_path / "w.npz")
    parts = [
        numbers(
            opened(tmp_path, files=["w.npz"], split={"type": "random", "validation": 2, "test": 0.25, "seed": seed})
        )
        for seed in (0, 0, 1)
    ]
    assert parts[0] == parts[1] != parts[2]
    assert [len(part) for part in parts[0]] == [4, 2, 2]
    assert sorted(frame for part in parts[0] for frame in part) == list(range(8))


def test_a_fraction_is_one_structure_at_least(tmp_path: Path) -> None:
    npz(tmp_path / "w.npz")
    data = opened(tmp_path, files=["w.npz"], split={"type": "random", "validation": 0.01})
    assert [len(part) for part in numbers(data)] == [7, 1, 0]


@pytest.mark.parametrize("count", [3, 4, 5, 7, 8])
@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0), (0.7, 0.2, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.25, 0.75, 0)])
def test_fractions_of_a_whole_leave_nothing_out(tmp_path: Path, count: int, fractions: tuple[float, ...]) -> None:
    written(tmp_path / "cu.xyz", crystals(count))
    wanted = dict(zip(("train", "validation", "test"), fractions, strict=True))
    parts = numbers(opened(tmp_path, files=["cu.xyz"], split={"type": "random", **wanted}))
    assert sorted(frame for part in parts for frame in part) == list(range(count))
    for part, fraction in zip(parts, fractions, strict=True):
        assert abs(len(part) - fraction * count) < 1.5


def test_parts_that_are_not_requested_are_left_out(tmp_path: Path) -> None:
    npz(tmp_path / "w.npz")
    data = opened(tmp_path, files=["w.npz"], split={"type": "random", "train": 3, "validation": 1})
    assert [len(part) for part in numbers(data)] == [3, 1, 0]
    assert data.test is None


@pytest.mark.parametrize("split", [{"train": 8, "validation": 1}, {"validation": 9}, {"train": 0.9, "test": 0.5}])
def test_more_than_there_is_is_an_error(tmp_path: Path, split: dict[str, float]) -> None:
    npz(tmp_path / "w.npz")
    with pytest.raises(SpecError, match="the dataset has 8"):
        opened(tmp_path, files=["w.npz"], split={"type": "random", **split})


def test_an_empty_training_set_is_an_error(tmp_path: Path) -> None:
    npz(tmp_path / "w.npz")
    with pytest.raises(StructureError, match="no structure is left to train on"):
        opened(tmp_path, files=["w.npz"], split={"type": "random", "validation": 8})


def test_groups_are_held_out_whole(tmp_path: Path) -> None:
    written(tmp_path / "cu.xyz", crystals(6))
    split = {"type": "group", "key": "name", "pattern": "([AB])_", "test": ["B"]}
    assert numbers(opened(tmp_path, files=["cu.xyz"], split=split)) == [[0, 2, 4], [], [1, 3, 5]]


def test_groups_are_drawn_by_number_or_fraction(tmp_path: Path) -> None:
    written(tmp_path / "cu.xyz", crystals(10))
    split = {"type": "group", "key": "name", "validation": 0.25, "test": 2}
    parts = numbers(opened(tmp_path, files=["cu.xyz"], split=split))
    assert [len(part) for part in parts] == [5, 3, 2]
    assert numbers(opened(tmp_path, files=["cu.xyz"], split={**split, "validation": 1}))[2] == parts[2]
    assert numbers(opened(tmp_path, files=["cu.xyz"], split={**split, "seed": 5})) != parts


def test_groups_that_alone_have_an_element_can_be_kept(tmp_path: Path) -> None:
    elements = ("Cu", "Ag", "Ag", "Au", "Au", "Au", "Pt")
    alloys = [bulk(element, "fcc", a=4.0 + index / 10) for index, element in enumerate(elements)]
    for index, atoms in enumerate(alloys):
        atoms.info["name"] = str(index)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((1, 3)))
    written(tmp_path / "alloys.xyz", alloys)
    split = {"type": "group", "key": "name", "keep_elements": True}
    for seed in range(20):
        parts = numbers(
            opened(tmp_path, files=["alloys.xyz"], split={**split, "test": 2, "validation": 1, "seed": seed})
        )
        assert {elements[frame] for frame in parts[0]} == set(elements)
        assert [len(part) for part in parts] == [4, 1, 2]
    drawn = numbers(opened(tmp_path, files=["alloys.xyz"], split={**split, "test": 0.3, "seed": 3}))
    assert [len(part) for part in drawn] == [4, 0, 3]
    named = numbers(opened(tmp_path, files=["alloys.xyz"], split={**split, "test": ["0"], "seed": 3}))
    assert named[2] == [0]
    for test, what in ((4, "4 groups"), (0.5, "3.5 structures")):
        with pytest.raises(SpecError, match=f"{what} are to be held out, but only 3 leave all elements"):
            opened(tmp_path, files=["alloys.xyz"], split={**split, "test": test})


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"test": ["B_11"]}, "the group 'B_11' is unknown; did you mean 'B_1'"),
        ({"test": ["A_0"], "validation": ["A_0"]}, "'A_0' is in validation and in test"),
        ({"test": 6}, "no group of 6 is left"),
        ({"key": "run"}, "expected a key to group by, one of file, formula, name, got 'run'"),
        ({"pattern": "C_"}, "cu.xyz, frame 0: 'A_0' does not match"),
        ({"pattern": "("}, r"the pattern '\(' of groups is not a regular expression"),
    ],
)
def test_wrong_groups_are_named(tmp_path: Path, split: dict[str, object], message: str) -> None:
    written(tmp_path / "cu.xyz", crystals(6))
    with pytest.raises(SpecError, match=message):
        opened(tmp_path, files=["cu.xyz"], split={"type": "group", "key": "name", **split})


def test_parts_can_be_files_of_their_own(tmp_path: Path) -> None:
    for name, part in (("a", crystals(6)[:2]), ("b", crystals(6)[2:3]), ("c", crystals(6)[3:])):
        written(tmp_path / f"{name}.xyz", part)
    data = opened(tmp_path, train=["a.xyz", "b.xyz"], test=["c.xyz"])
    assert [len(part) for part in numbers(data)] == [3, 0, 3]
    assert data.train.groups("file") == ["a.xyz", "a.xyz", "b.xyz"]
    assert data.train.place(2) == "b.xyz, frame 0"
    assert data.train.atom_counts.tolist() == [4, 8, 4]
    assert "train: 3 structures; 16 atoms of Cu" in data.report
    data = opened(tmp_path, files=["a.xyz", "b.xyz"], test=["c.xyz"], split={"type": "random", "validation": 1})
    assert [len(part) for part in numbers(data)] == [2, 1, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "exactly one of files and train"),
        ({"files": ["a"], "train": ["a"]}, "exactly one of files and train"),
        ({"train": ["a"], "split": {"type": "random"}}, "train is not split"),
        ({"files": ["a"], "test": ["b"], "split": {"type": "random", "test": 2}}, "test is a list of files and a part"),
        ({"files": ["a"], "labels": []}, "at least one label"),
        ({"files": ["a"], "energy": "free"}, "total"),
        ({"files": ["a"], "batch": {}}, "exactly one of structures, atoms and edges"),
        ({"files": ["a"], "batch": {"atoms": 5, "edges": 3}}, "atoms and edges are given"),
    ],
)
def test_options_that_do_not_fit_are_errors(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        options(**changes)


@pytest.mark.parametrize(
    ("kind", "validation", "message"),
    [
        ("group", [1], r"a list of names of groups, .* got \[1\]; names are text: write them in quotes"),
        ("group", ["a", 1e2], r"got \[a, 100.0\]; names are text"),
        ("group", [True], r"got \[true\]; names are text"),
        ("group", "007", "got '007'; write names in brackets"),
        ("group", 1.5, "a list of names of groups, a number of groups, or a fraction .*, got 1.5"),
        ("group", -1, "a fraction of all structures between 0 and 1, got -1"),
        ("random", [1], r"must be a number of structures, or a fraction of all between 0 and 1, got \[1\]"),
        ("random", 1.5, "must be a number of structures, or a fraction"),
    ],
)
def test_amounts_that_do_not_fit_are_one_error(kind: str, validation: object, message: str) -> None:
    key = {"key": "name"} if kind == "group" else {}
    with pytest.raises(ValidationError, match=message) as raised:
        options(files=["a.xyz"], split={"type": kind, "validation": validation, **key})
    assert raised.value.error_count() == 1


def test_names_in_quotes_are_found_as_the_files_write_them(tmp_path: Path) -> None:
    frames = crystals(4)
    for atoms, name in zip(frames, ("007", "7", "1e2", "F"), strict=True):
        atoms.info["name"] = name
    written(tmp_path / "cu.xyz", frames)
    held = {"validation": ["007"], "test": ["1e2", "F"]}
    parts = numbers(opened(tmp_path, files=["cu.xyz"], split={"type": "group", "key": "name", **held}))
    assert parts == [[1], [0], [2, 3]]


def test_mixed_periodicity_is_an_error_unless_it_is_meant(tmp_path: Path) -> None:
    written(tmp_path / "a.xyz", [*crystals(2), *molecules(1)])
    with pytest.raises(StructureError, match=r"a.xyz, frame 2: is not periodic, but a.xyz, frame 0 is periodic in all"):
        opened(tmp_path, train=["a.xyz"])
    assert len(opened(tmp_path, train=["a.xyz"], periodicity="mixed").train) == 3
    written(tmp_path / "b.xyz", molecules(1))
    written(tmp_path / "c.xyz", crystals(1))
    with pytest.raises(StructureError, match=r"b.xyz, frame 0: is not periodic, but c.xyz"):
        opened(tmp_path, train=["c.xyz"], test=["b.xyz"])


def test_subsets_and_concatenations(tmp_path: Path) -> None:
    written(tmp_path / "a.xyz", crystals(4))
    whole = open_files(["a.xyz"], options(files=["a.xyz"]), tmp_path)
    both = Concatenation([Subset(whole, [3, 1]), whole])
    assert [int(both[i].frame) for i in range(6)] == [3, 1, 0, 1, 2, 3]
    assert int(both[-1].frame) == 3
    assert both.atom_counts.tolist() == [8, 8, 4, 8, 4, 8]
    assert both.groups("name")[:2] == ["B_3", "B_1"]
    assert both.labels == {"energy", "forces"}
    for index in (6, -7):
        with pytest.raises(IndexError):
            both[index]
    with pytest.raises(ValueError, match="at least one"):
        Concatenation([])


def test_paths_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path / "cu.xyz", crystals(3))
    assert len(opened(tmp_path / "configs", train=["~/cu.xyz"]).train) == 3


def test_absolute_paths(tmp_path: Path) -> None:
    written(tmp_path / "a.xyz", crystals(1))
    data = open_data(options(train=[str(tmp_path / "a.xyz")]), Path("/nowhere"))
    assert np.isfinite(float(data.train[0].energy))  # type: ignore[arg-type]
