"""Files with total charges and spins: training refuses them, evaluation warns."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.db import connect
from data_files import molecules, opened, options, written

from gemnet_blocks.data.batching import BudgetSampler, loader
from gemnet_blocks.data.databases import SqliteSource
from gemnet_blocks.data.dataset import StreamedDataset
from gemnet_blocks.data.frame import LabelRules
from gemnet_blocks.data.opening import open_data
from gemnet_blocks.data.units import Units
from gemnet_blocks.errors import StructureError

INFO = [{"charge": 0, "spin": 1}, {"charge": 1, "spin": 2}, {"charge": 0, "spin": 1}, {"charge": -1, "spin": 1}]


def extended_xyz(folder: Path) -> str:
    frames = molecules(4)
    for atoms, info in zip(frames, INFO, strict=True):
        atoms.info.update(info)
    return written(folder / "ions.xyz", frames).name


def database_data(folder: Path) -> str:
    with connect(folder / "ions.db") as database:
        for atoms, info in zip(molecules(4), INFO, strict=True):
            database.write(atoms, data=info)
    return "ions.db"


def database_pairs(folder: Path) -> str:
    with connect(folder / "ions.json") as database:
        for atoms, info in zip(molecules(4), INFO, strict=True):
            database.write(atoms, key_value_pairs={f"total_{name}": value for name, value in info.items()})
    return "ions.json"


def archive(folder: Path) -> str:
    frames = molecules(4)
    np.savez(
        folder / "ions.npz",
        R=np.stack([atoms.positions for atoms in frames]),
        z=frames[0].numbers,
        E=np.array([atoms.get_potential_energy() for atoms in frames]),
        F=np.stack([atoms.get_forces() for atoms in frames]),
        charge=np.array([[info["charge"]] for info in INFO]),
        multiplicity=np.array([info["spin"] for info in INFO]),
    )
    return "ions.npz"


FORMATS = [extended_xyz, database_data, database_pairs, archive]


@pytest.mark.parametrize("write", FORMATS)
def test_training_refuses_charged_frames_and_counts_them(write: Any, tmp_path: Path) -> None:
    file = write(tmp_path)
    with pytest.raises(StructureError, match=r"^2 of 4 structures have") as raised:
        opened(tmp_path, files=[file])
    message = str(raised.value)
    assert f"{file}, frame 1" in message
    assert "charge: 1" in message
    assert "`ignore: [charge, spin]`" in message
    with pytest.raises(StructureError, match=r"^1 of 4 structures have .*`ignore: \[spin\]`"):
        opened(tmp_path, files=[file], ignore=["charge"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(opened(tmp_path, files=[file], ignore=["charge", "spin"]).train) == 4


@pytest.mark.parametrize("write", FORMATS)
def test_evaluation_warns_once(write: Any, tmp_path: Path) -> None:
    file = write(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = open_data(options(files=[file]), tmp_path, charged="warn")
        list(map(data.train.__getitem__, range(4)))
    assert [f"{file}, frame 1" in str(one.message) for one in caught] == [True]


def test_one_charge_for_all_frames_of_an_archive_counts(tmp_path: Path) -> None:
    frames = molecules(2)
    np.savez(
        tmp_path / "ion.npz",
        R=np.stack([atoms.positions for atoms in frames]),
        z=frames[0].numbers,
        E=np.zeros(2),
        F=np.zeros((2, 6, 3)),
        charge=np.array(1),
        charges=np.ones((2, 6)),
    )
    with pytest.raises(StructureError, match="2 of 2 structures"):
        opened(tmp_path, files=["ion.npz"])


def test_charges_and_spins_of_archives_that_name_them_by_letters(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {"R": random.normal(size=(8, 3, 3)), "z": np.array([8, 1, 1]), "E": np.zeros(8), "F": np.zeros((8, 3, 3))}
    charge = np.array([0, 1, 0, 0, -1, 0, 0, 0])
    for name, more, message in (
        ("a.npz", {"Q": charge}, r"2 of 8 .*frame 1 \(charge \(Q\): 1\)"),
        ("b.npz", {"Q": charge[:, None].astype(float)}, r"2 of 8 .*frame 4 \(charge \(Q\): -1\.0\)"),
        ("c.npz", {"Q": 0 * charge, "S": 2 * charge**2}, r"2 of 8 .*frame 1 \(spin \(S\): 2\)"),
    ):
        np.savez(tmp_path / name, **arrays, **more)
        with pytest.raises(StructureError, match=message):
            opened(tmp_path, files=[name])
    # neutral, of atoms, or no charge at all
    for number, q in enumerate((0.0 * charge, random.normal(size=(8, 3)), random.normal(size=8))):
        np.savez(tmp_path / f"{number}.npz", **arrays, Q=q)
        opened(tmp_path, files=[f"{number}.npz"])


def test_initial_charges_are_warned_of_and_not_refused(tmp_path: Path) -> None:
    frames = molecules(2)
    frames[1].set_initial_charges([1, 0, 0, 0, 0, 0])
    written(tmp_path / "ions.xyz", frames)
    with pytest.warns(UserWarning, match=r"frame 1 \(sum of initial charges: 1.0\)"):
        opened(tmp_path, files=["ions.xyz"])


def test_a_charge_that_is_not_a_number_is_named(tmp_path: Path) -> None:
    frames = molecules(2)
    frames[0].info["charge"] = "cation"
    written(tmp_path / "ions.xyz", frames)
    with pytest.raises(StructureError, match="charge: cation, which is not a number"):
        opened(tmp_path, files=["ions.xyz"])


def test_charged_rows_beyond_the_sample_are_refused_when_they_are_read(tmp_path: Path) -> None:
    source = SqliteSource(tmp_path / database_data(tmp_path), {}, "ions.db")
    data = StreamedDataset(source, LabelRules(units=Units(), required=frozenset({"energy"})))
    with pytest.raises(StructureError, match=r"^1 of 1 structures have a total charge"):
        list(loader(data, BudgetSampler([1] * 4, 4), workers=1))
