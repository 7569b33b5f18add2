"""Training, evaluation and use of models with further heads, and of models of energies alone."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read, write
from training_runs import CONFIG, config, rows

from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.data.opening import open_data
from gemnet_blocks.evaluation import evaluate
from gemnet_blocks.evaluation.report import plot_parity, summary_table, write_report
from gemnet_blocks.potential import load_potential
from gemnet_blocks.structures import Structures
from gemnet_blocks.training import train

HEADS = {
    "dipole": {"type": "dipole", "layers": 0},
    "charges": {"type": "property", "per": "atom", "layers": 0},
    "width": {"type": "property", "reduce": "mean", "layers": 0},
    "pull": {"type": "property", "per": "atom", "shape": "vector", "reads": "edges", "layers": 0},
}


def write_chains(path: Path, count: int = 24) -> list[Atoms]:
    """Bent chains of H and O with charges and a dipole that follow from their geometry."""
    random, many = np.random.default_rng(0), []
    for _ in range(count):
        atoms = Atoms("OH2", positions=[[0, 0, 0], [0.95, 0, 0], [-0.24, 0.92, 0]])
        atoms.positions += 0.1 * random.normal(size=(3, 3))
        charges = np.array([-0.8, 0.4, 0.4])
        atoms.info |= {"mu": charges @ atoms.positions, "width": float(np.ptp(atoms.positions[:, 0]))}
        atoms.arrays |= {"charges": charges, "pull": atoms.positions - atoms.positions.mean(axis=0)}
        many.append(atoms)
    write(path, many)
    return many


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with chains and a short run that learns their properties, without energies and forces."""
    folder = tmp_path_factory.mktemp("properties")
    write_chains(folder / "structures.xyz")
    changes = {
        "model.heads": {**HEADS, "forces": None},
        "data.labels": [*HEADS],
        "data.keys": {"dipole": "mu"},
        "loss": {"energy": None, "forces": None, "dipole": {"type": "l2mae"}, "pull": {"type": "mse", "weight": 2}}
        | {"charges": {"type": "mae"}, "width": {"type": "huber"}},
        "data.split": {"type": "random", "train": 16, "validation": 4, "test": 4, "seed": 0},
        "training.steps": 24,
        "training.stop_early": {"metric": "dipole_mae", "patience": 9},
        "schedule": {"type": "plateau", "metric": "charges_mae"},
    }
    train(config(folder, CONFIG, **changes), folder / "run")
    return folder


def test_training_lowers_and_logs_all_errors(trained: Path) -> None:
    first, *_, last = rows(trained / "run")
    for name in HEADS:
        assert float(last[f"{name}_mae"]) < float(first[f"{name}_mae"])
        assert float(last[f"validation_{name}_mae"]) > 0
    assert float(last["charges_mae"]) < 0.1


def test_evaluation_reports_errors_by_name(trained: Path, tmp_path: Path) -> None:
    settings = config(trained, (trained / "run" / "config.yaml").read_text())
    potential = load_potential(trained / "run")
    test = open_data(settings.data, trained / "run", settings.model).test
    assert test is not None
    found = evaluate(potential, test, keep_atoms=True)
    pull = found.predictions.atoms["pull_predicted"] - found.predictions.atoms["pull_label"]
    dipole = found.predictions.structures["dipole_predicted"] - found.predictions.structures["dipole_label"]
    errors = found.errors.to_dict()
    assert errors["pull_mae"] == pytest.approx(np.abs(pull).mean())
    assert errors["dipole_rmse"] == pytest.approx(np.sqrt(np.square(dipole).mean()))
    assert errors["charges_mae"] < 0.1
    write_report(found, tmp_path / "report", atoms=True)
    with (tmp_path / "report" / "predictions.csv").open() as file:
        assert {"dipole_label_x", "dipole_predicted_z", "width_label", "width_predicted"} <= set(next(csv.reader(file)))
    with (tmp_path / "report" / "atoms.csv").open() as file:
        assert {"charges_label", "pull_predicted_y"} <= set(next(csv.reader(file)))
    plot_parity(found, tmp_path / "parity.png")
    assert any("dipole, RMSE of components" in str(cell) for cell in summary_table(found).columns[0].cells)
    for groups in (found.groups, found.elements):
        assert all(one.properties == {} for one in groups.values())


def test_calculators_have_properties_under_the_names_of_ase(trained: Path) -> None:
    atoms = read(trained / "structures.xyz", 0)
    potential = load_potential(trained / "run")
    predicted = potential(Structures.from_ase(atoms)).properties
    atoms.calc = GemNetCalculator(potential, skin=0)
    np.testing.assert_allclose(atoms.get_dipole_moment(), predicted["dipole"][0].detach(), rtol=1e-5)
    np.testing.assert_allclose(atoms.get_charges(), predicted["charges"].detach(), rtol=1e-5)
    assert isinstance(atoms.calc.results["width"], float)
    assert atoms.calc.get_property("pull", atoms).shape == (3, 3)


def test_predictions_are_the_scaled_outputs_of_the_model(trained: Path) -> None:
    potential = load_potential(trained / "run", dtype=torch.float64)
    structures = Structures.from_ase(read(trained / "structures.xyz", 0))
    outputs, predicted = potential.model(structures).properties, potential(structures).properties
    for name, value in predicted.items():
        fitted = potential.references.properties[name]
        torch.testing.assert_close(value, fitted.scale * outputs[name] + fitted.mean)


def test_energies_alone_are_trained(tmp_path: Path) -> None:
    changes = {"model.heads.forces": None, "data.labels": ["energy"], "loss.forces": None, "training.steps": 8}
    train(config(tmp_path, CONFIG, **changes), tmp_path / "run")
    potential = load_potential(tmp_path / "run")
    assert potential(Structures.from_ase(read(tmp_path / "structures.xyz", 0))).forces is None
    assert "forces_mae_mev_per_angstrom" not in rows(tmp_path / "run")[-1]
