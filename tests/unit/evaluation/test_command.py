"""The command `evaluate` as a user calls it."""

from __future__ import annotations

import json

import ase.io
import ase.units
import numpy as np
import pytest
import torch
import typer
from ase.calculators.singlepoint import SinglePointCalculator
from helpers import GRADIENT_FORCES, ROOT, slab, small_model, small_spec
from typer.testing import CliRunner

from gemnet_blocks.cli.evaluate import evaluate
from gemnet_blocks.data import trained_frames
from gemnet_blocks.data.trained_frames import TrainedFrames
from gemnet_blocks.errors import SpecError, StructureError
from gemnet_blocks.potential import Potential
from gemnet_blocks.potential.model_file import save_potential
from gemnet_blocks.potential.references import References
from gemnet_blocks.structures import Structures


def call(*arguments):
    app = typer.Typer()
    app.command()(evaluate)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def potential():
    references = References({8: -1.0, 29: -2.0}, 0.5, "total")
    return Potential(small_model(**GRADIENT_FORCES), small_spec(**GRADIENT_FORCES), references)


@pytest.fixture
def model(potential, tmp_path):
    save_potential(potential, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def frames(potential, tmp_path):
    """Slabs whose labels are predictions of the model plus 1 eV, and plus 0.3 eV/Å along x on all atoms."""
    frames = []
    for number in range(3):
        atoms = slab()
        atoms.rattle(0.05, seed=number)
        with torch.no_grad():
            predicted = potential(Structures.from_ase(atoms))
        forces = predicted.forces.numpy() + np.array([0.3, 0.0, 0.0])
        atoms.calc = SinglePointCalculator(atoms, energy=float(predicted.energy) + 1.0, forces=forces)
        atoms.info = {"name": "aab"[number]}
        frames.append(atoms)
    ase.io.write(tmp_path / "frames.extxyz", frames)
    return tmp_path / "frames.extxyz"


@pytest.fixture
def config(frames, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        f"model: {ROOT / 'paper_configs/symmetric.yaml'}\n"
        "data:\n"
        "  {files: [frames.extxyz], units: eV, energy: total, batch: {structures: 1},\n"
        "   split: {type: group, key: name, test: [b]}}\n"
        "loss: {energy: {}, forces: {}}\n"
        "training: {steps: 1}\n"
    )
    return path


def test_errors_of_a_file(model, frames, tmp_path):
    output = call(
        model,
        frames,
        "--units",
        "eV",
        "--energy",
        "total",
        "--group",
        "name",
        "--output",
        tmp_path / "report",
        "--plot",
    )

    assert "total energies" in output
    summary = json.loads((tmp_path / "report/summary.json").read_text())
    assert summary["errors"]["energy_mae"] == pytest.approx(1.0, abs=1e-6)
    assert summary["errors"]["forces_mae"] == pytest.approx(0.1, abs=1e-6)
    assert summary["errors"]["atoms"] == 15
    assert summary["groups"]["a"]["structures"] == 2
    assert (tmp_path / "report/parity.png").stat().st_size > 0


def test_structures_of_a_file_are_read_for_checks_and_for_predictions_only(potential, frames, tmp_path, monkeypatch):
    from gemnet_blocks.data.dataset import MemoryDataset

    none = np.zeros(0, np.uint64)
    known = Potential(potential.model, potential.spec, potential.references, frames=TrainedFrames(none, none, True))
    save_potential(known, tmp_path / "trained.safetensors")
    read, fingerprinted = [], []
    get, possible = MemoryDataset.__getitem__, trained_frames.possible_fingerprints
    monkeypatch.setattr(MemoryDataset, "__getitem__", lambda self, index: [read.append(index), get(self, index)][1])
    monkeypatch.setattr(
        trained_frames, "possible_fingerprints", lambda many: [fingerprinted.append(len(many)), possible(many)][1]
    )
    output = call(tmp_path / "trained.safetensors", frames, "--units", "eV", "--energy", "total")
    assert "0 of 3 evaluated structures were trained on" in " ".join(output.split())
    assert sorted(read) == [0, 0, 1, 1, 2, 2]
    assert sum(fingerprinted) == 3


def test_free_atoms_alone(model, frames, tmp_path):
    call(model, frames, "--units", "eV", "--energy", "total", "--free-atoms", "--output", tmp_path / "report")

    summary = json.loads((tmp_path / "report/summary.json").read_text())
    assert (summary["atoms"], summary["errors"]["atoms"]) == ("free", 12)


def test_units_are_converted(model, frames, tmp_path):
    call(model, frames, "--units", "kcal/mol", "--energy", "total", "--output", tmp_path / "report")

    labels = ase.io.read(frames, ":")
    lines = (tmp_path / "report/predictions.csv").read_text().splitlines()
    label = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))["total_energy_label_eV"]
    assert float(label) == pytest.approx(labels[0].get_potential_energy() * 0.0433641153, rel=1e-6)


