"""The symmetric model keeps what docs/symmetry.md promises; the published rules do not, by how much is written here."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gemnet_blocks.spec import Spec, build, load_spec

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import symmetry as measurement  # noqa: E402

INTERACTIONS = measurement.INTERACTIONS
SEEDS = (0, 1, 2)


@pytest.fixture(autouse=True)
def _few_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "SEEDS", SEEDS)


def spread(spec: Spec, crystal: str, dtype: str) -> float:
    descriptions = measurement.descriptions(measurement.crystals()[crystal])
    return measurement.spread(measurement.energies(spec, descriptions, measurement.TYPES[dtype]))


@pytest.mark.parametrize("crystal", list(measurement.crystals()))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_symmetric_model_on_perfect_crystals_and_slabs(crystal: str, dtype: str) -> None:
    assert spread(measurement.symmetric(), crystal, dtype) <= measurement.LIMITS[dtype]


@pytest.mark.parametrize(
    "name",
    [
        *(f"{name} alone" for name in INTERACTIONS),
        "… with max_neighbors, ties inclusive",
        "… with max_neighbors, ties smooth",
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_interaction_and_every_tie_handling(name: str, dtype: str) -> None:
    for crystal in ("fcc Cu", "bcc Fe", "hcp Mg"):
        assert spread(measurement.models()[name], crystal, dtype) <= measurement.LIMITS[dtype]


def test_the_symmetric_spec_is_small_and_has_the_rules_of_new_specs() -> None:
    spec = load_spec(ROOT / "paper_configs/symmetric.yaml")
    assert set(spec.interactions) == set(INTERACTIONS)
    assert sum(parameter.numel() for parameter in build(spec).parameters()) == 500_057
    data = spec.to_dict()
    del data["neighbors"], data["bases"]["collinear"], data["graphs"]["main"]["symmetrize"]
    assert Spec.from_yaml(yaml.safe_dump(data)) == spec


@pytest.mark.slow
def test_the_published_rules_depend_on_the_description_of_a_crystal() -> None:
    """With strict ties, the order of atoms selects among neighbors at the same distance, in both precisions."""
    for dtype in ("float64", "float32"):
        assert 1e-4 < spread(measurement.published(), "Pt(111) + O", dtype) < 1


def test_published_rules_hold_on_generic_structures() -> None:
    """The structure has no ties and no collinear atoms; a periodic one would have both, from images of an atom."""
    atoms = measurement.crystals()["Pt(111) + O"]
    atoms.pbc = False
    atoms.rattle(0.1, rng=np.random.default_rng(0))
    found = measurement.energies(
        measurement.published({"graphs.main.symmetrize": "union"}), measurement.descriptions(atoms), torch.float64
    )
    assert measurement.spread(found) < 1e-10
