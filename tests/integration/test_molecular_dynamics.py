"""Molecular dynamics with ASE: what a potential with gradient forces must keep."""

from __future__ import annotations

import gc
import resource
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE
from helpers import molecule
from jaxtyping import config
from potentials import REFERENCES, crystal, smooth_potential

from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.graph.verlet_list import VerletList

STRONG = replace(REFERENCES, scale=20.0)
"""A scale that gives untrained models forces of ordinary size."""


@dataclass(frozen=True)
class Run:
    """Total energies of a run at constant energy.

    Attributes:
        energies: after every step, in eV.
        kinetic: kinetic energies, in eV.
        drift: slope of the total energy, in eV per atom and ps.
        spread: standard deviation of the total energy, in eV.
    """

    energies: np.ndarray
    kinetic: np.ndarray
    drift: float
    spread: float


@pytest.fixture(scope="module", autouse=True)
def _without_checks_of_shapes() -> Iterator[None]:
    """They take most of the time of so small a model."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", before)


@pytest.fixture(scope="module")
def minimum() -> Atoms:
    """Atoms at a minimum of a smooth potential, so that they swing around it."""
    atoms = crystal()
    atoms.calc = GemNetCalculator(smooth_potential(blocks__count=1))
    before = atoms.get_potential_energy()
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.02, steps=120)
    assert atoms.get_potential_energy() < before
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() <= 0.02
    return atoms


def constant_energy(atoms: Atoms, timestep: float, duration: float = 100) -> Run:
    """Run for some femtoseconds, from always the same velocities."""
    calculator, atoms = atoms.calc, atoms.copy()
    atoms.calc = calculator
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, timestep * units.fs)
    energies, kinetic = [], []
    for _ in range(round(duration / timestep)):
        dynamics.run(1)
        energies.append(atoms.get_total_energy())
        kinetic.append(atoms.get_kinetic_energy())
    times = timestep * np.arange(len(energies)) / 1000
    drift = np.polyfit(times, energies, 1)[0] / len(atoms)
    return Run(np.array(energies), np.array(kinetic), float(drift), float(np.std(energies)))


def test_the_total_energy_is_kept(minimum: Atoms) -> None:
    """To the second order of the timestep, as velocity Verlet does for any energy that is smooth."""
    coarse, fine = constant_energy(minimum, 2.0), constant_energy(minimum, 1.0)
    print(f"drift in eV per atom and ps: {coarse.drift:.1e} with 2 fs, {fine.drift:.1e} with 1 fs")
    assert np.ptp(fine.kinetic) > 0.02  # potential energy was exchanged for kinetic
    assert fine.spread < 2e-3 * np.ptp(fine.kinetic)
    assert abs(fine.drift) < 1e-3
    assert coarse.spread / fine.spread == pytest.approx(4, rel=0.15)


def tensors_alive() -> int:
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of modules that complain of being looked at
        return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())


def resident_bytes() -> int:
    """Memory of this process; always zero where the system does not say it this way."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * resource.getpagesize() if status.is_file() else 0


@pytest.mark.slow
def test_a_thousand_steps_leak_no_memory() -> None:
    small = {f"interactions__{name}": None for name in ("quadruplet", "atom_edge", "edge_atom", "atom_atom")}
    atoms = molecule(3)
    calculator = GemNetCalculator(smooth_potential(torch.float32, STRONG, blocks__count=1, **small), skin=0.3)
    assert isinstance(calculator.search, VerletList)
    atoms.calc = calculator
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    dynamics.run(200)
    tensors, memory, searches = tensors_alive(), resident_bytes(), calculator.search.searches
    dynamics.run(800)
    assert calculator.search.searches > searches  # neighbors were searched for anew, which leaks nothing either
    assert tensors_alive() <= tensors + 5
    assert resident_bytes() - memory < 8e6
