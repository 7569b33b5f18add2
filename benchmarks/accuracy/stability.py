"""Is a trained model stable in use? Dynamics, relaxations and dimers of a recorded run.

    python benchmarks/accuracy/stability.py ethanol-950-30 --data FOLDER --temperature 500

- NVE: after 1 ps of Langevin dynamics from a test frame, the total energy is kept for 10 ps; drift is the slope of the
  total energy per atom.
- Langevin: 20 ps with a friction of 0.01 per fs. A bond is broken if it is 1.5 times as long as in the test frame. For
  crystals, which have no bonds, no two atoms may come closer than 0.7 times the smallest distance of the training set.
- Relaxations: of 20 test frames, displaced at random by 0.1 Å, to forces below 0.01 eV/Å.
- Dimers: the energy of every pair of elements must fall with the distance, up to 0.7 times the sum of covalent radii.

Writes results/stability-NAME.json. A model that is not stable has an answer there, too; nothing is repeated.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import chemical_symbols, covalent_radii
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import natural_cutoffs, neighbor_list
from ase.optimize import BFGS

from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.opening import open_data
from gemnet_blocks.errors import StructureError
from gemnet_blocks.potential.model_file import load_potential
from gemnet_blocks.structures import to_ase
from gemnet_blocks.training import load_config

FOLDER = Path(__file__).parent

TIME_STEP = 0.5
"""Time step of molecules in fs; crystals without hydrogen take four times as much."""

LONGER, CLOSER = 1.5, 0.7
"""Factors of lengths of bonds and of smallest distances beyond which dynamics has failed."""


def frame(dataset: LabelledDataset, index: int) -> Atoms:
    """Return a structure of a set."""
    (atoms,) = to_ase(dataset[index].structures)
    return atoms


class FailedError(Exception):
    """Dynamics has failed."""


class Watch:
    """Watches distances during dynamics, and stops it when a bond breaks or atoms collide.

    Args:
        atoms: the structure at the beginning.
        smallest: smallest distance of the training set in Å.
    """

    def __init__(self, atoms: Atoms, smallest: float) -> None:
        self.atoms = atoms
        first, second, lengths = neighbor_list("ijd", atoms, natural_cutoffs(atoms, mult=1.2))
        self._bonds = None if atoms.pbc.any() else (first, second, lengths)
        self._smallest = smallest

    def __call__(self) -> None:
        """Check the distances of this moment."""
        atoms = self.atoms
        if not np.isfinite(atoms.positions).all():
            raise FailedError("positions are not finite")
        if self._bonds is not None:
            first, second, lengths = self._bonds
            ratio = np.linalg.norm(atoms.positions[first] - atoms.positions[second], axis=1) / lengths
            if ratio.max() > LONGER:
                place = int(ratio.argmax())
                raise FailedError(f"bond {atoms.symbols[first[place]]}–{atoms.symbols[second[place]]} broken")
        elif len(neighbor_list("i", atoms, CLOSER * self._smallest)):
            raise FailedError(f"atoms closer than {CLOSER * self._smallest:.2f} Å")


def smallest_distance(dataset: LabelledDataset) -> float:
    """Return the smallest distance of two atoms in a set, in Å."""
    return min(float(neighbor_list("d", frame(dataset, i), 4.0).min()) for i in range(len(dataset)))


def dynamics(
    atoms: Atoms, smallest: float, picoseconds: float, temperature: float, step: float, thermostat: bool
) -> dict[str, Any]:
    """Run dynamics at constant energy, or with a thermostat, and return how it went."""
    watch, totals, kelvin = Watch(atoms, smallest), [], []
    if thermostat:
        run: Any = Langevin(
            atoms,
            step * units.fs,
            temperature_K=temperature,
            friction=0.01 / units.fs,
            fixcm=False,
            rng=np.random.default_rng(0),
        )
    else:
        run = VelocityVerlet(atoms, step * units.fs)

    def note() -> None:
        totals.append(atoms.get_total_energy())
        kelvin.append(atoms.get_temperature())

    run.attach(watch, interval=10)
    run.attach(note, interval=10)
    steps = round(1000 * picoseconds / step)
    failure = None
    try:
        run.run(steps)
    except (FailedError, StructureError) as error:
        failure = str(error)
    reached = run.get_number_of_steps() * step / 1000
    result = {"picoseconds": reached, "failure": failure, "mean_temperature": float(np.mean(kelvin))}
    if not thermostat:
        moments = np.arange(len(totals)) * step / 100
        per_atom = 1000 * (np.array(totals) - totals[0]) / len(atoms)
        result |= {
            "drift_mev_per_atom_per_ps": float(np.polyfit(moments, per_atom, 1)[0]),
            "spread_mev_per_atom": float(per_atom.std()),
        }
    return result


def relaxations(dataset: LabelledDataset, calculator: GemNetCalculator, count: int) -> dict[str, Any]:
    """Relax displaced structures, and return how many converged."""
    found: list[tuple[int, float]] = []
    failures = []
    places = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    for number, index in enumerate(places):
        atoms = frame(dataset, int(index))
        atoms.rattle(0.1, rng=np.random.default_rng(number))
        atoms.calc = calculator
        optimizer = BFGS(atoms, logfile=None)
        try:
            if optimizer.run(fmax=0.01, steps=500):
                found.append((optimizer.get_number_of_steps(), atoms.get_potential_energy() / len(atoms)))
        except StructureError as error:  # atoms have collapsed
            failures.append(f"frame {index}: {error}".split(", less than")[0])
    return {
        "structures": len(places),
        "converged": len(found),
        "collapsed": failures,
        "median_steps": float(np.median([steps for steps, _ in found])) if found else None,
        "energies_per_atom": [energy for _, energy in found],
    }


def dimers(numbers: set[int], calculator: GemNetCalculator) -> dict[str, Any]:
    """Return the distances in Å between which the energy of each pair rises with the distance; empty if repulsive."""
    found = {}
    for one, two in combinations_with_replacement(sorted(numbers), 2):
        radii = covalent_radii[one] + covalent_radii[two]
        distances = np.linspace(0.2, 0.7 * radii, 60)
        energies = []
        for distance in distances:
            atoms = Atoms([one, two], positions=[(0, 0, 0), (0, 0, distance)], calculator=calculator)
            energies.append(atoms.get_potential_energy())
        rising = distances[1:][np.diff(energies) > 0]
        name = f"{chemical_symbols[one]}–{chemical_symbols[two]}"
        found[name] = [round(float(rising.min()), 2), round(float(rising.max()), 2)] if len(rising) else []
    return found


def main() -> None:
    """Test a model and record the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="config of the run")
    parser.add_argument("--data", type=Path, required=True, help="data folder")
    parser.add_argument("--temperature", type=float, default=500.0, help="temperature in K")
    parser.add_argument("--runs", type=Path, default=FOLDER / "runs", help="folder of models")
    parser.add_argument("--picoseconds", type=float, default=10.0, help="of NVE; Langevin dynamics takes twice as long")
    parser.add_argument("--relaxations", type=int, default=20, help="number of relaxations")
    parser.add_argument("--output", type=Path, default=FOLDER / "results", help="folder of the recorded results")
    arguments = parser.parse_args()
    config = load_config(FOLDER / "configs" / f"{arguments.name}.yaml").in_folder(arguments.data)
    splits = open_data(config.data, config.folder)
    assert splits.test is not None
    potential = load_potential(arguments.runs / arguments.name)
    calculator = GemNetCalculator(potential, skin=0.5)
    smallest = smallest_distance(splits.train)
    atoms = frame(splits.test, 0)
    numbers = set(potential.references.per_element)
    step = TIME_STEP if 1 in numbers else 4 * TIME_STEP
    record: dict[str, Any] = {
        "name": arguments.name,
        "date": time.strftime("%Y-%m-%d"),
        "temperature": arguments.temperature,
        "time_step_fs": step,
        "smallest_distance": smallest,
    }

    def moving(thermostat: bool) -> dict[str, Any]:
        one = atoms.copy()
        one.calc = calculator
        thermalize_momenta(one, temperature_K=arguments.temperature, rng=np.random.default_rng(0))
        if thermostat:
            return dynamics(one, smallest, 2 * arguments.picoseconds, arguments.temperature, step, True)
        before = dynamics(one, smallest, 1.0, arguments.temperature, step, True)
        after = dynamics(one, smallest, arguments.picoseconds, arguments.temperature, step, False)
        return after | {"failure": before["failure"] or after["failure"]}

    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "dimers": lambda: dimers(numbers, calculator),
        "relaxations": lambda: relaxations(splits.test, calculator, arguments.relaxations),
        "nve": lambda: moving(False),
        "langevin": lambda: moving(True),
    }
    path = arguments.output / f"stability-{arguments.name}.json"
    for part, computed in parts.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # dimers are closer than anything that was trained
            record[part] = computed()
        print(time.strftime("%H:%M:%S"), part, record[part], flush=True)
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
