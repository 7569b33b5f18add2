"""One reader of structures for training data and for commands: formats, patterns of files, incomplete files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase.constraints import FixAtoms
from ase.io import write
from data_files import crystals, molecules, npz, opened, options, written
from numpy.testing import assert_allclose

from gemnet_blocks.data.opening import open_files, open_sources, read_atoms
from gemnet_blocks.errors import StructureError


def test_archives_become_atoms(tmp_path: Path) -> None:
    pbc = np.array([True, False, True])
    path = npz(tmp_path / "w.npz", cell=9 * np.eye(3), pbc=pbc, name=np.array(["007", "7"] * 4))
    atoms = read_atoms(path, "1:3")
    assert [one.get_chemical_formula() for one in atoms] == ["H2O"] * 2
    assert_allclose(atoms[1].positions, np.load(path)["coords"][2])
    assert atoms[0].pbc.tolist() == pbc.tolist()
    assert [one.info["name"] for one in atoms] == ["7", "007"]
    assert not atoms[0].has("tags")


def test_databases_become_atoms(tmp_path: Path) -> None:
    from ase.db import connect

    frames = crystals(3)
    frames[2].set_constraint(FixAtoms([1]))
    for kind in ("db", "json"):
        with connect(str(tmp_path / f"cu.{kind}"), type=kind) as database:
            for atoms in frames:
                database.write(atoms)
        last = read_atoms(tmp_path / f"cu.{kind}", "-1")[0]
        assert_allclose(last.positions, frames[2].positions)
        assert last.constraints[0].index.tolist() == [1]


@pytest.mark.parametrize("pbc", ['["F", "F", "F"]', "[2, 2, 0]", "[1, NaN, 0]", "[true, true]", '"none"'])
def test_rows_without_truth_values_are_refused(tmp_path: Path, pbc: str) -> None:
    from ase.db import connect

    path = tmp_path / "cu.json"
    with connect(str(path), type="json") as database:
        database.write(crystals(1)[0])
    text = path.read_text()
    found = '{"__ndarray__": [[3], "bool", [true, true, true]]}'
    assert found in text
    path.write_text(text.replace(found, pbc))
    for read in (lambda: opened(tmp_path, train=["cu.json"]), lambda: read_atoms(path)):
        with pytest.raises(StructureError, match=r"cu.json, frame 0: periodicity \(pbc\): expected one truth value"):
            read()


@pytest.mark.parametrize("pbc", [np.array(["F"] * 3), np.array([2, 2, 0]), np.array([np.nan, 1, 0])])
def test_archives_without_truth_values_are_refused(tmp_path: Path, pbc: object) -> None:
    path = npz(tmp_path / "w.npz", cell=9 * np.eye(3), pbc=pbc)
    for read in (lambda: opened(tmp_path, train=["w.npz"]), lambda: read_atoms(path)):
        with pytest.raises(StructureError, match=r"w.npz, frame 0: periodicity \(pbc\): expected one truth value"):
            read()


def test_names_in_archives_are_text(tmp_path: Path) -> None:
    npz(tmp_path / "w.npz", text=np.array(["007", "7"] * 4), raw=np.array([b"007", b"7"] * 4), flag=np.arange(8) > 3)
    dataset = open_files(["w.npz"], options(train=["w.npz"]), tmp_path)
    assert dataset.groups("text") == dataset.groups("raw") == ["007", "7"] * 4
    assert dataset.groups("flag") == ["False"] * 4 + ["True"] * 4


def test_patterns_stand_for_sorted_files(tmp_path: Path) -> None:
    for name in ("b.xyz", "a.xyz", "sub/c.xyz", "[1].xyz", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path / name, molecules(1))

    def files(*names: str) -> list[str]:
        data = opened(tmp_path, train=list(names), leakage="ignore").train
        return [data.file(index) for index in range(len(data))]

    assert files("?.xyz") == ["a.xyz", "b.xyz"]
    assert files("[ab].xyz", "sub/*") == ["a.xyz", "b.xyz", "sub/c.xyz"]
    assert files("**/*.xyz") == ["[1].xyz", "a.xyz", "b.xyz", "sub/c.xyz"]
    assert files("[1].xyz") == ["[1].xyz"]  # the file with that very name
    assert files(str(tmp_path / "a.x*")) == [str(tmp_path / "a.xyz")]
    assert len(read_atoms(tmp_path / "*.xyz")) == 3
    with pytest.raises(StructureError, match=r"none\*.xyz: no file matches this pattern"):
        files("a.xyz", "none*.xyz")


def test_broken_links_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").symlink_to("gone.xyz")
    with pytest.raises(StructureError, match=r"a.xyz: is a symbolic link to gone.xyz, which does not exist"):
        opened(tmp_path, train=["a.xyz"])


def dump(time: int) -> str:
    """A frame of a LAMMPS dump."""
    atoms = "".join(f"{index + 1} 1 {index} 0 0\n" for index in range(3))
    box = "ITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
    return f"ITEM: TIMESTEP\n{time}\nITEM: NUMBER OF ATOMS\n3\n{box}ITEM: ATOMS id type x y z\n{atoms}"


def test_frames_that_a_blank_line_would_hide(tmp_path: Path) -> None:
    write(tmp_path / "XDATCAR", crystals(1) * 4, format="vasp-xdatcar")
    lines = (tmp_path / "XDATCAR").read_text().splitlines(keepends=True)
    assert len(read_atoms(tmp_path / "XDATCAR")) == 4
    third = [index for index, line in enumerate(lines) if line.startswith("Cu\n")][2]
    (tmp_path / "XDATCAR").write_text("".join([*lines[:third], "\n", *lines[third:]]))
    with pytest.raises(StructureError, match=r"XDATCAR: has 4 frames, but ASE \(vasp-xdatcar\) reads [23]"):
        read_atoms(tmp_path / "XDATCAR")


def trajectory_lines(path: Path, format: str) -> list[str]:
    """Write four frames of four atoms; returns the lines of the file."""
    write(path, crystals(7)[::2], format=format)
    assert [len(frame) for frame in read_atoms(path)] == [4] * 4
    return path.read_text().splitlines(keepends=True)


BEGIN = {"dmol-arc": "!DATE", "runnerdata": "begin", "proteindatabank": "MODEL"}


@pytest.mark.parametrize("format", BEGIN)
def test_lines_that_are_missing_between_frames(tmp_path: Path, format: str) -> None:
    path = tmp_path / "frames"
    write(path, crystals(5)[::2], format=format)
    lines = path.read_text().splitlines(keepends=True)

    def read() -> list[int]:
        return [len(source.atoms(i)) for source in open_sources(str(path), Path(), {}, format) for i in range(3)]

    assert read() == [4, 4, 4]
    begins = [number for number, line in enumerate(lines) if line.startswith(BEGIN[format])]
    for missing, expected in (
        (range(begins[1], begins[1] + 1), "beginning of a frame"),
        (range(begins[1], begins[1] + 4), "beginning of a frame"),
        (range(begins[1] - 6, begins[1]), f"end of the frame of line {begins[0] + 1}"),
        (range(begins[2] + 5, len(lines)), rf"end of the frame of line {begins[2] + 1}, but the file ends"),
    ):
        path.write_text("".join(line for number, line in enumerate(lines) if number not in missing))
        with pytest.raises(StructureError, match=rf"frames, line \d+: expected the {expected}"):
            read()


@pytest.mark.parametrize("format", ["dmol-arc", "dmol-car", "proteindatabank", "gromacs", "mol"])
def test_atoms_that_are_missing(tmp_path: Path, format: str) -> None:
    path = tmp_path / "frame"
    write(path, crystals(1), format=format)
    lines = path.read_text().splitlines(keepends=True)
    assert len(open_sources(str(path), Path(), {}, format)[0].atoms(0)) == 4
    second = [number for number, line in enumerate(lines) if re.search(r"\bCu|(^ +\d+){2}.*\d\.\d", line)][1]
    path.write_text("".join([*lines[:second], *lines[second + 1 :]]))
    if format in ("gromacs", "mol"):  # which state the number of atoms
        with pytest.raises(StructureError, match=r"frame"):
            open_sources(str(path), Path(), {}, format)
    else:  # which number the atoms, also of files from which atoms were removed on purpose
        with pytest.warns(
            UserWarning, match=r"frame, line \d+: atom 3 follows atom 1: check whether lines are missing"
        ):
            assert len(open_sources(str(path), Path(), {}, format)[0].atoms(0)) == 3


def test_protein_data_bank_files_as_programs_write_them(tmp_path: Path) -> None:
    atom = "ATOM  {:5d}  C   MOL A   1      {:6.3f}   0.000   0.000  1.00  0.00           C\n"
    chains = f"{atom.format(1, 1)}{atom.format(2, 2)}TER       3      MOL A   1\n{atom.format(4, 4)}"
    for text in (chains, f"{chains}END\n", f"MODEL        1\n{chains}ENDMDL\nEND\n"):
        (tmp_path / "a.pdb").write_text(text)
        assert [len(atoms) for atoms in read_atoms(tmp_path / "a.pdb")] == [3]


@pytest.mark.parametrize("format", ["castep-geom", "castep-md"])
def test_blank_lines_split_no_frame_of_a_castep_run(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"a.{format[7:]}"
    lines = trajectory_lines(path, format)
    atoms = [number for number, line in enumerate(lines) if line.rstrip().endswith("<-- R")]
    for number in (atoms[1], atoms[2], atoms[-1]):
        path.write_text("".join([*lines[:number], "\n", *lines[number:]]))
        with pytest.raises(StructureError, match=rf"a\.{format[7:]}"):
            read_atoms(path)


def test_frames_of_a_castep_run_have_equally_many_atoms(tmp_path: Path) -> None:
    path = tmp_path / "a.geom"
    lines = trajectory_lines(path, "castep-geom")
    second = [number for number, line in enumerate(lines) if line.rstrip().endswith("<-- R")][4]
    path.write_text("".join([*lines[:second], *lines[second + 1 :]]))
    with pytest.raises(StructureError, match=r"a\.geom, frame 1: has 3 of its 4 atoms"):
        read_atoms(path)


def test_an_xsf_file_that_does_not_announce_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.xsf"
    lines = trajectory_lines(path, "xsf")
    path.write_text("".join(lines[1:]))
    with pytest.raises(StructureError, match=r"a\.xsf: has 4 frames, but ASE \(xsf\) reads 1"):
        read_atoms(path)


def test_dumps_that_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.dump"
    path.write_text(dump(0) + dump(1))
    assert [len(atoms) for atoms in read_atoms(path)] == [3, 3]
    path.write_text((dump(0) + dump(1))[: -len("3 1 2 0 0\n")])
    with pytest.raises(StructureError, match=r"a.dump, frame 1: has 2 of its 3 atoms"):
        read_atoms(path)


def test_the_last_step_of_a_run_that_was_killed_is_left_out_with_a_warning(tmp_path: Path) -> None:
    def vectors(tag: str, *rows: str) -> str:
        return f'<varray name="{tag}">{"".join(f"<v>{row}</v>" for row in rows)}</varray>'

    cell = f"<crystal>{vectors('basis', '4 0 0', '0 4 0', '0 0 4')}</crystal>"
    structure = f"<structure>{cell}{vectors('positions', '0 0 0')}</structure>"
    initial = structure.replace("<structure>", '<structure name="initialpos">')
    energies = "".join(f'<i name="{kind}"> -1.0 </i>' for kind in ("e_fr_energy", "e_wo_entrp", "e_0_energy"))
    energy = f"<energy>{energies}</energy>"
    step = f"<calculation><scstep>{energy}</scstep>{structure}{vectors('forces', '0 0 0')}{energy}</calculation>"
    atoms = '<atominfo><array name="atoms"><set><rc><c>Cu</c><c>1</c></rc></set></array></atominfo>'
    start = f"<modeling><kpoints>{vectors('kpointlist', '0 0 0')}{vectors('weights', '1')}</kpoints>{atoms}{initial}"
    path = tmp_path / "vasprun.xml"
    path.write_text(f"{start}{step}{step}</modeling>")
    assert len(read_atoms(path)) == 2
    path.write_text(f"{start}{step}{step}<calculation><scstep>")
    with pytest.warns(UserWarning, match=r"vasprun.xml: frame 2, the last one, is incomplete and is left out"):
        assert len(read_atoms(path)) == 2


@pytest.mark.parametrize(
    ("index", "message"), [("9", "no structure at index 9"), ("x", "expected a number or a slice")]
)
def test_indices_that_do_not_fit(tmp_path: Path, index: str, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        read_atoms(npz(tmp_path / "w.npz"), index)
