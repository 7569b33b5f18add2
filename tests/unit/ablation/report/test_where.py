"""Which atoms and structures differ: paired errors by environment, and a planted torsion that is found again."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from planted_torsion import DIHEDRAL, TorsionLearner
from synthetic_learners import synthetic_study

from gemnet_blocks.ablation import StudyResults, paired_errors
from gemnet_blocks.ablation.report import atoms_figure, figures, formatting, pareto
from gemnet_blocks.ablation.report.atoms_figure import most_different
from gemnet_blocks.ablation.report.chemiscope_file import CHEMISCOPE, chemiscope_json
from gemnet_blocks.ablation.report.content import report_files
from gemnet_blocks.ablation.report.environments import ENVIRONMENTS
from gemnet_blocks.ablation.report.where_section import MOST_GROUPS, StudyDifferences, where_blocks
from gemnet_blocks.ablation.runs.run_folder import PREDICTIONS
from gemnet_blocks.errors import StateError
from gemnet_blocks.evaluation import KeptPredictions

VARIANT = "no quadruplets"


def kept_of(many: Sequence[Atoms], errors: Any = 0.0, energies: Any = 0.0, **columns: Any) -> KeptPredictions:
    """Predictions that are wrong by given amounts, with zero labels."""
    counts = np.array([len(one) for one in many])
    atoms = int(counts.sum())
    return KeptPredictions(
        {
            "index": np.arange(len(many)),
            "atoms": counts,
            "cells": np.array([one.cell[:] for one in many]).reshape(-1, 3, 3),
            "periodic": np.array([one.pbc for one in many]).reshape(-1, 3),
            "charge": np.zeros(len(many), int),
            "spin": np.ones(len(many), int),
            "energy_label": np.zeros(len(many)),
            "energy_predicted": np.zeros(len(many)) + energies,
        },
        {
            "positions": np.concatenate([one.positions for one in many]),
            "numbers": np.concatenate([one.numbers for one in many]),
            "tags": np.concatenate([one.get_tags() if one.has("tags") else np.full(len(one), -1) for one in many]),
            "fixed": np.zeros(atoms, bool),
            "counted": np.ones(atoms, bool),
            "forces_label": np.zeros((atoms, 3)),
            "forces_predicted": np.zeros((atoms, 3)) + np.reshape(errors, (-1, 1)),
            **columns,
        },
    )


def members(kept: KeptPredictions, by: str) -> dict[str, list[int]]:
    groups = ENVIRONMENTS[by](kept)
    found = {} if groups is None else {name: [] for name in groups.names}
    for place, group in enumerate(() if groups is None else groups.members):
        if group >= 0:
            found[groups.names[group]].append(place)
    return found


@pytest.fixture(scope="module")
def torsions(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """A finished study of fits to a planted torsion, with and without torsions."""
    variants = {VARIANT: {"interactions.quadruplet": None}}
    study = synthetic_study(tmp_path_factory.mktemp("torsions"), variants, 3, TorsionLearner())
    results = study.run("here", progress=False)
    assert results.complete, results.failed()
    return results


@pytest.fixture(scope="module")
def files(torsions: StudyResults) -> Mapping[str, str]:
    return report_files(torsions)


def test_a_planted_torsion_lights_up_its_dihedral_atoms(torsions: StudyResults) -> None:
    found = torsions.where(VARIANT)
    # a third of the atoms, those that differ most, are in the chains; where the torsion is flat, it has no forces
    assert set(np.argsort(-found.differences)[:18] % 7) <= set(range(DIHEDRAL))
    dihedral, others = found.groups([*["dihedral"] * 4, *["others"] * 3] * 8)
    assert (dihedral.atoms, others.atoms, dihedral.structures) == (32, 24, 8)
    assert dihedral.difference > 5 * abs(others.difference)
    assert dihedral.interval is not None
    assert dihedral.interval.low > 0
    assert dihedral.agreeing == 3
    by_element = {one.group: one for one in found.groups("element")}
    assert list(by_element) == ["H", "O", "Ar"]
    assert min(by_element[one].difference for one in "HO") > 5 * abs(by_element["Ar"].difference)


def test_the_report_shows_where(torsions: StudyResults, files: Mapping[str, str]) -> None:
    assert "## Where" in files["report.md"]
    assert "no quadruplets: the forces change most on the " in files["report.md"]
    rows = list(csv.DictReader(io.StringIO(files["where.csv"])))
    element = {row["group"]: row for row in rows if (row["quantity"], row["by"]) == ("forces", "element")}
    (group,) = (one for one in torsions.where(VARIANT).groups("element") if one.group == "O")
    assert float(element["O"]["difference"]) == group.difference
    assert {row["by"] for row in rows if row["quantity"] == "energy"} == {"composition"}
    assert len(list(csv.reader(io.StringIO(files["where_structures.csv"])))) == 1 + 8
    drawn = list(csv.DictReader(io.StringIO(files["figures/where_1.csv"])))
    values = [float(row["error of the force, variant − base (meV/Å)"]) for row in drawn]
    assert len(drawn) == 3 * 7
    assert max(values[:7]) == max(values[:DIHEDRAL])
    colors = files["report.html"].split('aria-label="no quadruplets: the structures')[1].split("</svg>")[0]
    assert "var(--worse)" in colors
    assert not set(re.findall("#[0-9a-f]{6}", colors)) & set(formatting.VARIABLES)


def test_files_for_chemiscope_hold_every_atom(torsions: StudyResults, files: Mapping[str, str]) -> None:
    pytest.importorskip("chemiscope")
    data = json.loads(files[CHEMISCOPE])

    assert [one["size"] for one in data["structures"]] == [7] * 8
    shown = data["properties"]["forces error, no quadruplets − base"]
    assert (shown["target"], shown["units"]) == ("atom", "meV/Å")
    np.testing.assert_allclose(shown["values"], 1e3 * torsions.where(VARIANT).differences)
    assert [(one["structure"], one["center"]) for one in data["environments"]][6:8] == [(0, 6), (1, 0)]
    assert data["properties"]["composition"]["values"] == ["H2Ar3O2"] * 8


def test_without_chemiscope_its_file_is_left_out_with_a_warning(
    torsions: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gemnet_blocks.ablation import write_report
    from gemnet_blocks.ablation.report import chemiscope_file

    monkeypatch.setattr(chemiscope_file, "is_installed", lambda: False)
    for module in (figures, atoms_figure, pareto):
        monkeypatch.setattr(module, "drawn", lambda draw, height: "<?xml?><svg></svg>")
    with pytest.warns(UserWarning, match=r"^no file for chemiscope was written: .* pip install 'gemnet_blocks\[chem"):
        write_report(torsions, tmp_path)
    assert not (tmp_path / CHEMISCOPE).exists()
    write_report(replace(torsions, folder=None), tmp_path)  # without predictions
    assert "## Where" not in (tmp_path / "report.md").read_text()


def test_atoms_without_errors_are_no_points_of_chemiscope() -> None:
    pytest.importorskip("chemiscope")
    base, other = (kept_of([molecule("H2O"), molecule("CO")], [one, 2, 3, 4, 5]) for one in (1, 2))
    counted = np.array([True, False, True, True, True])
    pairs = [replace(one, of_atoms={**one.of_atoms, "counted": counted}) for one in (base, other)]
    found = {"forces": {"other": paired_errors(*pairs)}, "energy": {"other": paired_errors(*pairs, "energy")}}
    data = json.loads(chemiscope_json(found, "two molecules"))
    assert [one["center"] for one in data["environments"]] == [0, 2, 0, 1]
    alone = json.loads(chemiscope_json({"energy": found["energy"]}, "energies"))
    assert (alone["settings"]["target"], "environments" in alone) == ("structure", False)


def test_intervals_are_over_structures() -> None:
    """Atoms of a structure share most of their difference: intervals over structures cover zero, those of atoms not."""
    many, covered = [molecule("CH4")] * 25, 0
    base = kept_of(many, 1.0)
    for study in range(100):
        random = np.random.default_rng(study)
        shared, own = random.normal(0, 0.05, 25).repeat(5), random.normal(0, 0.01, 125)
        (group,) = paired_errors(base, kept_of(many, 1.0 + shared + own)).groups([0] * 125)
        covered += group.interval.low <= 0 <= group.interval.high
    assert 88 <= covered <= 100


def test_differences_are_paired_by_seed_and_weighted_by_atoms() -> None:
    many = [molecule("H2O"), molecule("CO")]
    base = {0: kept_of(many, [1, 1, 1, 2, 2]), 1: kept_of(many, [3, 3, 3, 2, 2]), 2: kept_of(many)}
    other = {1: kept_of(many, [3, 3, 3, 4, 4]), 0: kept_of(many, [2, 1, 1, 1, 1])}
    found = paired_errors(base, other)

    assert found.seeds == (0, 1)
    np.testing.assert_allclose(found.differences, [0.5, 0, 0, 0.5, 0.5])
    np.testing.assert_allclose(found.of_structures, [1 / 6, 0.5])
    (whole,) = found.groups(["all"] * 5)
    assert (whole.base, whole.other) == pytest.approx((2.0, 2.3))
    assert whole.by_seed == pytest.approx({0: -0.2, 1: 0.8})
    assert (whole.agreeing, whole.interval) == (1, None)
    by_formula = {one.group: one.difference for one in found.groups("composition")}
    assert by_formula == pytest.approx({"CO": 0.5, "H2O": 1 / 6})
    assert [one.group for one in found.groups([None, "b", "b", 1, 1])] == ["1", "b"]


def test_energies_are_compared_per_atom_and_structure() -> None:
    many = [molecule("H2O"), molecule("CO")]
    found = paired_errors(kept_of(many), kept_of(many, energies=[0.3, -0.4]), "energy")

    np.testing.assert_allclose(found.differences, [0.1, 0.2])
    assert [one.group for one in found.groups("composition")] == ["CO", "H2O"]
    assert found.groups(lambda kept: ["small"] * len(kept))[0].structures == 2
    with pytest.raises(ValueError, match="expected a grouping of structures, such as composition"):
        found.groups("element")


def test_labelled_properties_of_atoms_are_compared_as_forces_are() -> None:
    many, labels = [molecule("H2O"), molecule("CO")], {"charges_label": np.zeros(5)}
    base = kept_of(many, **labels, charges_predicted=np.array([0.1, 0.1, 0.1, 0.2, 0.2]))
    other = kept_of(many, **labels, charges_predicted=np.array([-0.4, 0.1, 0.1, 0.0, 0.2]))
    found = paired_errors(base, other, "charges")

    assert base.quantities == ("forces", "charges", "energy")
    assert {one.group: round(one.difference, 9) for one in found.groups("element")} == {"H": 0.0, "C": -0.0, "O": 0.05}
    differences = StudyDifferences({"charges": {"other": found}}, ("other",))
    captions = [one.caption for block in where_blocks(differences) for one in getattr(block, "blocks", ())]
    assert "Difference of the charges MAE by element" in captions


@pytest.mark.parametrize(
    ("message", "attempt"),
    [
        (r"expected a grouping, element, .*, or labels, got 'elemnt'; did you mean 'element'\?", {"by": "elemnt"}),
        ("expected a label for each of 5 atoms or 2 structures, got 3 labels", {"by": [1, 2, 3]}),
        ("expected a quantity with labels and predictions, forces or energy, got 'stress'", {"quantity": "stress"}),
        ("found different structures", {"other": [molecule("H2O"), molecule("N2")]}),
        ("found different structures", {"other": [molecule("H2O")]}),
        ("with the same seed, found none", {"seed": 3}),
    ],
)
def test_what_cannot_be_compared(message: str, attempt: Mapping[str, Any]) -> None:
    many = [molecule("H2O"), molecule("CO")]
    with pytest.raises(ValueError, match=message):
        paired_errors(
            {0: kept_of(many)},
            {attempt.get("seed", 0): kept_of(attempt.get("other", many))},
            attempt.get("quantity", "forces"),
        ).groups(attempt.get("by", "element"))


def test_studies_without_predictions(torsions: StudyResults) -> None:
    with pytest.raises(KeyError, match="unknown variant 'other': choose from base, no quadruplets"):
        torsions.where("other")
    with pytest.raises(ValueError, match="expected predictions that the runs of 'base' kept in the folder"):
        replace(torsions, folder=None).where(VARIANT)


def test_atoms_are_grouped_by_their_environment() -> None:
    slab = fcc111("Cu", (1, 1, 4), vacuum=6.0)
    slab.set_tags([0, 0, 1, 1])
    kept = kept_of([bulk("Cu"), molecule("H2O"), slab])

    assert members(kept, "coordination") == {"1": [2, 3], "2": [1], "9": [4, 7], "12": [0, 5, 6]}
    assert members(kept, "element") == {"H": [2, 3], "O": [1], "Cu": [0, 4, 5, 6, 7]}
    assert members(kept, "tag") == {"0: below the surface": [4, 5], "1: surface": [6, 7]}
    assert members(kept, "composition") == {"Cu": [0], "Cu4": [2], "H2O": [1]}
    assert members(kept, "distance") == {
        "below 0.969 Å": [1, 2, 3],
        "0.969 to 2.55 Å": [],
        "from 2.55 Å": [0, 4, 5, 6, 7],
    }
    assert members(kept, "force") == {}
    lone = kept_of([Atoms("He")])
    assert (members(lone, "coordination"), members(lone, "distance"), members(lone, "tag")) == ({"0": [0]}, {}, {})


def test_large_tables_show_the_largest_groups() -> None:
    many = [Atoms(f"H{count}", np.arange(3 * count).reshape(-1, 3)) for count in range(1, 16)]
    found = paired_errors(kept_of(many, 1.0), kept_of(many, 2.0))
    differences = StudyDifferences({"forces": {"other": found}}, ("other",))
    tables = [one for block in where_blocks(differences) for one in getattr(block, "blocks", ())]
    (table,) = (one for one in tables if one.caption.endswith("by composition"))
    assert len(table.rows) == MOST_GROUPS
    assert table.note == "The 12 largest groups; 3 others are in where.csv."
    assert "H15" in {row[0] for row in table.rows}


@pytest.mark.parametrize("pbc", [False, (True, False, False), (True, True, False), True])
def test_structures_are_drawn_from_every_side(pbc: Any) -> None:
    atoms = bulk("Cu", cubic=True) * (1, 1, 2)
    atoms.pbc = pbc
    errors = np.arange(8.0)
    found = paired_errors(kept_of([atoms, Atoms()]), kept_of([atoms, Atoms()], errors))
    (one,) = most_different(found, 3)

    places, corners = one.projected()
    center = atoms.positions.mean(axis=0)
    np.testing.assert_allclose(places @ places.T, (centered := atoms.positions - center) @ centered.T, atol=1e-5)
    assert corners.shape == (8, 3)
    np.testing.assert_allclose(one.values, errors)
    if pbc is True:
        assert places[:, 1].max() - places[:, 1].min() > 4  # the longest lattice vector points up


def test_kept_predictions_are_the_same_after_saving(tmp_path: Path) -> None:
    kept = kept_of([molecule("H2O"), Atoms()], 0.5)
    kept.save(tmp_path / PREDICTIONS)
    again = KeptPredictions.load(tmp_path / PREDICTIONS)

    for one, other in ((kept.of_atoms, again.of_atoms), (kept.of_structures, again.of_structures)):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert again.structures.atom_counts.tolist() == [3, 0]
    assert again.quantities == ("forces", "energy")
    for content in (b"", b"PK\x03\x04 cut off", (tmp_path / PREDICTIONS).read_bytes()[:200]):
        (tmp_path / PREDICTIONS).write_bytes(content)
        with pytest.raises(StateError, match=r"predictions\.npz: is not a file of kept predictions, or is damaged"):
            KeptPredictions.load(tmp_path / PREDICTIONS)
    np.savez(tmp_path / PREDICTIONS, **{"atom.numbers": np.array([{}], dtype=object)})
    with pytest.raises(StateError, match="is not a file of kept predictions"):
        KeptPredictions.load(tmp_path / PREDICTIONS)
