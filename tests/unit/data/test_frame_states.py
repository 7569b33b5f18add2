"""Total charges and spins in data of models that read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from data_files import options

from gemnet_blocks.data.leakage import find_duplicates
from gemnet_blocks.data.opening import open_data
from gemnet_blocks.errors import StructureError
from gemnet_blocks.spec import load_spec

READING = load_spec("symmetric").patch({"atom_embedding": {"type": "periodic_table", "charge": True, "spin": True}})


def write_ions(path: Path, *states: dict[str, object]) -> None:
    frames = []
    for state in states:
        atoms = Atoms("OH", positions=[[0, 0, 0], [0.97, 0, 0]])
        atoms.info |= state
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
        frames.append(atoms)
    write(path, frames)


def test_models_that_read_states_are_trained_on_them(tmp_path: Path) -> None:
    write_ions(tmp_path / "a.xyz", {"charge": -1}, {"charge": 0, "spin": 2}, {})
    chosen = options(files=["a.xyz"], labels=["energy"])
    data = open_data(chosen, tmp_path, READING)
    items = [data.train[index].structures for index in range(3)]
    assert [item.charge.tolist() for item in items] == [[-1], [0], [0]]
    assert [item.spin.tolist() for item in items] == [[1], [2], [1]]
    # the same atoms in other states are other structures
    assert len(find_duplicates(data.summaries["train"], data.summaries["train"])) == 3
    assert len({bytes(key) for key in data.summaries["train"].keys}) == 3
    with pytest.raises(StructureError, match="which the model does not read"):
        open_data(chosen, tmp_path, load_spec("symmetric"))
    ignored = open_data(options(files=["a.xyz"], labels=["energy"], ignore=["charge", "spin"]), tmp_path, READING)
    assert ignored.train[0].structures.charge is None


def test_wrong_states_are_named_by_file_and_frame(tmp_path: Path) -> None:
    write_ions(tmp_path / "a.xyz", {"charge": 1}, {"charge": 0.5})
    with pytest.raises(StructureError, match=r"a.xyz, frame 1: has a total charge that is not an integer"):
        open_data(options(files=["a.xyz"], labels=["energy"]), tmp_path, READING)
