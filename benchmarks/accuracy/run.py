"""Train a model with one of the configs on real data, test it, and record the results.

    python benchmarks/accuracy/run.py ethanol-950 --data ../shared/data [--minutes 110] [--set training.seed=1]

Paths in configs are relative to the data folder. If a run is interrupted, run the same command again to resume. Writes
results/NAME.json (errors, config, versions, time), results/NAME.csv (the log) and results/NAME.png (parity plot). The
model and all other files stay in runs/NAME.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from results import machine  # noqa: E402

from gemnet_blocks.cli.tables import console  # noqa: E402
from gemnet_blocks.data.dataset import LabelledDataset, Subset  # noqa: E402
from gemnet_blocks.data.opening import DataSplits, open_data  # noqa: E402
from gemnet_blocks.evaluation.evaluate import Evaluation, evaluate  # noqa: E402
from gemnet_blocks.evaluation.report import (  # noqa: E402
    parts_table,
    plot_parity,
    summary_table,
)
from gemnet_blocks.potential import Potential  # noqa: E402
from gemnet_blocks.potential.model_file import load_potential  # noqa: E402
from gemnet_blocks.spec.resolve import parse_assignment  # noqa: E402
from gemnet_blocks.structures import AtomChoice  # noqa: E402
from gemnet_blocks.training import TrainingConfig, load_config, train  # noqa: E402

PARTS = ("molecule", "crystal", "slab")
"""Names of architecture files in the folder of configs."""

NAMES = sorted(path.stem for path in (FOLDER / "configs").glob("*.yaml") if path.stem not in PARTS)

SAME_ENERGY = 1e-4
"""Energy difference in eV below which frames are considered identical."""


def repeated(test: LabelledDataset, splits: DataSplits) -> np.ndarray:
    """Return a mask of test frames with the same composition and energy as a training or validation frame.

    The mask is meaningful only for small sets of crystals: among a thousand frames of a molecule, some have the same
    energy by coincidence.
    """
    known: dict[str, list[float]] = {}
    for part in (splits.train, splits.validation):
        for index in range(len(part) if part is not None else 0):
            known.setdefault(part.value(index, "formula"), []).append(_energy(part, index))
    return np.array(
        [
            bool(
                np.any(np.abs(np.array(known.get(test.value(i, "formula"), [np.inf])) - _energy(test, i)) < SAME_ENERGY)
            )
            for i in range(len(test))
        ]
    )


def _energy(dataset: LabelledDataset, index: int) -> float:
    energy = dataset[index].energy
    assert energy is not None
    return float(energy)


def tested(
    potential: Potential, splits: DataSplits, atoms: AtomChoice, group: str | None, repeats: bool
) -> dict[str, Evaluation]:
    """Evaluate the potential on the test set.

    Args:
        potential: the potential to test.
        splits: the data.
        atoms: atoms whose forces are evaluated.
        group: key by which errors are also reported in groups.
        repeats: also report errors without the test frames that repeat training frames.
    """
    test = splits.test
    assert test is not None, "expected a config with a test set"
    groups = None if group is None else test.groups(group, "([^_]+)")
    found = {"test": evaluate(potential, test, groups=groups, atoms=atoms, keep_atoms=True, allow_overlap=True)}
    if repeats:
        new = np.flatnonzero(~repeated(test, splits))
        found["test without repeated frames"] = evaluate(potential, Subset(test, new), atoms=atoms)
    return found


def record(name: str, config: TrainingConfig, potential: Potential, found: dict[str, Evaluation]) -> dict[str, Any]:
    """Return the record of a run."""
    training = dict(potential.record)
    training.pop("config", None)
    return {
        "name": name,
        "date": time.strftime("%Y-%m-%d"),
        "setting": machine(),
        "threads": torch.get_num_threads(),
        "parameters": sum(parameter.numel() for parameter in potential.model.parameters()),
        "training": training,
        "config": config.to_dict(),
        "references": potential.references.to_dict(),
        "evaluations": {kind: evaluation.to_dict() for kind, evaluation in found.items()},
    }


def main() -> None:
    """Train, test and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--data", type=Path, required=True, help="data folder")
    parser.add_argument("--minutes", type=float, help="training time, overrides the config")
    parser.add_argument("--set", action="append", default=[], help="patch of the config: path=value; repeatable")
    parser.add_argument("--runs", type=Path, default=FOLDER / "runs", help="folder of models and checkpoints")
    parser.add_argument("--output", type=Path, default=FOLDER / "results", help="folder of the recorded results")
    arguments = parser.parse_args()
    patches = dict(map(parse_assignment, arguments.set))
    if arguments.minutes is not None:
        patches["training.minutes"] = arguments.minutes
    config = load_config(FOLDER / "configs" / f"{arguments.name}.yaml", patches).in_folder(arguments.data)
    folder = arguments.runs / arguments.name
    potential = load_potential(train(config, folder))
    splits = open_data(config.data, config.folder)
    slabs = arguments.name.startswith("cu3x")
    repeats = arguments.name.startswith("mlearn")
    found = tested(potential, splits, "free" if slabs else "all", "name" if slabs else None, repeats)
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / f"{arguments.name}.json"
    content = json.dumps(record(arguments.name, config, potential, found), indent=1, ensure_ascii=False)
    path.write_text(content + "\n", encoding="utf-8")
    shutil.copyfile(folder / "log.csv", path.with_suffix(".csv"))
    plot_parity(found["test"], path.with_suffix(".png"))
    for kind, evaluation in found.items():
        console.print(kind)
        console.print(summary_table(evaluation))
        if evaluation.groups:
            console.print(parts_table(evaluation, "group"))
    console.print(f"written: {path}")


if __name__ == "__main__":
    main()
