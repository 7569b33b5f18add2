"""Two processes with half batches each do what one process with whole batches does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import assert_same_state, config, rows

from gemnet_blocks.potential.model_file import load_potential
from gemnet_blocks.spec.document import dump
from gemnet_blocks.training import train

SHORT: dict[str, Any] = {
    "scales": None,  # they are fitted to batches of one process
    "training": {
        "steps": 6,
        "precision": 64,
        "allow_unfitted": True,
        "validate_every": {"steps": 3},
        "log": {"every": 1},
    },
}


def start_two(folder: Path, output: Path, settings: Any) -> subprocess.Popen[str]:
    (folder / "two.yaml").write_text(dump(settings.to_dict()))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "gemnet_blocks.cli"]
    command += ["train", "two.yaml", "--output", str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run_two(folder: Path, output: Path, settings: Any) -> None:
    process = start_two(folder, output, settings)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]


def assert_close_rows(one: Path, other: Path) -> None:
    first, second = rows(one), rows(other)
    assert len(first) == len(second) > 0
    for mine, theirs in zip(first, second, strict=True):
        for name, value in mine.items():
            if name != "epoch":
                assert (float(value) if value else 0) == pytest.approx(
                    float(theirs[name]) if theirs[name] else 0, rel=1e-5
                ), name


@pytest.mark.slow
def test_two_processes_equal_one_with_double_batches(tmp_path: Path) -> None:
    loss = {"forces": {"type": "rmse", "atoms": "free"}}
    halves = config(tmp_path, **SHORT, loss=loss, data={"batch": {"structures": 2}})
    run_two(tmp_path, tmp_path / "two", halves)
    train(config(tmp_path, **SHORT, loss=loss, data={"batch": {"structures": 4}}), tmp_path / "one")
    assert_close_rows(tmp_path / "one", tmp_path / "two")
    one, two = (load_potential(tmp_path / name / "last.safetensors").state_dict() for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_two_processes_resume_after_an_interruption(tmp_path: Path) -> None:
    settings = config(tmp_path, data={"batch": {"structures": 2}})
    run_two(tmp_path, tmp_path / "whole", settings)
    process = start_two(tmp_path, tmp_path / "stopped", settings)
    deadline = time.monotonic() + 120
    log = tmp_path / "stopped" / "log.csv"
    while not (log.exists() and len(log.read_text().splitlines()) > 3):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=60)
    assert "run the same command again to resume" in told
    assert len(rows(tmp_path / "stopped")) < len(rows(tmp_path / "whole"))
    run_two(tmp_path, tmp_path / "stopped", settings)
    assert_same_state(tmp_path / "whole", tmp_path / "stopped")
