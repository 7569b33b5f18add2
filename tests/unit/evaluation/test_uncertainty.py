"""Calibration of ensembles on labelled structures, and the coverage of others."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
import typer
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from evaluation_data import InMemory
from potentials import REFERENCES, crystal, smooth_spec
from typer.testing import CliRunner

from gemnet_blocks import Structures
from gemnet_blocks.cli.ensemble import ensemble as command
from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.errors import SpecError
from gemnet_blocks.evaluation import calibrate, evaluate
from gemnet_blocks.evaluation.report import uncertainty_table
from gemnet_blocks.potential import Ensemble, Potential, load_ensemble, save_potential
from gemnet_blocks.spec import build


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    """Three small models of pairs alone."""
    spec = smooth_spec(
        interactions={"triplet": None, "quadruplet": None, "atom_edge": None, "edge_atom": None},
        graphs={"quad": None, "atom_edge": None},
    )
    members = [Potential(build(spec, seed=seed).double(), spec, REFERENCES).eval() for seed in range(3)]
    return Ensemble(members).eval()


def labelled(ensemble: Ensemble, count: int, seed: int) -> list[LabelledStructures]:
    """Crystals whose labels differ from the mean by multiples of the standard deviations, with heavy tails."""
    generator = np.random.default_rng(seed)
    items = []
    for number in range(count):
        atoms = crystal()
        atoms.rattle(0.2, seed=int(generator.integers(1 << 30)))
        structures = Structures.from_ase(atoms)
        with torch.no_grad():
            found = ensemble(structures)
        direction = generator.normal(size=(len(atoms), 3))
        lengths = np.abs(generator.standard_t(4, (len(atoms), 1))) * found.properties["forces_std"].numpy()[:, None]
        forces = found.forces.numpy() + lengths * direction / np.linalg.norm(direction, axis=1, keepdims=True)
        energy = found.energy + found.properties["energy_std"] * generator.standard_t(4)
        items.append(LabelledStructures(structures, energy, torch.tensor(forces), None, torch.tensor([number])))
    return items


@pytest.mark.slow
def test_intervals_cover_held_out_structures(ensemble: Ensemble) -> None:
    data = labelled(ensemble, 120, 0)
    found = calibrate(ensemble, InMemory(data[:60]), 0.8)
    assert ensemble.calibration is None
    assert found.calibration.level == 0.8
    assert found.calibration.structures == 60
    evaluation = evaluate(found, InMemory(data[60:]))
    energy, forces = (evaluation.uncertainties[name] for name in ("energy", "forces"))
    # three standard deviations of the coverage of 60 structures, by intervals from 60 others
    assert energy.coverage == pytest.approx(0.8, abs=3 * np.sqrt(2 * 0.16 / 60))
    assert forces.coverage == pytest.approx(0.8, abs=0.08)
    assert (energy.values, forces.values) == (60, 240)
    assert forces.rank_correlation > 0.05
    lengths = evaluation.deviations["forces"].errors
    assert forces.rmse == pytest.approx(np.sqrt(np.mean(lengths**2) / 3))
    assert evaluation.to_dict()["uncertainties"]["energy"]["coverage"] == energy.coverage
    assert uncertainty_table(evaluation).row_count == 2


def test_single_potentials_have_no_uncertainty(ensemble: Ensemble) -> None:
    data = InMemory(labelled(ensemble, 2, 1))
    evaluation = evaluate(ensemble.first, data)
    assert not evaluation.uncertainties
    assert uncertainty_table(evaluation) is None
    uncalibrated = evaluate(ensemble, data).uncertainties
    assert uncalibrated["energy"].coverage is None
    assert uncalibrated["energy"].values == 2


def test_missing_labels_are_left_out(ensemble: Ensemble) -> None:
    data = labelled(ensemble, 4, 2)
    without = [LabelledStructures(one.structures, one.energy, None, None, one.frame) for one in data]
    found = calibrate(ensemble, InMemory(without), 0.7)
    assert found.calibration.forces is None
    assert "forces_interval" not in found.property_kinds
    assert "energy_interval" in found.property_kinds
    with pytest.raises(SpecError, match=r"a level of 0\.9 needs at least 9 structures with labels, got 4"):
        calibrate(ensemble, InMemory(data), 0.9)
    nothing = [LabelledStructures(one.structures, None, None, None, one.frame) for one in data]
    with pytest.raises(SpecError, match="labels of energy or forces"):
        calibrate(ensemble, InMemory(nothing), 0.7)


def test_models_are_joined_on_the_command_line(ensemble: Ensemble, tmp_path: Path) -> None:
    frames = []
    for one in labelled(ensemble, 14, 3):
        atoms = Atoms("Cu4", positions=one.structures.positions.numpy(), cell=one.structures.cells[0].numpy(), pbc=True)
        atoms.calc = SinglePointCalculator(atoms, energy=float(one.energy), forces=one.forces.numpy())
        frames.append(atoms)
    ase.io.write(tmp_path / "train.xyz", frames[:2])
    ase.io.write(tmp_path / "validation.xyz", frames[2:])
    (tmp_path / "train.yaml").write_text(
        "model: {extends: symmetric}\n"
        "data: {train: [train.xyz], validation: [validation.xyz], units: eV, energy: total, batch: {structures: 4}}\n"
        "loss: {energy: {weight: 1}, forces: {weight: 1}}\n"
        "training: {steps: 1}\n"
    )
    for number, member in enumerate(ensemble.potentials):
        save_potential(member, tmp_path / f"{number}.safetensors")
    models = [str(tmp_path / f"{number}.safetensors") for number in range(3)]
    output = str(tmp_path / "ensemble.safetensors")

    def call(*arguments: str) -> str:
        app = typer.Typer()
        app.command()(command)
        result = CliRunner().invoke(app, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    text = call(*models, "--output", output, "--calibrate", str(tmp_path / "train.yaml"), "--level", "0.75")
    assert "calibrated on 12 structures" in text
    assert load_ensemble(output).calibration.structures == 12
    call(*models[:2], "--output", output)
    assert len(load_ensemble(output).members) == 2
    with pytest.raises(SpecError, match="at least two members, got 1"):
        call(models[0], "--output", output)
    with pytest.raises(SpecError, match="--level: expected a level between 0 and 1"):
        call(*models, "--output", output, "--level", "90")
