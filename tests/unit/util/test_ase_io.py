"""Structures in files."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from gemnet_blocks.data.opening import read_atoms
from gemnet_blocks.errors import StructureError
from gemnet_blocks.util.ase_io import output_format, write_frames


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


def test_an_at_sign_in_a_name_is_no_index(tmp_path: Path, atoms: Atoms) -> None:
    write_frames(tmp_path / "slab@1.extxyz", [atoms, atoms])
    assert len(read_atoms(tmp_path / "slab@1.extxyz")) == 2


@pytest.mark.parametrize("name", ["out.cif", "POSCAR"])
def test_other_programs_read_their_formats(tmp_path: Path, atoms: Atoms, name: str) -> None:
    write_frames(tmp_path / name, [atoms])
    assert read(tmp_path / name).get_chemical_formula() == "CO"


def test_formats_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StructureError, match=r"POSCAR: the format vasp cannot store several structures"):
        output_format(tmp_path / "POSCAR", several=True)
    with pytest.raises(StructureError, match=r"OUTCAR: the format vasp-out cannot store structures"):
        output_format(tmp_path / "OUTCAR")


@pytest.mark.parametrize("name", ["out.cif", "out.pdb", "POSCAR"])
def test_formats_that_lose_results_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StructureError, match="cannot store energies and forces"):
        output_format(tmp_path / name, results=True)
    for kept in ("out.xyz", "out.extxyz", "out.traj", "out.json", "out.db", "out"):
        output_format(tmp_path / kept, several=True, results=True)


def test_writers_that_raise_anything(tmp_path: Path, atoms: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ase.io.write", lambda *_, **__: [][1])
    with pytest.raises(StructureError, match=r"out.xsf: ASE cannot write it as xsf: IndexError: .* a name in .extxyz"):
        write_frames(tmp_path / "out.xsf", [atoms])
    assert not list(tmp_path.iterdir())


def test_frames_that_cannot_be_written(tmp_path: Path, atoms: Atoms) -> None:
    with pytest.raises(StructureError, match="cannot be written"):
        write_frames(tmp_path / "missing" / "out.xyz", [atoms])
