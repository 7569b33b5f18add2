"""Training in float16, on a CPU here: gradients are scaled, and steps whose gradients overflow are skipped."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.amp.grad_scaler import GradScaler
from training_runs import config, rows

from gemnet_blocks.errors import StateError
from gemnet_blocks.potential.model_file import load_potential
from gemnet_blocks.training import train
from gemnet_blocks.training.checkpoints import FILE, KEY, read_checkpoint
from gemnet_blocks.training.data_stream import StreamPosition, open_parts
from gemnet_blocks.training.ema import MeanWeights
from gemnet_blocks.training.module import PotentialModule
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.setup import initial_potential
from gemnet_blocks.training.state import StepReport

STEPS = 4
LARGEST_SCALE = 2.0**24
"""A scale at which the first gradients overflow."""


def train_on_cpu(config: TrainingConfig, output: Path, scale: float = LARGEST_SCALE) -> None:
    """Train in float16 on a CPU, where it is slow and therefore refused otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gemnet_blocks.training.launch.check_machine", lambda config: None)
        patch.setattr(torch.amp, "GradScaler", partial(GradScaler, init_scale=scale))
        train(config, output)


def settings(folder: Path, steps: int = STEPS) -> TrainingConfig:
    training = {
        "precision": "16-mixed",
        "deterministic": False,
        "steps": steps,
        "log": {"every": 1, "tensorboard": False},
        "checkpoint": {"steps": 1, "minutes": None},
        "validate_every": {"steps": 2},
    }
    schedule = {"type": "constant", "warmup": 4}
    return config(folder, training=training, schedule=schedule)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, and in `whole` the results of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("float16")
    train_on_cpu(settings(folder), folder / "whole")
    return folder


def test_skipped_steps_count_neither_as_steps_nor_for_the_schedule(folder: Path) -> None:
    checkpoint = read_checkpoint(folder / "whole" / FILE)
    skipped = checkpoint["global_step"] - checkpoint[KEY]["state"]["step"]
    assert skipped > 0
    assert checkpoint["MixedPrecision"]["scale"] == LARGEST_SCALE / 2**skipped
    log = rows(folder / "whole")
    assert [row["step"] for row in log] == [str(step) for step in range(1, STEPS + 1)]
    assert [float(row["learning_rate"]) for row in log] == pytest.approx([0.25e-2, 0.5e-2, 0.75e-2, 1e-2])
    # gradients are clipped and logged without their scale
    assert all(float(row["gradient_norm"]) < 1e4 for row in log)


def test_resumed_runs_continue_with_the_same_scale_and_weights(folder: Path) -> None:
    for steps in (2, STEPS):
        train_on_cpu(settings(folder, steps), folder / "parts")
    whole, parts = (read_checkpoint(folder / name / FILE) for name in ("whole", "parts"))
    assert whole["MixedPrecision"] == parts["MixedPrecision"]
    assert whole["global_step"] == parts["global_step"]
    models = [load_potential(folder / name / "last.safetensors").state_dict() for name in ("whole", "parts")]
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())


def test_gradients_that_overflow_at_every_scale_stop_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(module: PotentialModule) -> None:
        next(weight.grad for weight in module.parameters() if weight.grad is not None).fill_(torch.inf)

    monkeypatch.setattr(PotentialModule, "on_after_backward", spoil)
    with pytest.raises(StateError, match="step 1: the gradient is inf"):
        train_on_cpu(settings(tmp_path), tmp_path / "run", scale=2.0)


def test_skipped_steps_leave_the_mean_of_the_weights_unchanged(folder: Path) -> None:
    chosen = settings(folder)
    potential = initial_potential(chosen, open_parts(chosen), None)
    module = PotentialModule(potential, chosen, chosen.loss.loss(1.0), chosen.loss.errors(frozenset()))
    mean = MeanWeights(0.9)
    mean._means, mean._weights = [torch.zeros(1)], [torch.ones(1)]
    report = StepReport(StreamPosition(), 1.0, (), (), 0.0, False, torch.inf, 0.1)
    for step, skipped, expected in ((1, True, 0.0), (2, False, 1 - mean.kept(1))):
        module.report, module.skipped = replace(report, skipped=skipped), 1
        mean.on_train_batch_end(SimpleNamespace(global_step=step), module, None, None, 0)  # type: ignore[arg-type]
        assert mean._means[0].item() == pytest.approx(expected)
