from __future__ import annotations

import pytest
from data_files import options
from pydantic import TypeAdapter, ValidationError

from gemnet_blocks.data.units import UnitsField, energy_unit, force_unit, length_unit, stress_unit

ADAPTER = TypeAdapter(UnitsField)


# CODATA 2018 values, from the literature and not from the code's own source
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eV", 1),
        ("meV", 1e-3),
        ("kcal/mol", 0.0433641),
        ("kJ/mol", 0.01036427),
        ("Hartree", 27.211386),
        ("Ry", 13.605693),
    ],
)
def test_energies_are_in_electronvolts(name: str, value: float) -> None:
    assert energy_unit(name) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("name", "value"), [("Å", 1), ("A", 1), ("Bohr", 0.529177211), ("nm", 10)])
def test_lengths_are_in_angstroms(name: str, value: float) -> None:
    assert length_unit(name) == pytest.approx(value, rel=1e-8)


@pytest.mark.parametrize(("name", "value"), [("GPa", 1 / 160.21766), ("kbar", 1 / 1602.1766), ("eV/Å^3", 1)])
def test_stresses_are_in_electronvolts_per_cubed_angstrom(name: str, value: float) -> None:
    assert stress_unit(name) == pytest.approx(value, rel=1e-7)


def test_forces_are_energy_per_length() -> None:
    assert force_unit("Hartree/Bohr") == pytest.approx(51.42206, rel=1e-6)
    assert force_unit("kcal/mol/Å") == energy_unit("kcal/mol")
    with pytest.raises(ValueError, match="energy/length"):
        force_unit("eV")


def test_an_energy_alone_means_angstroms() -> None:
    factors = ADAPTER.validate_python("kcal/mol").factors()
    assert factors.energy == factors.force == energy_unit("kcal/mol")
    assert factors.length == 1


def test_forces_and_stresses_follow_from_energy_and_length_unless_given() -> None:
    units = {"energy": "Hartree", "length": "Bohr"}
    factors = ADAPTER.validate_python(units).factors()
    assert factors.force == pytest.approx(51.42206, rel=1e-6)
    assert factors.stress == pytest.approx(stress_unit("Hartree/Bohr^3"))
    assert ADAPTER.validate_python({**units, "forces": "eV/Å"}).factors("kbar").force == 1
    assert ADAPTER.validate_python(units).factors("kbar").stress == stress_unit("kbar")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("kcal/mole", "did you mean 'kcal/mol'"),
        ({"energy": "eV", "length": "Bohrs"}, "did you mean 'Bohr'"),
        ({"length": "Å"}, "never guessed"),
        ({"energy": "eV", "forces": "eV"}, "energy/length"),
        ("furlong", "one of eV, meV"),
    ],
)
def test_unknown_units_are_errors(given: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ADAPTER.validate_python(given)


def test_units_are_required() -> None:
    with pytest.raises(ValidationError, match="never guessed"):
        type(options(files=["a"])).model_validate({"files": ["a"], "energy": "total", "batch": {"atoms": 3}})


def test_the_schema_takes_a_name_or_a_mapping() -> None:
    import jsonschema

    schema = type(options(files=["a"])).model_json_schema()["properties"]["units"]
    jsonschema.validate("eV", schema)
    jsonschema.validate({"energy": "eV", "length": "Bohr"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"energi": "eV"}, schema)
