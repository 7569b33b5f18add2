"""Exported programs give what the calculator gives, in a process without this library."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from helpers import molecule, slab, small_cell
from potentials import crystals, smooth_potential
from torch import Tensor
from torch.export import ExportedProgram

from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.errors import StateError
from gemnet_blocks.potential import Potential, export
from gemnet_blocks.potential.export import METADATA, ProgramInputs, export_potential, exported_program
from gemnet_blocks.structures import Structures

SMALL: Mapping[str, Any] = {
    "blocks__count": 1,
    "interactions__quadruplet": None,
    "interactions__atom_edge": None,
    "interactions__edge_atom": None,
    "interactions__atom_atom": None,
}
"""A model whose export takes seconds."""

ALONE = """
import sys
from pathlib import Path

class Refused:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] == "gemnet_blocks":
            raise ImportError("this process has no gemnet_blocks")

sys.meta_path.insert(0, Refused())
import torch

torch.set_num_threads(1)
path, kind, inputs, outputs = sys.argv[1:]
if kind == "compiled":
    program = torch._inductor.aoti_load_package(path)
else:
    program = torch.export.load(path).module()
torch.save([dict(program(*arguments)) for arguments in torch.load(inputs)], outputs)
assert "gemnet_blocks" not in sys.modules
"""
"""Runs a program on all inputs in a file."""


def rattled(atoms: Atoms, seed: int) -> Atoms:
    atoms = atoms.copy()
    atoms.rattle(0.1, seed=seed)
    return atoms


FRAMES = [
    *(molecule(count, seed=count) for count in (2, 3, 4, 5, 6, 8, 10)),
    Atoms("H"),
    Atoms("CO", positions=[[0, 0, 0], [30, 0, 0]]),
    *(rattled(slab(), seed) for seed in range(3)),
    *crystals(),
    *(rattled(small_cell(), seed) for seed in range(3)),
    bulk("Cu"),
    rattled(bulk("Cu") * (2, 2, 1), 0),
]
"""Molecules, slabs and bulk; some without neighbors, some with edges to their own images."""


def arguments(potential: Potential, structures: Structures) -> list[Tensor]:
    """The inputs of a program, in order."""
    pairs = potential.neighbors(structures)
    given = {"i": pairs.target, "j": pairs.source, "shifts": pairs.shift}
    names = ProgramInputs.of(potential).names
    return [given[name].contiguous() if name in given else getattr(structures, name) for name in names]


def run_alone(potential: Potential, path: Path, kind: str, batches: Sequence[Structures]) -> list[dict[str, Tensor]]:
    """Run a program in a process that cannot import this library."""
    inputs, outputs = path.with_name("inputs.pt"), path.with_name("outputs.pt")
    torch.save([arguments(potential, structures) for structures in batches], inputs)
    command = [sys.executable, "-I", "-c", ALONE, str(path), kind, str(inputs), str(outputs)]
    subprocess.run(command, check=True, cwd=path.parent)
    return torch.load(outputs)


def assert_as_calculator(potential: Potential, atoms: Atoms, found: Mapping[str, Tensor], tolerance: float) -> None:
    atoms = atoms.copy()
    atoms.calc = GemNetCalculator(potential)
    expected = {
        "energy": [atoms.get_potential_energy()],
        "atom_energies": atoms.get_potential_energies(),
        "forces": atoms.get_forces(apply_constraint=False),
        "stress": [atoms.get_stress(voigt=False) if atoms.pbc.all() else np.full((3, 3), np.nan)],
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].double().numpy(), value, rtol=tolerance, atol=tolerance, err_msg=name)


def check(potential: Potential, path: Path, kind: str) -> None:
    """Compare a program with the calculator on each structure, and on all as one batch."""
    tolerance = 1e-9 if potential.dtype == torch.float64 else 1e-5
    batches = [Structures.from_ase(atoms) for atoms in (*FRAMES, FRAMES)]
    *found, batch = run_alone(potential, path, kind, batches)
    for atoms, one in zip(FRAMES, found, strict=True):
        assert_as_calculator(potential, atoms, one, tolerance)
    torch.testing.assert_close(batch["energy"], torch.cat([one["energy"] for one in found]))
    torch.testing.assert_close(batch["forces"], torch.cat([one["forces"] for one in found]))


@pytest.fixture(scope="module")
def potential() -> Potential:
    return smooth_potential(**SMALL)


@pytest.fixture(scope="module")
def program(potential: Potential) -> ExportedProgram:
    return exported_program(potential)


@pytest.fixture
def saved(potential: Potential, program: ExportedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the program, which is not traced again."""
    monkeypatch.setattr(export, "exported_program", lambda given: program)
    export_potential(potential, tmp_path / "model.pt2")
    return tmp_path / "model.pt2"


