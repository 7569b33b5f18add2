"""Structures in files."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from gemnet_blocks.errors import StructureError
from gemnet_blocks.frames import output_format, write_frames


@pytest.fixture
def atoms() -> Atoms:
    made = Atoms("CO", [[0, 0, 0], [0, 0, 1.1]], cell=[5, 5, 5], pbc=True)
    made.calc = SinglePointCalculator(made, energy=-1.5)
    return made


@pytest.mark.parametrize("name", ["out.xyz", "out.extxyz", "out.traj", "out.json", "out.db", "out", "out.unknown"])
def test_energies_are_written_in_the_format_of_the_name(tmp_path: Path, atoms: Atoms, name: str) -> None:
    write_frames(tmp_path / name, [atoms, atoms])
    kind = {"format": "extxyz"} if name in ("out", "out.unknown") else {}
    assert [one.get_potential_energy() for one in read(tmp_path / name, ":", **kind)] == [-1.5, -1.5]


@pytest.mark.parametrize("name", ["out.cif", "POSCAR"])
def test_other_programs_read_their_formats(tmp_path: Path, atoms: Atoms, name: str) -> None:
    write_frames(tmp_path / name, [atoms])
    assert read(tmp_path / name).get_chemical_formula() == "CO"


def test_formats_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StructureError, match=r"POSCAR: cannot hold several structures, as its name says vasp"):
        output_format(tmp_path / "POSCAR", several=True)
    with pytest.raises(StructureError, match=r"OUTCAR: cannot hold structures, as its name says vasp-out"):
        output_format(tmp_path / "OUTCAR")


def test_frames_that_cannot_be_written(tmp_path: Path, atoms: Atoms) -> None:
    with pytest.raises(StructureError, match="cannot be written"):
        write_frames(tmp_path / "missing" / "out.xyz", [atoms])
