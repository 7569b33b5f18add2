"""Fine-tuning: training that begins with the weights of a trained model."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from gemnet_blocks.data.options import located
from gemnet_blocks.data.trained_frames import TrainedFrames
from gemnet_blocks.errors import SpecError, StateError, first_few
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.potential.model_file import load_potential, misfits, model_path
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.spec.build import build_shapes
from gemnet_blocks.spec.document import entries
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.training.options import TrainingConfig


@dataclass(frozen=True, slots=True)
class Source:
    """The model file whose weights training begins with.

    Attributes:
        path: the absolute path of the file.
        sha256: the hash of its content.
        frames: the record of its training structures, as `TrainedFrames.to_text` returns it; None without a record.
    """

    path: str
    sha256: str
    frames: str | None = None

    @classmethod
    def of(cls, config: TrainingConfig) -> Source | None:
        """The model file that a config names; None if training begins with random weights.

        Raises:
            SpecError: the file or folder is missing, the folder has no model, or the file cannot be read.
        """
        if config.training.start_from is None:
            return None
        place = located(config.training.start_from, config.folder)
        path = model_path(place)
        try:
            content = path.read_bytes()
        except OSError as error:
            reason = "is a folder without best.safetensors and last.safetensors" if place.is_dir() else error.strerror
            raise SpecError(
                f"training.start_from: expected a model file, or the folder of a run with one; {place}: {reason}"
            ) from error
        return cls(str(path.resolve()), hashlib.sha256(content).hexdigest())

    @classmethod
    def of_resumed(cls, saved: Mapping[str, Any], config: TrainingConfig, checkpoint: Path) -> Source | None:
        """The model file that a resumed run began with, which may have been removed.

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
            StateError: the file is not a model file, or is damaged.
            SpecError: the model of the file cannot be built.
        """
        try:
            return load_potential(self.path, extra=spec.catalog.extra, allow_imports=spec.catalog.allow_imports)
        except StateError as error:
            raise StateError(f"training.start_from: {error}") from error

    def with_frames_of(self, trained: Potential) -> Source:
        """Keep the record of the structures that the model was trained on."""
        return replace(self, frames=None if trained.frames is None else trained.frames.to_text())

    def check_fit(self, trained: Potential, model: GemNet, spec: Spec) -> None:
        """Check that the weights of the trained model fit a model of a spec.

        Raises:
            SpecError: weights are missing, unexpected or of other shapes; lists them.
        """
        places = model.state_dict()
        if problems := misfits(places, trained.model.state_dict(), places):
            raise SpecError(
                f"training.start_from: the weights of {self.path} do not fit `model`: {problems}. Give `model` the "
                f"architecture of that file, from which it differs in {_differing(trained.spec, spec)}"
            )

    def fill(self, trained: Potential, model: GemNet, spec: Spec, elements: frozenset[int]) -> None:
        """Load the weights into a model, which keeps its floating-point type.

        Warnings name differences of the specs, and elements that the trained model was not trained on.

        Args:
            trained: the trained model.
            model: the model whose weights are set.
            spec: the spec of that model.
            elements: atomic numbers in the data.

        Raises:
            SpecError: weights are missing, unexpected or of other shapes; lists them.
        """
        self.check_fit(trained, model, spec)
        model.load_state_dict(trained.model.state_dict())
        if differing := _differing(trained.spec, spec):
            warnings.warn(
                f"training.start_from: the weights of {self.path} fit, but were trained with another `model`, which "
                f"differs in {differing}",
                stacklevel=2,
            )
        seen = trained.references.per_element.keys()
        if seen and (unknown := sorted(elements - seen)):
            symbols = ", ".join(chemical_symbols[number] for number in unknown)
            warnings.warn(
                f"training.start_from: {self.path} was trained without {symbols}: its embeddings of these elements "
                "are random",
                stacklevel=2,
            )


def check_start(config: TrainingConfig) -> None:
    """Check that the weights that training begins with fit the model, without building it in memory.

    Raises:
        SpecError: the file is missing, or its weights do not fit.
        StateError: the file is not a model file, or is damaged.
    """
    source = Source.of(config)
    if source is not None:
        source.check_fit(source.trained(config.model), build_shapes(config.model), config.model)


def _differing(there: Spec, here: Spec) -> str:
    one, other = dict(entries(there.to_dict())), dict(entries(here.to_dict()))
    return first_few([name for name in dict.fromkeys((*other, *one)) if one.get(name) != other.get(name)], 10, ", ")
