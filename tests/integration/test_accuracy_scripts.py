"""The scripts of the accuracy benchmarks: stability of potentials with known answers, and tables of recorded runs."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.md.velocitydistribution import thermalize_momenta
from helpers import ROOT

FOLDER = ROOT / "benchmarks" / "accuracy"
sys.path.insert(0, str(FOLDER.parent))


def script(name: str) -> ModuleType:
    """Import a script under a name of its own, since others are called `table`, too."""
    specification = importlib.util.spec_from_file_location(f"accuracy_{name}", FOLDER / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module  # dataclasses look for it
    specification.loader.exec_module(module)
    return module


stability, table = script("stability"), script("table")


class Pairs(Calculator):
    """A dimer with the energy 1/r, and r between two distances."""

    implemented_properties: ClassVar[list[str]] = ["energy"]

    def __init__(self, rising: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__()
        self.rising = rising

    def calculate(self, atoms: Atoms | None = None, *_: Any) -> None:
        assert atoms is not None
        distance = atoms.get_distance(0, 1)
        low, high = self.rising
        self.results = {"energy": distance if low < distance < high else 1 / distance}


def test_attraction_at_short_distances_is_found() -> None:
    assert stability.dimers({1, 29}, Pairs()) == {"H–H": [], "H–Cu": [], "Cu–Cu": []}
    low, high = stability.dimers({29}, Pairs((0.5, 1.0)))["Cu–Cu"]
    assert low == pytest.approx(0.5, abs=0.06)
    assert high == pytest.approx(1.0, abs=0.06)


def test_broken_bonds_and_collisions_stop_dynamics() -> None:
    ethanol = molecule("CH3CH2OH")
    watch = stability.Watch(ethanol, 0.9)
    ethanol.rattle(0.05, seed=0)
    watch()
    ethanol.positions[ethanol.symbols == "O"] += 3.0
    with pytest.raises(stability.FailedError, match=r"bond .*O.* broken"):
        watch()
    crystal = bulk("Cu", cubic=True)
    watch = stability.Watch(crystal, 2.5)
    watch()
    crystal.positions[0] = crystal.positions[1] + 0.5
    with pytest.raises(stability.FailedError, match=r"atoms closer than 1\.75 Å"):
        watch()
    crystal.positions[0] = np.nan
    with pytest.raises(stability.FailedError, match="not finite"):
        watch()


@pytest.mark.parametrize("thermostat", [False, True])
def test_dynamics_of_a_known_potential(thermostat: bool) -> None:
    atoms = bulk("Cu", cubic=True) * 2
    atoms.calc = EMT()
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    found = stability.dynamics(atoms, 2.5, 0.2, 300.0, 2.0, thermostat)
    assert (found["picoseconds"], found["failure"]) == (0.2, None)
    assert 100 < found["mean_temperature"] < 400
    if not thermostat:
        assert abs(found["drift_mev_per_atom_per_ps"]) < 1


def test_runs_stand_beside_those_of_mace() -> None:
    errors = {"forces_mae": 0.01, "forces_rmse": 0.02, "energy_mae": 0.002, "energy_mae_per_atom": 2e-4}
    run = {"name": "one", "training": {"epochs": 46.2}, "evaluations": {"test": {"errors": errors}}}
    peer = {
        "name": "one",
        "minutes": 30,
        "processor_seconds": 2100,
        "epochs": 19,
        "errors": {"stage two": {**errors, "forces_mae": 0.3}},
    }
    text = table.mace_section([run, {**run, "name": "another"}], [peer])
    assert "| one | recipe | 30 | 46 | 10.0 | 20.0 | 2.00 | 0.200 |" in text
    assert "| one | MACE, stage two | 35 | 19 | 300 | 20.0 | 2.00 | 0.200 |" in text
    assert "another" not in text


def test_recorded_results_make_the_recorded_page() -> None:
    assert table.recorded_page() == (FOLDER / "RESULTS.md").read_text(encoding="utf-8")
