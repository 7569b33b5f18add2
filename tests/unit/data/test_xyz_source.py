"""XYZ files: no frame is lost, periodicity is not guessed, and names stay text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io.extxyz import key_val_str_to_dict
from data_files import opened, options

from gemnet_blocks.data.opening import open_files, read_atoms
from gemnet_blocks.data.xyz_source import XyzSource, _comment
from gemnet_blocks.errors import StructureError

LATTICE = 'Lattice="4 0 0 0 4 0 0 0 4"'


def frame(more: str = "", atoms: int = 1, lattice: str = LATTICE) -> str:
    """A frame of extended XYZ with energy and forces."""
    comment = f"{lattice} Properties=species:S:1:pos:R:3:forces:R:3 energy=-1 {more}"
    return f"{atoms}\n{comment}\n" + "".join(f"Cu {index} 0 0 0 0 0\n" for index in range(atoms))


def written(folder: Path, text: str | bytes) -> Path:
    """The text as a file."""
    path = folder / "a.xyz"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "pbc",
    ["FFF", '"f f f"', "TTF", "none", '"no no no"', '"2 2 0"', '"T T"', '"T T T T"', "nan", "2", '""', "{a b c}"],
)
@pytest.mark.parametrize("key", ["pbc", "PBC"])
def test_periodicity_that_is_not_truth_values_is_refused_by_all_readers(tmp_path: Path, key: str, pbc: str) -> None:
    path = written(tmp_path, frame() + frame(f"{key}={pbc}"))
    message = r"a.xyz, frame 1: periodicity \(pbc\): expected one truth value or three, such as T T F, .*, found "
    with pytest.raises(StructureError, match=message):
        opened(tmp_path, train=["a.xyz"])
    with pytest.raises(StructureError, match=message):
        read_atoms(path)
    assert len(read_atoms(path, "0")) == 1


@pytest.mark.parametrize(
    ("more", "periodic"),
    [
        ("", [True] * 3),
        ("pbc=F", [False] * 3),
        ('pbc="T T F"', [True, True, False]),
        ("pbc=[T,T,F]", [True, True, False]),
        ("pbc='1 0 true'", None),
        ('pbc="1 0 1"', [True, False, True]),
        ('pbc="true False TRUE"', [True, False, True]),
        ('PBC="F F F"', [False] * 3),
        ('Pbc = "F T F"', [False, True, False]),
    ],
)
def test_spellings_of_periodicity(tmp_path: Path, more: str, periodic: list[bool] | None) -> None:
    path = written(tmp_path, frame(more))
    if periodic is None:  # neither numbers nor truth values
        with pytest.raises(StructureError, match="periodicity"):
            read_atoms(path)
    else:
        assert read_atoms(path)[0].pbc.tolist() == periodic
        assert opened(tmp_path, train=["a.xyz"]).train[0].structures.periodic[0].tolist() == periodic


def test_a_lattice_in_lower_case_is_a_lattice(tmp_path: Path) -> None:
    path = written(tmp_path, frame(lattice='lattice="4 0 0 0 5 0 0 0 6"'))
    atoms = read_atoms(path)[0]
    assert atoms.cell.lengths().tolist() == [4, 5, 6]
    assert atoms.pbc.all()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('pbc="T T T" PBC="F F F"', "frame 0: pbc is given twice, as 'T T T' and 'F F F'"),
        ('Lattice="4 4 4"', "frame 0: Lattice is given twice"),
        ("dipole=large", "frame 0: dipole: expected numbers, found 'large'"),
    ],
)
def test_contradictions_are_errors(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        read_atoms(written(tmp_path, frame(more)))


def test_the_report_says_which_structures_are_periodic(tmp_path: Path) -> None:
    three = [frame('pbc="T T F"', 1), frame('pbc="F F F"', 2), frame('pbc="T T F"', 3)]
    written(tmp_path, "".join(three))
    report = opened(tmp_path, train=["a.xyz"], periodicity="mixed").report
    expected = "mixed periodicity: 1 not periodic, 2 periodic along its first and second lattice vector only"
    assert expected in report
    written(tmp_path, three[0] + three[2])
    assert "; periodic along its first and second lattice vector only;" in opened(tmp_path, train=["a.xyz"]).report


@pytest.mark.parametrize(
    "text",
    [
        "\n".join([frame()] * 5),
        "\n \n" + " \t\n".join([frame()] * 5) + "\n\n",
        "\n".join([frame()] * 5).replace("\n", "\r\n"),
        "\ufeff" + frame() * 5,
        "1\n\nH 0 0 0\n\n" * 5,
        "0\n\n" + "1\n\nH 0 0 0\n" * 4,
    ],
    ids=["blank lines", "white space", "CRLF", "byte-order mark", "blank comments", "a frame without atoms"],
)
@pytest.mark.parametrize("format", ["extxyz", "xyz"])
def test_all_frames_are_read(tmp_path: Path, text: str, format: str) -> None:
    source = XyzSource(written(tmp_path, text), {}, "a.xyz", format)
    assert len(source) == 5
    assert sum(len(source.atoms(index)) for index in range(5)) in (4, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (frame() + "rubbish\n" + frame(), "line 4: expected the number of atoms of frame 1, found 'rubbish'"),
        (frame() + "-2\n\n", "line 4: expected the number of atoms of frame 1, found '-2'"),
        (frame() + "\n1.5\n\n", "line 5: expected the number of atoms of frame 1, found '1.5'"),
        (frame(atoms=3).replace("3\n", "2\n", 1), "line 5: expected the number of atoms of frame 1, found 'Cu 2 0"),
        (
            frame() + frame(atoms=3)[:-16],
            "line 4: expected 3 atoms of frame 1 from line 6 on, but the file ends",
        ),
        (frame() + frame(atoms=3).replace("Cu 1", "\nCu 1"), "line 4: expected 3 atoms .* but line 7 is blank"),
        (frame().replace("1\n", "4\n", 1) + frame(), "frame 0 .from line 1; line 4 has 1 columns.: ASE cannot read it"),
        (frame().encode("utf-16"), "expected UTF-8 text, found the byte 0xff"),
        ("\n\n", "contains no frame"),
    ],
)
def test_lines_that_do_not_fit_are_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(StructureError, match=f"a.xyz.*{message}"):
        opened(tmp_path, train=["a.xyz"])
    with pytest.raises(StructureError, match=f"a.xyz.*{message}"):
        read_atoms(path)


NAMES = ["007", "7", "1e2", "100.0", "F", "False", "T", "true", "nan", "1_000", "1000", "0x10", "2024-01-01", "a b"]


@pytest.mark.parametrize("quotes", ['""', "''", "{}", "[]"])
def test_names_of_groups_are_text(tmp_path: Path, quotes: str) -> None:
    text = "".join(frame(f"name={quotes[0]}{name}{quotes[1]} mark") for name in NAMES)
    path = written(tmp_path, text + "".join(frame(f"mark name={name}") for name in NAMES[:-1]))
    dataset = open_files(["a.xyz"], options(train=["a.xyz"]), tmp_path)
    assert dataset.groups("name") == NAMES + NAMES[:-1]
    assert set(dataset.groups("mark")) == {"T"}
    assert [atoms.info["name"] for atoms in read_atoms(path, ":1")] == ["007"]


@pytest.mark.parametrize(
    "line",
    [
        f'{LATTICE} Properties=species:S:1:pos:R:3 energy=-1.5e2 name=007 pbc="T T F"',
        'a = 1 b= \'2 3\' c ={x "y"} d=[1,2.5] e f=a=b g=\\"q\\" h="a \\" b" i="',
        "methanol's geometry, 3 = 4",
        'stress="1 2 3 4 5 6 7 8 9" virial="1 2 3 4 5 6 7 8 9" note="name=7" uid=007 j="_JSON [1, \\"x\\"]"',
        "",
    ],
)
def test_comment_lines_mean_what_they_mean_to_ase(line: str) -> None:
    wanted, found = key_val_str_to_dict(line), _comment(line, "here")[0]
    assert list(found) == [key for key in wanted if key]
    for key in found:
        np.testing.assert_array_equal(np.asarray(found[key]), np.asarray(wanted[key]))


@pytest.mark.parametrize("key", ["stress", "virial", "REF_stress"])
def test_all_keys_of_stress_are_read_alike(tmp_path: Path, key: str) -> None:
    def stress(numbers: str) -> list[float]:
        written(tmp_path, frame(f'{key}="{numbers}"'))
        data = opened(tmp_path, train=["a.xyz"], labels=["stress"], keys={"stress": key}).train
        return data[0].stress.reshape(-1).tolist()  # type: ignore[union-attr]

    assert stress("1 6 5 6 2 4 5 4 3") == stress("1 2 3 4 5 6") == [1, 6, 5, 6, 2, 4, 5, 4, 3]
    assert max(stress("0 1e-17 0 0 0 0 0 0 0")) < 1e-16
    with pytest.raises(StructureError, match=r"frame 0: stress.*: expected a symmetric matrix, found"):
        stress("1 2 3 4 5 6 7 8 9")
    with pytest.raises(StructureError, match=r"frame 0: stress.*: expected 6 numbers.* or 9 numbers"):
        stress("1 2 3 4 5")
