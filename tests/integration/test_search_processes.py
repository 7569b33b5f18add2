"""A search whose driver is killed, with trainings in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from training_runs import CONFIG, write_structures

from gemnet_blocks.spec.document import dump
from gemnet_blocks.training import load_config

pytest.importorskip("optuna", reason="searches need optuna")


def write_search(folder: Path) -> None:
    write_structures(folder / "structures.xyz")
    config = yaml.safe_load(CONFIG)
    training = {key: config[key] for key in ("loss", "optimizer", "scales", "training")}
    del training["training"]["steps"]
    training["training"]["validate_every"] = {"steps": 4}
    search = {"sizes.edge": {"log": [4, 16]}, "training.learning_rate": {"log": [1.0e-4, 1.0e-1]}}
    study = {
        "base": config["model"],
        "search": search,
        "trials": 4,
        "parallel": 2,
        "pruning": {"type": "median", "startup": 1},
        "data": config["data"],
        "training": {**training, "loggers": ["csv"]},
        "budget": {"steps": 12},
    }
    (folder / "search.yaml").write_text(dump(study))


def start(folder: Path, output: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gemnet_blocks.cli", "ablate", "search.yaml", "--processes", "2"]
    return subprocess.Popen([*command, "--output", output], cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"})


def trials(folder: Path) -> list[dict[str, Any]]:
    """The trials without measured times."""
    found = json.loads((folder / "search.json").read_text())["trials"]
    return [{key: value for key, value in one.items() if key != "cost"} for one in found]


@pytest.mark.slow
def test_a_killed_driver_ends_with_the_same_trials(tmp_path: Path) -> None:
    write_search(tmp_path)
    assert start(tmp_path, "whole").wait() == 0
    killed = start(tmp_path, "parts")
    while killed.poll() is None and not list((tmp_path / "parts").glob("runs/*/*/checkpoint.ckpt")):
        time.sleep(0.1)
    killed.kill()
    killed.wait()
    assert start(tmp_path, "parts").wait() == 0
    assert trials(tmp_path / "parts") == trials(tmp_path / "whole")
    assert len(trials(tmp_path / "whole")) == 4
    best = load_config(tmp_path / "parts" / "best" / "train.yaml")
    assert best.training.steps == 12
    assert (best.folder / best.data.files[0]).exists()  # type: ignore[index]
    for run in (tmp_path / "whole" / "runs").glob("*/*"):
        assert (run / "loggers" / "csv" / "metrics.csv").exists()