@pytest.mark.slow
def test_a_program_equals_the_calculator_without_this_library(potential: Potential, saved: Path) -> None:
    assert len(FRAMES) == 20
    check(potential, saved, "interpreted")


def test_wrong_input_is_an_error(potential: Potential, program: ExportedProgram) -> None:
    run = program.module()
    given = arguments(potential, Structures.from_ase(molecule(4)))
    with pytest.raises(RuntimeError, match="expected the elements H, C, N, O, Cu, found another"):
        run(given[0], torch.full_like(given[1], 26), *given[2:])
    *others, i, j, shifts = given
    with pytest.raises(RuntimeError, match="expected every pair in both directions"):
        run(*others, i[i < j], j[i < j], shifts[i < j])


def test_pairs_beyond_the_cutoff_are_ignored(potential: Potential, program: ExportedProgram) -> None:
    run = program.module()
    structures = Structures.from_ase(crystals()[0])
    pairs = potential.model.backbone.graphs.search(structures, potential.cutoff + 2)
    shuffled = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
    given = arguments(potential, structures)
    more = [pairs.target[shuffled], pairs.source[shuffled], pairs.shift[shuffled]]
    assert len(pairs) > len(given[-1])
    torch.testing.assert_close(run(*given[:-3], *more), run(*given))


def test_the_file_describes_the_program(potential: Potential, saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(f"extra/{METADATA}"))
        about = json.loads(archive.read(name))
    assert about["cutoff"] == potential.cutoff
    assert about["elements"] == ["H", "C", "N", "O", "Cu"]
    assert about["inputs"]["positions"] == {"dtype": "float64", "shape": ["atoms", 3]}
    assert list(about["inputs"]) == ["positions", "numbers", "cells", "periodic", "structure", "i", "j", "shifts"]


def test_the_name_of_the_file_is_checked(potential: Potential, tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"model\.pt: expected a name that ends with \.pt2"):
        export_potential(potential, tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"blocks__count": 2},
        {"blocks__count": 1, "heads__forces": {"type": "direct"}},
        {"blocks__count": 1, "neighbors__ties": "smooth", "graphs__main__max_neighbors": 4},
        {**SMALL, "neighbors__periodic": False},
        {**SMALL, "graphs__main__tags": [1, 2]},
    ],
    ids=["all interactions", "direct forces", "fading neighbors", "isolated", "tags"],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_other_models(changes: dict[str, Any], dtype: torch.dtype) -> None:
    potential = smooth_potential(dtype, **changes)
    program = exported_program(potential).module()
    for atoms in (slab(), *crystals()):
        structures = Structures.from_ase(atoms)
        expected = potential(structures)
        found = program(*arguments(potential, structures))
        torch.testing.assert_close(found["energy"], expected.energy)
        torch.testing.assert_close(found["forces"], expected.forces)


@pytest.mark.slow
def test_compiled_code_equals_the_calculator(tmp_path: Path) -> None:
    potential = smooth_potential(**SMALL)
    export_potential(potential, tmp_path / "model.pt2", compiled=True)
    check(potential, tmp_path / "model.pt2", "compiled")
    check(potential, tmp_path / "model.pt2", "interpreted")
