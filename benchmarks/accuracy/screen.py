"""Train short runs that differ in one or a few settings, and record their validation errors.

    python benchmarks/accuracy/screen.py ethanol-950 --data FOLDER --minutes 2
        --run 'edge 64: model.sizes.edge=64' --run 'rate 2e-3: optimizer.learning_rate=2e-3'

Each run is one of the configs with changes, for the same processor time, or for the steps that its changes contain, and
with the schedule to its end. Errors are those of validation frames, which are taken from the training file; test sets
are not read. Writes one row per run to results/screen.csv.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path
from typing import Any

from gemnet_blocks.data.opening import open_data
from gemnet_blocks.evaluation.evaluate import evaluate
from gemnet_blocks.potential.model_file import load_potential
from gemnet_blocks.spec.resolve import parse_assignment
from gemnet_blocks.training import load_config, train

FOLDER = Path(__file__).parent

HELD_OUT = {"ethanol-950": (800, 200), "aspirin-950": (800, 200), "acac": (400, 100), "mlearn-si": (174, 40)}
"""Numbers of training and validation frames; the frames are the same for all seeds."""

COLUMNS = ("data", "run", "seed", "minutes", "steps", "parameters", "force_mae", "energy_mae_per_atom", "changes")
"""Columns of the table; errors in meV/Å and meV."""


def screened(name: str, changes: dict[str, Any], minutes: float, seed: int, data: Path) -> dict[str, Any]:
    """Train a config with changes and return its validation errors in meV.

    Args:
        name: the config.
        changes: new values by dotted path.
        minutes: the processor time.
        seed: the seed of weights and batches.
        data: the data folder.
    """
    count, held_out = HELD_OUT[name]
    patches = {
        "data.test": None,
        "data.leakage": "drop",  # of training frames that are validation frames, rotated or shifted
        "data.split.train": count,
        "data.split.validation": held_out,
        "training.steps": None,
        "training.minutes": minutes,
        "training.clock": "processor",
        "training.seed": seed,
        "training.validate_every": {"epochs": 100000},
        "training.log": {"every": 1000, "tensorboard": False, "progress": False},
        **changes,
    }
    config = load_config(FOLDER / "configs" / f"{name}.yaml", patches).in_folder(data)
    with tempfile.TemporaryDirectory() as folder:
        potential = load_potential(train(config, Path(folder) / "run"))
    validation = open_data(config.data, config.folder).validation
    assert validation is not None
    errors = evaluate(potential, validation, allow_overlap=True).errors
    assert errors.forces_mae is not None
    assert errors.energy_mae_per_atom is not None
    return {
        "steps": potential.record["step"],
        "parameters": sum(weight.numel() for weight in potential.model.parameters()),
        "force_mae": round(1000 * errors.forces_mae, 2),
        "energy_mae_per_atom": round(1000 * errors.energy_mae_per_atom, 3),
    }


def main() -> None:
    """Train all runs, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(HELD_OUT))
    parser.add_argument("--data", type=Path, required=True, help="data folder")
    parser.add_argument("--minutes", type=float, default=3.0, help="processor time of each run")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and batches")
    parser.add_argument("--set", action="append", default=[], help="change of all runs: path=value; repeatable")
    parser.add_argument("--run", action="append", default=[], help="'title: path=value path=value'; repeatable")
    parser.add_argument("--output", type=Path, default=FOLDER / "results" / "screen.csv", help="table of results")
    arguments = parser.parse_args()
    for run in arguments.run or ["as it is:"]:
        title, _, own = run.partition(":")
        changes = [*arguments.set, *own.split()]
        row: dict[str, Any] = {
            "data": arguments.name,
            "run": title,
            "seed": arguments.seed,
            "minutes": arguments.minutes,
        }
        patches = dict(map(parse_assignment, changes))
        if "training.steps" in patches:
            patches["training.minutes"] = row["minutes"] = None
        row |= screened(arguments.name, patches, arguments.minutes, arguments.seed, arguments.data)
        row["changes"] = " ".join(changes)
        new = not arguments.output.exists()
        with arguments.output.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(time.strftime("%H:%M:%S"), row, flush=True)


if __name__ == "__main__":
    main()
