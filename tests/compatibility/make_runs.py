"""Write data, a finished and an interrupted training run, and a finished and a stopped study, with the commands."""

from __future__ import annotations

import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write
from recording import write_json

from gemnet_blocks.ablation import Study

MODEL = """\
elements: 30
sizes: {atom: 4, edge: 4, radial: 4, circular: 4, spherical: 4}
neighbors: {ties: inclusive}
graphs:
  main: {cutoff: 3.5, symmetrize: union}
  atom: {cutoff: 3.5}
bases:
  radial: {type: spherical_bessel, count: 4}
  envelope: {type: polynomial, exponent: 5}
  circular: {type: legendre, count: 3}
blocks: {count: 1, before_skip: 1, after_skip: 1, concatenation: 1, update: 1, atom: 1}
interactions:
  triplet: {down: 4, up: 4}
  atom_atom: {graph: atom, down: 4, up: 4}
read_out: {type: concatenated, layers: 1, after_atom: 1, network: 1}
heads:
  energy: {reduce: sum}
  forces: {type: gradient}
"""

DATA = """\
  files: [copper.extxyz]
  units: eV
  energy: total
  labels: [energy, forces, stress]
  split: {type: random, train: 12, validation: 4, test: 4, seed: 0}
  batch: {structures: 2}
"""

CONFIG = f"""\
model: {{extends: copper.yaml}}
data:
{DATA}  cache: neighbors
references: {{per_element: least_squares, scale: force_rms}}
scales: {{batches: 2}}
loss:
  energy: {{type: mse}}
  forces: {{type: l2mae, weight: 2, atoms: free}}
  stress: {{type: mae, weight: 0.1}}
optimizer: {{learning_rate: 1.0e-2, weight_decay: 1.0e-3}}
schedule: {{type: cosine, warmup: 3}}
training:
  epochs: 4
  seed: 3
  initial_weights: in_order
  clip: 10
  ema: 0.9
  validate_every: {{epochs: 1}}
  precision: 64
  deterministic: true
  device: cpu
  checkpoint: {{steps: 5, minutes: null}}
  log: {{every: 2, tensorboard: false}}
  execution: {{angular: factorised}}
output: finished
"""

STUDY = f"""\
title: Interactions on copper
base: copper.yaml
variants:
  no triplets: {{interactions.triplet: null}}
  explicit sums: {{execution.angular: explicit}}
seeds: 2
budget: {{steps: 12}}
primary: forces_mae
data:
{DATA}training:
  scales: {{batches: 2}}
  loss: {{energy: {{type: mse}}, forces: {{type: l2mae, weight: 2}}}}
  optimizer: {{learning_rate: 1.0e-2}}
  training:
    ema: 0.9
    validate_every: {{steps: 4}}
    precision: 64
    device: cpu
    checkpoint: {{steps: 2, minutes: null}}
    log: {{every: 1, tensorboard: false}}
    execution: {{angular: {{atom_atom: factorised}}}}
"""

ELSEWHERE = "/data/copper"
"""Where files of a study say that they were made: a place that does not exist any more, as after a move."""


def write_data(folder: Path) -> None:
    """Write the data, the spec, the training config and the study file, whose paths are relative."""
    random = np.random.default_rng(0)
    cells = []
    for index in range(20):
        atoms = bulk("Cu", cubic=True) if index % 4 == 0 else bulk("Cu") * (2, 1, 1)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.04 * random.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += 0.1 * random.normal(size=(len(atoms), 3))
        atoms.calc = EMT()
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        atoms.set_constraint(FixAtoms([0]))
        cells.append(atoms)
    for name in ("run", "study"):
        (folder / name).mkdir()
        write(folder / name / "copper.extxyz", cells)
        (folder / name / "copper.yaml").write_text(MODEL, encoding="utf-8")
    (folder / "run" / "train.yaml").write_text(CONFIG, encoding="utf-8")
    (folder / "study" / "study.yaml").write_text(STUDY, encoding="utf-8")


def write_run(folder: Path) -> None:
    """Train to the end, train and interrupt, and evaluate on the test set."""
    run = folder / "run"
    _command(run, "train", "train.yaml")
    _command(run, "evaluate", "finished/best.safetensors", "train.yaml", "--output", "errors", "--atoms")

    def in_the_middle() -> bool:
        log = run / "interrupted" / "log.csv"
        return log.is_file() and len(log.read_text().splitlines()) > 5

    _interrupted(run, in_the_middle, "train", "train.yaml", "--output", "interrupted")
    last = int((run / "interrupted" / "log.csv").read_text().splitlines()[-1].partition(",")[0])
    assert 6 < last < 22, f"interrupted at step {last} of 24: run this again"


def write_studies(folder: Path) -> None:
    """Run a study to the end, with its report, and again until its third run is interrupted."""
    study = folder / "study"
    _command(study, "ablate", "study.yaml", "--executor", "here", "--output", "finished")

    def in_the_middle() -> bool:
        logs = [path for path in (study / "stopped").rglob("log.csv") if len(path.read_text().splitlines()) > 4]
        return len(logs) == 3

    _interrupted(study, in_the_middle, "ablate", "study.yaml", "--executor", "here", "--output", "stopped")
    states = [run.status for run in Study.from_file(study / "study.yaml", folder=study / "stopped").results().runs]
    unfinished = [path.parent for path in study.rglob("checkpoint.ckpt") if not (path.parent / "result.json").exists()]
    assert states.count("done") == 2, states
    assert len(unfinished) == 1, f"{len(unfinished)} interrupted runs: run this again"
    results = Study.from_file(study / "study.yaml", folder=study / "finished").results()
    runs = {f"{run.variant} {run.seed}": {"key": run.key, "metrics": dict(run.metrics)} for run in results.runs}
    write_json(study / "runs.json", runs)
    _forget_the_machine(study)
    for path in study.rglob("result.json"):
        (path.parent / "checkpoint.ckpt").unlink()  # nothing reads them of runs that are done


def _forget_the_machine(study: Path) -> None:
    """Replace the names of this machine and of the folder, and remove locks."""
    for path in (one for one in study.rglob("*") if one.suffix in (".json", ".md", ".html")):
        text = path.read_text(encoding="utf-8").replace(str(study.resolve()), ELSEWHERE)
        path.write_text(re.sub(rf"\b{re.escape(platform.node())}\b", "workstation", text), encoding="utf-8")
    for path in (*study.rglob("*.lock"), *study.rglob("claim.json")):
        path.unlink()


def _arguments(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gemnet_blocks.cli", *arguments]


def _command(folder: Path, *arguments: str) -> None:
    """Run a command to its end."""
    subprocess.run(_arguments(*arguments), cwd=folder, check=True)


def _interrupted(folder: Path, ready: Callable[[], bool], *arguments: str) -> None:
    """Run a command and interrupt it, as with Ctrl-C, as soon as it is ready."""
    process = subprocess.Popen(_arguments(*arguments), cwd=folder)
    while not ready() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) in (130, 128 + signal.SIGINT), "ended before it was interrupted: run this again"
