"""Relaxations, and the command that makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import read, write
from helpers import molecule, slab, small_cell, small_model, small_spec
from potentials import REFERENCES, crystal, smooth_potential
from typer import Typer
from typer.testing import CliRunner, Result

from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.calculator.relaxation import OptimizerName, RelaxationStep, relax
from gemnet_blocks.cli import app
from gemnet_blocks.cli.relax import relax as command
from gemnet_blocks.errors import StateError, StructureError
from gemnet_blocks.potential import Potential
from gemnet_blocks.potential.model_file import save_potential


def calculator() -> GemNetCalculator:
    return GemNetCalculator(smooth_potential(blocks__count=1))


def relaxed(atoms: Atoms, **options: object) -> list[RelaxationStep]:
    return list(relax(atoms, calculator(), **options))


# -- in Python --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["fire", "lbfgs", "bfgs"])
def test_forces_vanish(optimizer: OptimizerName) -> None:
    atoms = crystal()
    steps = relaxed(atoms, fmax=0.01, optimizer=optimizer)
    assert steps[-1].converged
    assert not any(step.converged for step in steps[:-1])
    assert steps[0].max_force > 0.5
    assert steps[-1].max_force <= 0.01
    if optimizer == "fire":  # the others may go to a saddle point
        assert steps[-1].energy < steps[0].energy - 1e-3
    assert [step.number for step in steps] == list(range(len(steps)))
    np.testing.assert_array_equal(atoms.positions, crystal().positions)
    assert atoms.calc is None
    for step in (steps[0], steps[-1]):  # what was written down belongs to the structure
        assert step.atoms.get_potential_energy() == step.energy
        assert calculator().get_potential_energy(step.atoms.copy()) == pytest.approx(step.energy, abs=1e-9)


def test_the_cell_relaxes_too() -> None:
    steps = relaxed(crystal(), fmax=0.02, cell=True)
    assert steps[-1].converged
    assert steps[-1].energy < steps[0].energy - 1e-2
    assert steps[-1].max_stress is not None
    assert steps[-1].max_stress < steps[0].max_stress / 2
    assert abs(steps[-1].atoms.get_volume() / crystal().get_volume() - 1) > 0.01
    assert steps[-1].max_stress <= 0.02 * len(crystal()) / steps[-1].atoms.get_volume() * 1.1


def test_fixed_atoms_stay() -> None:
    atoms = crystal()
    atoms.set_constraint(FixAtoms([0, 1]))
    last = relaxed(atoms, fmax=0.02)[-1]
    np.testing.assert_array_equal(last.atoms.positions[:2], atoms.positions[:2])
    assert last.max_force <= 0.02
    assert abs(last.atoms.positions[2:] - atoms.positions[2:]).max() > 1e-3


def test_steps_end_at_the_given_maximum() -> None:
    steps = relaxed(crystal(), fmax=1e-9, steps=3)
    assert len(steps) == 4
    assert not steps[-1].converged
    (only,) = relaxed(crystal(), fmax=100.0)
    assert only.converged
    assert relaxed(Atoms("H"), fmax=0.01)[-1].converged


def test_structures_that_cannot_be_relaxed_are_refused() -> None:
    with pytest.raises(StructureError, match="not periodic in all three directions"):
        relaxed(slab(), cell=True)
    direct = GemNetCalculator(Potential(small_model(), small_spec(), REFERENCES))
    with pytest.raises(StateError, match=r"the cell cannot be relaxed: .*stress needs gradient forces"):
        list(relax(small_cell(), direct, cell=True))
    energy_only = Potential(small_model(heads__forces=None), small_spec(heads__forces=None), REFERENCES)
    with pytest.raises(StateError, match="needs a potential with forces"):
        list(relax(small_cell(), GemNetCalculator(energy_only)))


def test_empty_structures_cannot_be_relaxed() -> None:
    with pytest.raises(StructureError, match="no atoms to relax"):
        relaxed(Atoms())


def test_numbers_that_are_none_stop_it() -> None:
    potential = smooth_potential()
    with torch.no_grad():
        potential.model.backbone.atom_embedding.table.weight.fill_(torch.nan)
    with pytest.raises(StructureError, match="step 0: expected finite numbers, found an energy of nan eV"):
        list(relax(crystal(), GemNetCalculator(potential)))


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_potential(smooth_potential(blocks__count=1), path)
    return path


def run(*arguments: object) -> Result:
    app = Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_relaxes_a_file(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "bulk.cif", [crystal()])
    result = run(model, "bulk.cif", "--fmax", 0.02, "--cell", "--trajectory", "steps.xyz")
    assert result.exit_code == 0, result.output
    for text in ("energy (total), eV", "largest force, eV/Å", "largest stress, eV/Å³", "converged after"):
        assert text in result.output
    final, steps = read("bulk-relaxed.xyz"), read("steps.xyz", ":")
    assert final.info["energy_meaning"] == "total"
    assert final.get_potential_energy() == steps[-1].get_potential_energy() < steps[0].get_potential_energy()
    assert f"{final.get_potential_energy():.6f}" in result.output
    assert f"converged after {len(steps) - 1} steps" in result.output
    assert len(final.get_stress()) == 6


def test_the_command_says_when_it_does_not_converge(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "in.traj", [molecule(4), crystal()])
    output = tmp_path / "out.xyz"
    result = run(
        model, tmp_path / "in.traj", "--steps", 2, "--fmax", 1e-6, "--output", output, "--dtype", "float32",
        "--optimizer", "lbfgs",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "not converged after 2 steps" in result.output
    assert read(output).get_chemical_symbols() == crystal().get_chemical_symbols()


def test_the_name_of_a_file_says_its_format(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "in.traj", crystal())
    common = (model, tmp_path / "in.traj", "--steps", 1, "--output")
    assert run(*common, tmp_path / "out.cif", "--trajectory", tmp_path / "steps.traj").exit_code == 1
    assert (tmp_path / "out.cif").read_text().startswith("data_")
    assert len(read(tmp_path / "steps.traj", ":")) == 2
    result = run(*common, tmp_path / "out.xyz", "--trajectory", tmp_path / "POSCAR")
    assert "cannot store several structures" in str(result.exception)
    result = run(*common, tmp_path / "out.xyz", "--trajectory", tmp_path / "out.xyz")
    assert "give two files" in str(result.exception)
    assert not (tmp_path / "out.xyz").exists()  # told before anything was computed


def test_an_interrupted_command_keeps_its_results(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "in.traj", crystal())
    calculate, calls = GemNetCalculator.calculate, []

    def interrupted(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) > 3:
            raise KeyboardInterrupt
        calculate(*arguments)

    monkeypatch.setattr(GemNetCalculator, "calculate", interrupted)
    result = run(model, tmp_path / "in.traj", "--fmax", 1e-6, "--output", tmp_path / "out.xyz")
    assert result.exit_code == 130
    assert "not converged after 2 steps" in result.output
    assert (tmp_path / "out.xyz").is_file()


def test_the_command_relaxes_one_frame(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "in.traj", [crystal(), crystal()])
    result = run(model, tmp_path / "in.traj", "--index", ":", "--output", tmp_path / "out.xyz")
    assert isinstance(result.exception, StructureError)
    assert "2 frames at index :" in str(result.exception)


def test_coinciding_atoms_are_refused_instead_of_being_converged(tmp_path: Path) -> None:
    save_potential(smooth_potential(), tmp_path / "model.safetensors")
    atoms = crystal()
    atoms.positions[1] = atoms.positions[0]
    with pytest.raises(StructureError, match=r"coinciding atoms 0 \(Cu\) and 1 \(Cu\)"):
        list(relax(atoms, GemNetCalculator(smooth_potential())))
    write(tmp_path / "start.xyz", atoms)
    arguments = [str(tmp_path / name) for name in ("model.safetensors", "start.xyz")]
    arguments += ["--output", str(tmp_path / "end.xyz"), "--steps", "0", "--fmax", "1e9"]
    refused = CliRunner().invoke(app, ["relax", *arguments])
    assert "start.xyz, index -1: has coinciding atoms" in str(refused.exception)
    assert not (tmp_path / "end.xyz").exists()
    allowed = CliRunner().invoke(app, ["relax", *arguments, "--allow-coinciding"])
    assert allowed.exit_code == 0
