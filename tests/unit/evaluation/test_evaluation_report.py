from __future__ import annotations

import json

import pytest
from evaluation_data import InMemory, Shifted, item

from gemnet_blocks.errors import StructureError
from gemnet_blocks.evaluation.evaluate import evaluate
from gemnet_blocks.evaluation.report import write_report


@pytest.fixture
def evaluation():
    items = [item(number) for number in range(3)]
    return evaluate(Shifted(items, energy=0.5), InMemory(items), keep_atoms=True)


def test_a_report_is_a_folder_of_files(evaluation, tmp_path):
    folder = tmp_path / "new" / "report"

    written = write_report(evaluation, folder, {"model": "mine"}, plot=True, atoms=True)

    assert written[-1].name == "summary.json"
    assert {path.name for path in folder.iterdir()} == {"summary.json", "predictions.csv", "atoms.csv", "parity.png"}
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["model"], summary["errors"]["energy_mae"]) == ("mine", 0.5)
    assert [path.name for path in folder.parent.iterdir()] == ["report"]


def test_other_files_of_the_folder_stay(evaluation, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "summary.json").write_text("old")

    write_report(evaluation, tmp_path)

    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert json.loads((tmp_path / "summary.json").read_text())["energy_meaning"] == "adsorption"


def test_a_failed_report_keeps_the_earlier_one(evaluation, tmp_path, monkeypatch):
    folder = tmp_path / "report"
    write_report(evaluation, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    with pytest.raises(ValueError, match="JSON compliant"):
        write_report(evaluation, folder, {"number": float("nan")})

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_place_that_cannot_be_written_is_named(evaluation, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StructureError, match="cannot be written"):
        write_report(evaluation, tmp_path / "file" / "report")
