"""Ensembles: means and spread of their members, their files, and how calculators use them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from potentials import REFERENCES, crystals, smooth_spec
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gemnet_blocks import Structures
from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.errors import StateError
from gemnet_blocks.potential import (
    Calibration,
    Ensemble,
    Potential,
    load_ensemble,
    load_potential,
    load_potential_or_ensemble,
    save_ensemble,
    save_potential,
)
from gemnet_blocks.potential.calibration import Width
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec import build
from gemnet_blocks.util.files import checksum

CALIBRATION = Calibration(0.9, 40, Width(2.0, 0.01), Width(3.0, 0.02))


def member(seed: int, references: References = REFERENCES, **changes: object) -> Potential:
    spec = smooth_spec(interactions__quadruplet=None, **changes)
    return Potential(build(spec, seed=seed).double(), spec, references).eval()


@pytest.fixture(scope="module")
def members() -> list[Potential]:
    return [
        member(0),
        member(1, graphs__main__cutoff=4.0),
        member(2, References(REFERENCES.per_element, 1.5, "total", 0.1)),
    ]


def test_predictions_are_means_and_standard_deviations(members: list[Potential]) -> None:
    structures = Structures.from_ase(crystals())
    ensemble = Ensemble(members, CALIBRATION)
    found, each = ensemble(structures, stress=True), [one(structures, stress=True) for one in members]
    for name in ("energy", "forces", "stress", "atom_energies"):
        values = torch.stack([getattr(one, name) for one in each])
        assert torch.allclose(getattr(found, name), values.mean(0), rtol=0, atol=1e-10), name
    energies, forces = (
        np.stack([getattr(one, name).detach().numpy() for one in each]) for name in ("energy", "forces")
    )
    properties = {name: value.detach().numpy() for name, value in found.properties.items()}
    assert set(properties) == set(ensemble.property_kinds)
    assert np.allclose(properties["energy_std"], energies.std(0, ddof=1))
    assert np.allclose(properties["forces_std"], np.sqrt(forces.var(0, ddof=1).mean(-1)))
    assert (properties["energy_std"] > 0).all()
    assert (properties["forces_std"] > 0).all()
    atoms = np.array([len(one) for one in crystals()])
    assert np.allclose(properties["energy_interval"], 2 * (energies.std(0, ddof=1) + 0.01 * atoms))
    assert np.allclose(properties["forces_interval"], 3 * (properties["forces_std"] + 0.02))


def test_the_spread_does_not_change_under_rotations(members: list[Potential]) -> None:
    ensemble, atoms = Ensemble(members), crystals()[1]
    turned = atoms.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    first, second = (ensemble(Structures.from_ase(one)).properties["forces_std"] for one in (atoms, turned))
    assert torch.allclose(first, second, atol=1e-10)


def test_pairs_that_are_given_serve_all_members(members: list[Potential]) -> None:
    ensemble, structures = Ensemble(members), Structures.from_ase(crystals())
    given = ensemble.neighbors(structures)
    assert ensemble.cutoff == max(one.cutoff for one in members)
    found, again = ensemble(structures), ensemble(structures, given=given)
    assert torch.equal(found.energy, again.energy)
    assert torch.equal(found.properties["forces_std"], again.properties["forces_std"])


def test_calculators_take_ensembles(members: list[Potential], tmp_path: Path) -> None:
    ensemble, atoms = Ensemble(members, CALIBRATION), crystals()[0]
    save_ensemble(ensemble, tmp_path / "ensemble.safetensors")
    expected = ensemble(Structures.from_ase(atoms))
    for given in (ensemble, tmp_path / "ensemble.safetensors"):
        atoms.calc = GemNetCalculator(given)
        assert atoms.get_potential_energy() == pytest.approx(expected.energy.item())
        assert np.allclose(atoms.get_forces(), expected.forces.detach())
        assert atoms.calc.results["energy_std"] == pytest.approx(expected.properties["energy_std"].item())
        assert np.allclose(atoms.calc.results["forces_interval"], expected.properties["forces_interval"].detach())
        assert "forces_std" in atoms.calc.implemented_properties
    single = GemNetCalculator(ensemble, dtype="float32")
    assert single.potential.dtype == torch.float32
    assert ensemble.dtype == torch.float64


def test_members_must_fit() -> None:
    first = member(0)
    for others, message in (
        ([], "at least two members, got 1"),
        ([member(1).float()], "agree in the type of the weights"),
        ([member(1, References(REFERENCES.per_element, 2.5, "adsorption"))], "agree in the meaning of the energy"),
        ([member(1, heads__forces=None)], "agree in forces"),
        ([member(1).model], "member 1 is a GemNet"),
    ):
        with pytest.raises(ValueError, match=message):
            Ensemble([first, *others])


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(members: list[Potential], tmp_path: Path) -> Path:
    save_ensemble(Ensemble(members, CALIBRATION), tmp_path / "ensemble.safetensors")
    return tmp_path / "ensemble.safetensors"


def test_a_file_holds_everything(saved: Path, members: list[Potential]) -> None:
    structures = Structures.from_ase(crystals())
    found = load_ensemble(saved)
    assert found.calibration == CALIBRATION
    assert [one.references for one in found.potentials] == [one.references for one in members]
    expected, again = Ensemble(members, CALIBRATION)(structures), found(structures)
    assert torch.equal(expected.energy, again.energy)
    for name, value in expected.properties.items():
        assert torch.equal(value, again.properties[name]), name
    assert load_ensemble(saved, dtype="float32").dtype == torch.float32
    assert isinstance(load_potential_or_ensemble(saved), Ensemble)


def test_files_of_the_other_kind_are_named(saved: Path, members: list[Potential], tmp_path: Path) -> None:
    save_potential(members[0], tmp_path / "model.safetensors")
    assert isinstance(load_potential_or_ensemble(tmp_path / "model.safetensors"), Potential)
    with pytest.raises(StateError, match=r"ensemble\.safetensors: expected a model, but this is an ensemble"):
        load_potential(saved)
    with pytest.raises(StateError, match=r"model\.safetensors: expected an ensemble, but this is a single model"):
        load_ensemble(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("members", "[", "cannot read its members"),
        ("members", "{}", "its members are not a list of mappings"),
        ("members", "[]", "at least two members, got 0"),
        ("members", '[{"spec": "{}"}]', "cannot read its references"),
        ("calibration", '{"level": 0.9}', "is not a calibration"),
        ("calibration", "[" * 100_000, "recursion"),
        ("format_version", "99", "expected a format version up to"),
    ],
)
def test_damaged_files_are_refused(saved: Path, key: str, text: str, message: str) -> None:
    with safe_open(saved, "pt") as file:
        texts = dict(file.metadata())
    weights = load_file(saved)
    del texts["checksum"]
    texts[key] = text
    save_file(weights, saved, {**texts, "checksum": checksum(weights, texts)})
    with pytest.raises(StateError, match=message):
        load_ensemble(saved)


def test_weights_that_are_missing_are_named(saved: Path) -> None:
    with safe_open(saved, "pt") as file:
        texts = dict(file.metadata())
    weights = load_file(saved)
    name = next(name for name in weights if name.startswith("1."))
    del weights[name], texts["checksum"]
    save_file(weights, saved, {**texts, "checksum": checksum(weights, texts)})
    with pytest.raises(StateError, match=f"member 1: the weights do not fit the spec: {name[2:]} is missing"):
        load_ensemble(saved)
    assert len(json.loads(texts["members"])) == 3
