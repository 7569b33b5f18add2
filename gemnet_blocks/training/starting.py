"""Fine-tuning: training that begins with the weights of a trained model."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gemnet_blocks.data.options import located
from gemnet_blocks.data.trained_frames import TrainedFrames
from gemnet_blocks.errors import SpecError, StateError
from gemnet_blocks.potential.model_file import load_potential, model_path
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.spec.document import Document
from gemnet_blocks.spec.resolve import Spec, validate
from gemnet_blocks.training.checkpoints import FILE, potential_of_checkpoint
from gemnet_blocks.training.options import TrainingConfig


@dataclass(frozen=True, slots=True)
class Source:
    """The model file or checkpoint whose weights training begins with.

    Attributes:
        path: the absolute path of the file.
        sha256: the hash of its content.
        frames: the record of its training structures, as `TrainedFrames.to_text` returns it; None without a record.
        spec: the trained architecture as plain data, if it differs from `model` of the config in the divisors of sums.
        weights: the weights that were taken and those that are new, in words; None if all were taken.
    """

    path: str
    sha256: str
    frames: str | None = None
    spec: Mapping[str, Any] | None = None
    weights: str | None = None

    @classmethod
    def of(cls, config: TrainingConfig) -> Source | None:
        """The file that a config names; None if training begins with random weights.

        Raises:
            SpecError: the file or folder is missing, the folder has no model, or the file cannot be read.
        """
        if config.training.start_from is None:
            return None
        place = located(config.training.start_from, config.folder)
        path = model_path(place)
        if path.is_dir() and (path / FILE).is_file():  # an interrupted run without a validation
            path = path / FILE
        try:
            content = path.read_bytes()
        except OSError as error:
            without = f"is a folder without best.safetensors, last.safetensors and {FILE}"
            reason = without if place.is_dir() else error.strerror
            raise SpecError(
                f"training.start_from: expected a model file, or the folder of a run with one; {place}: {reason}"
            ) from error
        return cls(str(path.resolve()), hashlib.sha256(content).hexdigest())

    @classmethod
    def of_resumed(cls, saved: Mapping[str, Any], config: TrainingConfig, checkpoint: Path) -> Source | None:
        """The file that a resumed run began with, which may have been removed.

        Args:
            saved: this library's part of the checkpoint.
            config: the config to resume with.
            checkpoint: the path of the checkpoint, for messages.

        Raises:
            SpecError: the config names another model than the checkpoint, or only one of them names a model.
        """
        began, given = saved.get("start_from"), config.training.start_from
        before = None if began is None else cls(**began)
        if before is None or given is None:
            if before is None and given is None:
                return None
            what = f"with {before.path}" if before is not None else "with random weights"
            raise SpecError(
                f"{checkpoint}: is of a run that began {what}, but training.start_from is {given or 'null'}: change it "
                "back to resume, or choose another output folder"
            )
        try:
            now = cls.of(config)
        except SpecError:  # the file was removed and is no longer needed
            return before
        # the file that the run began with may have changed since
        if now is not None and now.path != before.path and now.sha256 != before.sha256:
            raise SpecError(
                f"{checkpoint}: is of a run that began with {before.path}, but training.start_from is {given}, "
                "another model: change it back to resume, or choose another output folder"
            )
        return before

    def and_its_frames(self, frames: TrainedFrames) -> TrainedFrames:
        """Add the structures that the model was trained on before to the record of a run."""
        return frames.and_of_source(None if self.frames is None else TrainedFrames.from_text(self.frames))

    def trained(self, spec: Spec) -> Potential:
        """Read the trained model.

        Args:
            spec: the spec of the model to train, with the custom components that the file may name.

        Raises:
            StateError: the file is neither a model file nor a checkpoint of a training run, or is damaged.
            SpecError: the model of the file cannot be built.
        """
        try:
            if zipfile.is_zipfile(self.path):
                return potential_of_checkpoint(Path(self.path), spec.catalog)
            return load_potential(self.path, extra=spec.catalog.extra, allow_imports=spec.catalog.allow_imports)
        except StateError as error:
            raise StateError(f"training.start_from: {error}") from error

    def with_frames_of(self, trained: Potential) -> Source:
        """Keep the record of the structures that the model was trained on."""
        return replace(self, frames=None if trained.frames is None else trained.frames.to_text())

    def spec_of(self, model: Spec) -> Spec:
        """Return the trained architecture: that of the config, or the one with other divisors of sums."""
        return model if self.spec is None else validate(Document(dict(self.spec)), model.catalog)

    def record(self, config: TrainingConfig) -> dict[str, Any]:
        """Return the path in a config, the hash of the file, and the new weights, for the record of a model."""
        known = {"path": config.training.start_from, "sha256": self.sha256}
        return known if self.weights is None else {**known, "weights": self.weights}
