"""Total charges and spins that models do not read."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.db import connect
from helpers import molecule
from potentials import smooth_potential
from typer.testing import CliRunner

from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.calculator.relaxation import relax
from gemnet_blocks.cli import app
from gemnet_blocks.data.opening import read_atoms
from gemnet_blocks.potential.model_file import save_potential
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.charges import unread

CHARGED: list[dict[str, Any]] = [
    {"charge": 1},
    {"Charge": -1.0},
    {"total_charge": np.int64(2)},
    {"netCharge": "+1"},
    {"charge": np.array([1])},
    {"charge": [1]},
    {"charge": "neutral"},
    {"charge": float("nan")},
    {"spin": 2},
    {"total_spin": 0.5},
    {"spin_multiplicity": 3},
    {"multiplicity": "2"},
    {"unpaired_electrons": 1},
    {"tot_charge": 1},
    {"charge_total": 1},
    {"mol_charge": 1},
    {"DFT_charge": -1},
    {"dft_total_charge": 1},
    {"REF_charge": 1},
    {"formal_charge": 1},
    {"charge_state": 2},
    {"charge [e]": 1},
    {"REF_spin": 2},
    {"n_unpaired": 2},
    {"number_of_unpaired_electrons": 2},
    {"unpaired": 1},
    {"uhf": 1},
    {"mult": 3},
    {"dft_multiplicity": 2},
]

NEUTRAL: list[dict[str, Any]] = [
    {},
    {"charge": 0, "spin": 1},
    {"charge": "0", "spin": 0},
    {"total_charge": np.float32(0.0), "spin_multiplicity": 1},
    {"charge": 1e-9},
    {"charge": None},
    {"charge": np.array([0.3, -0.2])},
    {"charges": 3, "charge_model": "DDEC6", "magmom": 2.0},
    {"REF_charge": np.array([0.3, -0.2]), "nuclear_charge": 6, "partial_charge": 0.4},
    {"uhf": 0, "mult": 1, "n_unpaired": 0, "total_charge": 0},
    # results of a calculation, as of every ferromagnet
    {"total_magnetization": 2.2, "tot_magnetization": 2.0},
    {"spin_polarized": True, "nspin": 2, "multiplier": 3, "Q": 1, "S": 2},
]


@pytest.mark.parametrize("info", CHARGED, ids=str)
def test_a_charge_or_spin_is_found_however_it_is_spelled(info: dict[str, Any]) -> None:
    (found,) = unread(info)
    assert found.name in info
    assert unread(info, ignore=[found.quantity]) == []


@pytest.mark.parametrize("info", NEUTRAL, ids=str)
def test_neutral_closed_shells_and_charges_of_atoms_are_passed_over(info: dict[str, Any]) -> None:
    assert unread(info) == []


def test_initial_charges_count_where_they_add_up_to_a_total_charge() -> None:
    (found,) = unread({}, initial_charges=[0.6, 0.4])
    assert not found.certain
    assert unread({}, initial_charges=[0.41, -0.40]) == []
    assert unread({"charge": 0}, initial_charges=[0.6, 0.4]) == []


def charged(**info: Any) -> Atoms:
    atoms = molecule(3)
    atoms.info.update(info)
    return atoms


def test_structures_from_ase_leave_a_charge_behind_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"structure 1 \(charge: 1\)"):
        Structures.from_ase([charged(), charged(charge=1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Structures.from_ase([charged(charge=0, spin=1)])
        Structures.from_ase(charged(charge=1), ignore=["charge"])


def test_a_calculator_warns_once_and_not_in_every_step() -> None:
    calculator = GemNetCalculator(smooth_potential())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(list(relax(charged(charge=1, spin=2), calculator, fmax=0, steps=3))) == 4
    assert [str(one.message).count("charge: 1, spin: 2") for one in caught] == [1]


def test_commands_warn_of_the_rows_of_a_database(tmp_path: Path) -> None:
    save_potential(smooth_potential(), tmp_path / "model.safetensors")
    with connect(tmp_path / "ions.db") as database:
        database.write(molecule(3), data={"charge": 0, "spin": 1})
        database.write(molecule(3), data={"charge": -1, "spin": 1})
    assert [frame.info["charge"] for frame in read_atoms(tmp_path / "ions.db")] == [0, -1]
    assert [frame.info["charge"] for frame in read_atoms(tmp_path / "ions.db", "-1")] == [-1]
    arguments = [str(tmp_path / "model.safetensors"), str(tmp_path / "ions.db"), "--steps", "1"]
    with pytest.warns(UserWarning, match="charge: -1"):
        CliRunner().invoke(app, ["relax", *arguments, "--output", str(tmp_path / "out.xyz")])