def test_stresses_follow_the_given_convention(model, potential, tmp_path):
    atoms = slab()
    atoms.pbc = True
    with torch.no_grad():
        predicted = potential(Structures.from_ase(atoms), stress=True)
    stress = predicted.stress.double().numpy()[0]
    atoms.calc = SinglePointCalculator(atoms, energy=float(predicted.energy), stress=-(stress + 0.01) / ase.units.GPa)
    ase.io.write(tmp_path / "frames.extxyz", atoms)

    call(
        model,
        tmp_path / "frames.extxyz",
        "--units=eV",
        "--energy=total",
        "--labels=energy, stress",
        "--stress=unit=GPa",
        "--stress=sign=compressive",
        "--output",
        tmp_path / "report",
        "--plot",
    )

    assert json.loads((tmp_path / "report/summary.json").read_text())["errors"]["stress_mae"] == pytest.approx(0.01)
    header, row = (tmp_path / "report/predictions.csv").read_text().splitlines()
    assert header.startswith("index,file,frame,")
    assert row.startswith(f"0,{tmp_path / 'frames.extxyz'},0,")


@pytest.mark.parametrize(
    "option", ["units=eV", "length=Å", "energy=total", "key=energy=E", "labels=energy", "stress=unit=GPa"]
)
def test_a_training_config_states_its_units(model, config, option):
    with pytest.raises(
        SpecError, match=rf"--{option.partition('=')[0]} is only for files of structures: change `data` of"
    ):
        call(model, config, f"--{option}")


def test_unknown_elements_are_named_by_file_and_frame(model, frames):
    several = ase.io.read(frames, ":")
    labels = several[1].calc.results
    several[1].symbols[0] = "Ni"
    several[1].calc = SinglePointCalculator(several[1], **labels)
    ase.io.write(frames, several)

    with pytest.raises(StructureError, match=r"frames.extxyz, frame 1: contains Ni, for which"):
        call(model, frames, "--units", "eV", "--energy", "total")


def test_labels_without_predictions_are_refused(tmp_path, frames):
    direct = Potential(small_model(), small_spec(), References({8: -1.0, 29: -2.0}, 0.5, "total"))
    save_potential(direct, tmp_path / "direct.safetensors")
    several = ase.io.read(frames, ":")
    for atoms in several:
        atoms.calc = SinglePointCalculator(atoms, stress=np.zeros(6))
    ase.io.write(frames, several)

    with pytest.raises(SpecError, match=r"expected labels of energy, forces, which .*direct.safetensors predicts"):
        call(tmp_path / "direct.safetensors", frames, "--units=eV", "--energy=total", "--labels=stress")


def test_a_part_of_a_training_config(model, config, tmp_path):
    call(model, config, "--split", "test", "--output", tmp_path / "report")

    assert json.loads((tmp_path / "report/summary.json").read_text())["errors"]["structures"] == 1
    with pytest.raises(SpecError, match="no validation part"):
        call(model, config, "--split", "validation")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "never guessed"),
        (["--units", "eV"], "never guessed"),
        (["--units", "eV", "--energy", "adsorption"], "expected total energies"),
        (["--units", "eV", "--energy", "total", "--key", "energy=REF"], "has no energy .key 'REF'"),
        (["--units", "eV", "--energy", "total", "--key", "power=REF"], "--key power: unknown field; known: energy"),
        (["--units", "eV", "--energy", "total", "--key", "enrgy=E"], "--key enrgy: .*did you mean 'energy'"),
        (
            ["--units", "eV", "--energy", "total", "--labels", "energy,force"],
            "--labels: .*'force'; did you mean 'forces'",
        ),
        (["--units", "eV", "--energy", "total", "--stress", "sign=tensle"], "--stress sign: .*did you mean 'tensile'"),
        (["--units", "eV", "--energy", "total", "--length", "mile"], "--length: expected a unit of length.*got 'mile'"),
        (["--units", "eV", "--energy", "total", "--split", "test"], "--split is only for training configs"),
        (["--units", "eV", "--energy", "total", "--group-pattern", "a"], "--group-pattern needs .*--group"),
        (["--units", "eV", "--energy", "total", "--key", "energy"], "'energy' is not an assignment"),
        (
            ["--units", "eV", "--energy", "total", "--stress", "unit=furlong"],
            "--stress unit: expected a unit of stress.*got 'furlong'",
        ),
        (["--units", "furlong", "--energy", "total"], "expected a unit of energy.*got 'furlong'"),
        (["--units", "eV", "--energy", "total", "--plot"], "give --output"),
        (["--units", "eV", "--energy", "total", "--output", __file__], "is a file: give a folder"),
    ],
)
def test_missing_and_wrong_input(model, frames, options, message):
    with pytest.raises((SpecError, StructureError), match=message):
        call(model, frames, *options)
