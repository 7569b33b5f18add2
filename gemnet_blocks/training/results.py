"""The folder of a run: its log, its models and the record of their training."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemnet_blocks.data.trained_frames import TrainedFrames
from gemnet_blocks.potential.model_file import save_potential
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.potential.references import References
from gemnet_blocks.training.logs import TrainingLog, units
from gemnet_blocks.training.losses import in_log_units
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.starting import Source
from gemnet_blocks.training.state import RunState
from gemnet_blocks.util.version import LIBRARY_VERSION


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a run.

    Attributes:
        folder: the folder of the run.
        config: the config of the run.
        references: atomic reference energies and energy scale of the model.
        data_report: the report on the data.
        data_digest: the hash of the data.
        processes: the number of processes.
        frames: hashes of the training and validation structures.
        source: the model whose weights training began with; None: random weights.
    """

    folder: Path
    config: TrainingConfig
    references: References
    data_report: str
    data_digest: str
    processes: int
    frames: TrainedFrames
    source: Source | None

    def columns(self, metrics: list[str], validates: bool) -> list[str]:
        """The columns of the log besides the step."""
        named = list(in_log_units(dict.fromkeys(metrics, 0.0)))
        validation = [f"validation_{name}" for name in named] if validates else []
        return ["epoch", "seconds", "learning_rate", "gradient_norm", *named, *validation]

    def open_log(self, columns: list[str], step: int) -> TrainingLog:
        """Open the log, which continues after a step."""
        tensorboard = self.config.training.log.tensorboard
        tensorboard &= all(one.type != "tensorboard" for one in self.config.loggers)  # which writes the same folder
        return TrainingLog(self.folder, columns, step, tensorboard)

    def hyperparameters(self, columns: list[str]) -> dict[str, Any]:
        """Config, spec and the units of what is logged, as plain data for loggers."""
        config = self.config.to_dict()
        return {
            "spec": config.pop("model"),
            "content_hash": self.config.model.content_hash,
            "config": config,
            "units": units(columns),
        }

    def path(self, name: str) -> Path:
        """The path of the model file `best`, by validation loss, or `last`."""
        return self.folder / f"{name}.safetensors"

    def save(self, name: str, potential: Potential, state: RunState) -> Path:
        """Write a model file with the record of its training."""
        record = self.record(state)
        saved = Potential(potential.model, potential.spec, self.references, record, self.frames)
        save_potential(saved, self.path(name))
        return self.path(name)

    def record(self, state: RunState) -> dict[str, Any]:
        """The record of a model's training, as JSON can hold it."""
        import lightning
        import torch

        validations = state.validations
        best = min(validations, key=lambda one: one["loss"], default=None)
        return {
            "config": self.config.to_dict(),
            "versions": {
                "gemnet_blocks": LIBRARY_VERSION,
                "torch": torch.__version__,
                "lightning": lightning.__version__,
                "python": platform.python_version(),
            },
            "machine": {"processes": self.processes, "threads": torch.get_num_threads(), "cpu": platform.machine()},
            "data": self.data_report,
            "start_from": self.source and self.source.record(self.config),
            "step": state.step,
            "epochs": state.place.epoch + state.place.index / state.place.count,
            "seconds": state.seconds,
            "validations": len(validations),
            "best_validation": best,
            "last_validation": validations[-1] if validations else None,
        }
