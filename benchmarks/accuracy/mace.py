"""Train MACE on the data of a config, for the same processor time, and record its test errors.

    python benchmarks/accuracy/mace.py ethanol-950-30 --data FOLDER --environment FOLDER [--set '--lr 0.005']

`--environment` is a virtual environment with mace-torch (0.3.16 was used). Training, validation and test frames and the
processor time are those of the config. The settings are those of MACE's README for a small model: 64 scalars and 64
vectors, 5 Å, a learning rate of 0.01 with an exponential moving average, and a second stage with large energy weights
and a small learning rate in the last quarter. The time of two short runs gives the number of epochs that fill the
budget, so that the schedule ends with it. Writes results/mace-NAME.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from results import machine  # noqa: E402

from gemnet_blocks.data.dataset import LabelledDataset  # noqa: E402
from gemnet_blocks.data.opening import open_data  # noqa: E402
from gemnet_blocks.structures import to_ase  # noqa: E402
from gemnet_blocks.training import load_config  # noqa: E402

SETTINGS: dict[str, Any] = {
    "model": "MACE",
    "num_channels": 64,
    "max_L": 1,
    "r_max": 5.0,
    "E0s": "average",
    "batch_size": 5,
    "valid_batch_size": 10,
    "lr": 0.01,
    "ema_decay": 0.99,
    "default_dtype": "float32",
    "device": "cpu",
    "seed": 0,
    "energy_key": "REF_energy",
    "forces_key": "REF_forces",
    "plot": False,
}
"""Arguments of `mace_run_train`; flags follow in `FLAGS`."""

FLAGS = ("--ema", "--amsgrad")

STAGE_TWO = 0.75
"""The fraction of the epochs after which the second stage begins; MACE's documentation suggests 0.75 to 0.8."""

PROBE = (1, 3)
"""Epochs of the two short runs."""


def frames(dataset: LabelledDataset) -> list[Atoms]:
    """Return the structures of a set with their labels, in eV and Å."""
    made = []
    for index in range(len(dataset)):
        one = dataset[index]
        (atoms,) = to_ase(one.structures)
        assert one.energy is not None
        assert one.forces is not None
        atoms.info["REF_energy"] = float(one.energy)
        atoms.arrays["REF_forces"] = one.forces.numpy().astype(float)
        made.append(atoms)
    return made


def trained(environment: Path, folder: Path, epochs: int, own: Sequence[str]) -> float:
    """Train for a number of epochs and return the processor time in seconds."""
    arguments = [f"--{name}={value}" for name, value in SETTINGS.items()]
    arguments += [*FLAGS, f"--max_num_epochs={epochs}", f"--work_dir={folder}", "--name=mace"]
    arguments += [f"--train_file={folder.parent / 'train.xyz'}", f"--valid_file={folder.parent / 'valid.xyz'}"]
    if epochs > max(PROBE):
        arguments += ["--swa", f"--start_swa={round(STAGE_TWO * epochs)}"]
    return _run(environment / "bin" / "mace_run_train", [*arguments, *own])


def _run(program: Path, arguments: Sequence[str]) -> float:
    before = _processor_time()
    # e3nn 0.4.4 reads its own constants in a way that torch refuses by default
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    result = subprocess.run([program, *arguments], env=surroundings, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{program.name} ended with {result.returncode}:\n{result.stderr[-3000:]}")
    return _processor_time() - before


def _processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def tested(environment: Path, model: Path, test: Path) -> dict[str, float]:
    """Return the test errors of a model in eV and Å."""
    output = model.with_suffix(".xyz")
    _run(
        environment / "bin" / "mace_eval_configs",
        [f"--configs={test}", f"--model={model}", f"--output={output}", "--device=cpu", "--default_dtype=float32"],
    )
    energy, per_atom, forces = [], [], []
    for atoms in ase.io.read(output, ":"):
        error = atoms.info["MACE_energy"] - atoms.info["REF_energy"]
        energy.append(error)
        per_atom.append(error / len(atoms))
        forces.append((atoms.arrays["MACE_forces"] - atoms.arrays["REF_forces"]).ravel())
    joined = np.concatenate(forces)
    return {
        "structures": len(energy),
        "energy_mae": float(np.abs(energy).mean()),
        "energy_mae_per_atom": float(np.abs(per_atom).mean()),
        "forces_mae": float(np.abs(joined).mean()),
        "forces_rmse": float(np.sqrt((joined**2).mean())),
    }


def main() -> None:
    """Train, test and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="config whose data and budget are used")
    parser.add_argument("--data", type=Path, required=True, help="data folder")
    parser.add_argument("--environment", type=Path, required=True, help="virtual environment with mace-torch")
    parser.add_argument("--set", default="", help="further arguments of mace_run_train")
    parser.add_argument("--output", type=Path, default=FOLDER / "results", help="folder of the recorded results")
    arguments = parser.parse_args()
    environment, own = arguments.environment.absolute(), shlex.split(arguments.set)
    config = load_config(FOLDER / "configs" / f"{arguments.name}.yaml").in_folder(arguments.data)
    minutes = config.training.minutes
    assert minutes is not None, "expected a config with a budget of minutes"
    splits = open_data(config.data, config.folder)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for part, dataset in (("train", splits.train), ("valid", splits.validation), ("test", splits.test)):
            assert dataset is not None, f"expected a config with a {part} set"
            ase.io.write(folder / f"{part}.xyz", frames(dataset), format="extxyz")
        few, more = (trained(environment, folder / f"probe-{epochs}", epochs, own) for epochs in PROBE)
        per_epoch = (more - few) / (PROBE[1] - PROBE[0])
        epochs = max(max(PROBE) + 1, round((60 * minutes - (few - PROBE[0] * per_epoch)) / per_epoch))
        print(time.strftime("%H:%M:%S"), f"{per_epoch:.1f} s per epoch, {epochs} epochs", flush=True)
        seconds = trained(environment, folder / "run", epochs, own)
        log = next((folder / "run").rglob("*_train.txt")).read_text(encoding="utf-8")
        models = {"stage one": folder / "run" / "mace.model", "stage two": folder / "run" / "mace_stagetwo.model"}
        found = {stage: tested(environment, path, folder / "test.xyz") for stage, path in models.items()}
    record = {
        "name": arguments.name,
        "date": time.strftime("%Y-%m-%d"),
        "setting": machine(),
        "minutes": minutes,
        "processor_seconds": round(seconds),
        "epochs": epochs,
        "settings": {**SETTINGS, "flags": list(FLAGS), "stage_two": STAGE_TWO, "own": own},
        "log": [json.loads(line) for line in log.splitlines() if '"eval"' in line],
        "errors": found,
    }
    path = arguments.output / f"mace-{arguments.name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for stage, errors in found.items():
        print(f"{stage}: {1000 * errors['forces_mae']:.1f} meV/Å, {1000 * errors['energy_mae']:.2f} meV")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
