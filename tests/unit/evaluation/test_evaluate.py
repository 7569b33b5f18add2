from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_data import InMemory, Shifted, item
from helpers import GRADIENT_FORCES, small_model, small_spec
from rich.console import Console

from gemnet_blocks.data.batching import BatchOptions
from gemnet_blocks.data.labelled import collate
from gemnet_blocks.errors import StructureError
from gemnet_blocks.evaluation.evaluate import evaluate
from gemnet_blocks.evaluation.report import parts_table, plot_parity, summary_table
from gemnet_blocks.potential import Potential
from gemnet_blocks.potential.references import References


@pytest.fixture
def items():
    return [item(number, "CuO" if number % 2 else "O2", energy=-number, fixed=[0]) for number in range(5)]


@pytest.mark.parametrize("batch", [{"structures": 2}, {"atoms": 1}, {"atoms": 100}])
def test_every_structure_counts_once_whatever_the_batches(items, batch):
    potential = Shifted(items, energy=0.5, force=(0.3, 0.0, 0.0))

    found = evaluate(potential, InMemory(items), BatchOptions(**batch), groups=list("ababa"), atoms="free")

    assert (found.errors.structures, found.errors.atoms) == (5, 5)
    assert found.errors.energy_mae == pytest.approx(0.5)
    assert found.errors.forces_mae == pytest.approx(0.1)
    assert {name: errors.structures for name, errors in found.groups.items()} == {"a": 3, "b": 2}
    assert {name: errors.atoms for name, errors in found.elements.items()} == {"O": 5}
    assert found.predictions.structures["frame"].tolist() == [100, 101, 102, 103, 104]


def test_the_potential_is_evaluated_without_gradients_and_left_as_it_was(items):
    potential = Shifted(items).train()

    evaluate(potential, InMemory(items))

    assert potential.modes == [(False, False)]
    assert potential.training


def test_predictions_that_are_not_finite_are_named_by_frame(items):
    potential = Shifted(items)
    items[3].forces[1, 2] = torch.nan

    with pytest.raises(StructureError, match=r"frame 3 of memory.*NaN"):
        evaluate(potential, InMemory(items))


def test_groups_must_fit(items):
    with pytest.raises(ValueError, match="expected a group for each of 5 structures, got 2 groups"):
        evaluate(Shifted(items), InMemory(items), groups=["a", "b"])


def test_stress_is_asked_for_where_it_is_labelled():
    items = [item(number, stress=0.2) for number in range(2)]

    found = evaluate(Shifted(items, stress=-0.1), InMemory(items))

    assert found.errors.stress_mae == pytest.approx(0.1)
    assert evaluate(Shifted(items), InMemory(items)).errors.stress_mae is None
    with pytest.raises(StructureError, match=r"frame 0 of memory.*stress are NaN"):
        evaluate(Shifted(items, stress=float("nan")), InMemory(items))


def test_stresses_are_compared_whatever_is_in_the_same_batch(tmp_path):
    items = [item(number, stress=0.2) for number in range(4)]
    for number in (1, 2):
        structures = items[number].structures
        items[number] = replace(items[number], structures=replace(structures, periodic=~structures.periodic))
    potential = Shifted(items, stress=-0.1)

    together, alone = (
        evaluate(potential, InMemory(items), BatchOptions(structures=size), groups=list("abab")) for size in (4, 1)
    )
    together.predictions.write_csv(tmp_path / "predictions.csv")

    assert together.errors == alone.errors
    assert together.groups == alone.groups
    assert together.errors.structures == 4
    assert together.errors.stress_mae == pytest.approx(0.1)
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [row["frame"] for row in rows] == ["100", "101", "102", "103"]
    assert [row["stress_label_xy_eV_per_A3"] for row in rows] == ["0.2", "", "", "0.2"]
    assert float(rows[3]["stress_predicted_zz_eV_per_A3"]) == pytest.approx(0.1)


def test_stresses_are_drawn(tmp_path):
    items = [item(number, stress=0.1 * number, labels="") for number in range(3)]

    plot_parity(evaluate(Shifted(items, stress=0.1), InMemory(items)), tmp_path / "parity.png")

    assert (tmp_path / "parity.png").stat().st_size > 0


def test_structures_that_cannot_be_computed_are_named_by_frame(items):
    class Picky(Shifted):
        def forward(self, structures, stress=False, given=None):
            raise StructureError("contains Pb", structure=1)

    with pytest.raises(StructureError, match=r"^frame 1 of memory: contains Pb$"):
        evaluate(Picky(items), InMemory(items[2:]), BatchOptions(structures=3))


