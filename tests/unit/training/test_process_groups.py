from __future__ import annotations

import pytest
import torch

from gemnet_blocks.training.distributed import Processes

SLURM = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Processes(0, 1, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, Processes(1, 2, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, Processes(3, 8, 2)),
        (SLURM, Processes(5, 8, 2)),
        ({**SLURM, "SLURM_JOB_NAME": "bash"}, Processes(0, 1, 1)),
        ({**SLURM, "RANK": "0", "WORLD_SIZE": "1"}, Processes(0, 1, 1)),
    ],
)
def test_environments_of_launchers(environment: dict[str, str], expected: Processes) -> None:
    assert Processes.of_environment(environment) == expected


def test_processes_per_machine() -> None:
    assert Processes(3, 8, 2).per_node == 4


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Processes(5, 8, 2).device("auto") == torch.device("cuda", 1)
    assert Processes(5, 8, 2).device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Processes(5, 8, 2).device("auto") == torch.device("cpu")
