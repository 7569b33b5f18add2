from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gemnet_blocks.checkpoints import read_scale_file
from gemnet_blocks.checkpoints.checkpoint_file import read_checkpoint
from gemnet_blocks.errors import StateError
from gemnet_blocks.training.checkpoints import read_checkpoint as read_training_checkpoint


@pytest.mark.parametrize("read", [read_checkpoint, read_scale_file, read_training_checkpoint])
@pytest.mark.parametrize("version", ["2.4.1", "2.5.1+cu124", "2.9.1+cpu"])
def test_a_torch_that_may_run_code_of_a_file_does_not_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read, version: str
) -> None:
    torch.save({"scale": torch.tensor(1.0)}, tmp_path / "file.pt")
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(StateError, match=r"file.pt: .* needs torch 2.10 or newer, and torch 2\..* is installed"):
        read(tmp_path / "file.pt")


@pytest.mark.parametrize("version", ["2.10.0", "2.13.0+cpu", "3.0"])
def test_a_torch_without_this_fault_reads_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    torch.save({"scale": torch.tensor(1.0)}, tmp_path / "file.pt")
    monkeypatch.setattr(torch, "__version__", version)
    assert read_scale_file(tmp_path / "file.pt") == {"scale": 1.0}