def test_datasets_without_labels_are_predicted(items, tmp_path):
    bare = [item(number, labels="") for number in range(3)]

    found = evaluate(Shifted(bare, energy=2.0), InMemory(bare), keep_atoms=True)
    found.predictions.write_csv(tmp_path / "predictions.csv")

    assert (found.errors.energy_mae, found.errors.forces_mae) == (None, None)
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [float(row["adsorption_energy_predicted_eV"]) for row in rows] == [2.0] * 3
    assert "adsorption_energy_label_eV" not in rows[0]
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_parity(found, tmp_path / "parity.png")


def test_a_label_that_some_structures_lack_is_empty_there(items, tmp_path):
    items[1] = item(1, labels="forces")

    found = evaluate(Shifted(items, energy=0.5), InMemory(items), BatchOptions(structures=1))
    found.predictions.write_csv(tmp_path / "predictions.csv")

    assert found.errors.energy_mae == 0.5
    labels = [row["adsorption_energy_label_eV"] for row in csv.DictReader((tmp_path / "predictions.csv").open())]
    assert labels == ["0.0", "", "-2.0", "-3.0", "-4.0"]


def test_tables_of_predictions_state_units_and_meaning(items, tmp_path):
    found = evaluate(
        Shifted(items, energy=0.25, force=(0, 0, 0.6)), InMemory(items), groups=list("ababa"), keep_atoms=True
    )
    found.predictions.write_csv(tmp_path / "predictions.csv")
    found.predictions.write_atoms_csv(tmp_path / "atoms.csv")

    row = list(csv.DictReader((tmp_path / "predictions.csv").open()))[1]
    assert float(row.pop("forces_mae_eV_per_A")) == pytest.approx(0.2)
    assert float(row.pop("largest_force_error_eV_per_A")) == pytest.approx(0.6)
    assert row == {
        "index": "1",
        "frame": "101",
        "group": "b",
        "atoms": "2",
        "counted_atoms": "2",
        "adsorption_energy_label_eV": "-1.0",
        "adsorption_energy_predicted_eV": "-0.75",
        "adsorption_energy_error_eV": "0.25",
    }
    atoms = list(csv.DictReader((tmp_path / "atoms.csv").open()))
    assert [row["element"] for row in atoms[:4]] == ["O", "O", "Cu", "O"]
    assert float(atoms[0]["forces_predicted_z_eV_per_A"]) == pytest.approx(1.6)


def test_atoms_are_not_kept_unasked(items, tmp_path):
    with pytest.raises(ValueError, match="keep_atoms"):
        evaluate(Shifted(items), InMemory(items)).predictions.write_atoms_csv(tmp_path / "atoms.csv")


def test_summaries_state_meaning_and_units(items):
    found = evaluate(Shifted(items, energy=0.02, force=(0.03, 0, 0)), InMemory(items), groups=list("ababa"))

    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["energy_meaning"] == "adsorption"
    assert document["units"]["forces"] == "eV/Å"
    assert document["groups"]["b"]["structures"] == 2
    console = Console(width=120, record=True, file=io.StringIO())
    for table in (summary_table(found), parts_table(found, "group"), parts_table(found, "element")):
        console.print(table)
    text = console.export_text()
    for expected in ("5 structures, adsorption energies", "forces, MAE of components", "meV/Å", "Cu"):
        assert expected in text


@pytest.mark.parametrize("count", [3, 340])
def test_parity_plots_are_pictures(tmp_path, count):
    items = [item(number, forces=np.random.default_rng(number).normal(size=(2, 3))) for number in range(count)]
    found = evaluate(Shifted(items, energy=0.1, force=(0.1, 0, 0)), InMemory(items), keep_atoms=True)

    plot_parity(found, tmp_path / "parity.png")

    assert (tmp_path / "parity.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("changes", [{}, GRADIENT_FORCES])
def test_a_potential_evaluated_in_batches_has_the_errors_of_its_predictions(changes):
    items = [item(number, "CuO3", stress=0.01) for number in range(3)]
    references = References({8: -1.0, 29: -2.0}, 0.5, "total")
    potential = Potential(small_model(**changes), small_spec(**changes), references)

    found = evaluate(potential, InMemory(items), BatchOptions(atoms=8))

    together = collate(items)
    predicted = potential(together.structures)
    assert found.meaning == "total"
    assert found.errors.energy_mae == pytest.approx(float((predicted.energy - together.energy).abs().mean().detach()))
    assert found.errors.forces_mae == pytest.approx(float((predicted.forces - together.forces).abs().mean().detach()))
    assert (found.errors.stress_mae is None) == (not changes)
