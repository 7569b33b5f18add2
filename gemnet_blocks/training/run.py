"""Training runs with Lightning: preparation, execution and results."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.data.trained_frames import TrainedFrames
from gemnet_blocks.errors import SpecError, StateError
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec.document import dump
from gemnet_blocks.spec.versions import VERSION
from gemnet_blocks.training.callback import TrainingCallback
from gemnet_blocks.training.checkpoint_io import SafeCheckpointIO
from gemnet_blocks.training.checkpoints import (
    CHANGEABLE,
    CHECKED,
    FILE,
    KEY,
    check_same,
    check_same_data,
    config_of,
    read_checkpoint,
)
from gemnet_blocks.training.data_stream import BatchLoader, TrainingStream, open_parts
from gemnet_blocks.training.distributed import Processes
from gemnet_blocks.training.earlier import CONFIG, HEADING, set_aside
from gemnet_blocks.training.ema import MeanWeights
from gemnet_blocks.training.failures import Interrupted, NonFiniteError, write_batch
from gemnet_blocks.training.loggers import RunLoggers
from gemnet_blocks.training.module import PotentialModule
from gemnet_blocks.training.optimizer import freeze, rate_factors
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.plugins import make_callbacks
from gemnet_blocks.training.results import Results
from gemnet_blocks.training.setup import (
    check_data,
    compared_labels,
    initial_potential,
    prepare_scales,
)
from gemnet_blocks.training.starting import Source
from gemnet_blocks.training.state import ENDS
from gemnet_blocks.training.warm_start import WarmStart
from gemnet_blocks.util.files import remove_leftovers, replacing


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A run that is ready to start or resume.

    Attributes:
        module: model, loss and step.
        callback: actions around the steps.
        loader: loads the training batches.
        stream: the training batches.
        trainer: Lightning's trainer.
        checkpoint: the checkpoint to resume from; None: a new run.
    """

    module: PotentialModule
    callback: TrainingCallback
    loader: BatchLoader
    stream: TrainingStream
    trainer: Trainer
    checkpoint: Path | None

    @classmethod
    def prepared(cls, config: TrainingConfig, folder: Path, resume: bool | None) -> Run:
        """Check the config, open the data, and fit references and scale factors.

        Raises:
            SpecError, StructureError, StateError: see `gemnet_blocks.training.train`.
        """
        processes = Processes.of_environment()
        if processes.rank == 0:
            remove_leftovers(folder)
        saved = _saved(folder / FILE, config, processes.world, resume)
        source = Source.of(config) if saved is None else Source.of_resumed(saved, config, folder / FILE)
        start = None
        if saved is None and source is not None:
            start = WarmStart.of(source, config)
            source = start.source
        data = open_parts(config)
        check_data(config, data)
        if saved is not None:
            check_same_data(folder / FILE, saved.get("data", data.digest), data.digest)
        references = References.from_dict(saved["references"]) if saved else None
        spec = None if source is None else source.spec_of(config.model)
        kept = None if start is None else start.trained.references
        potential = initial_potential(config, data, references, spec, kept)
        begun = None if start is None else start.begun(potential.model, data.summaries["train"].elements)
        loader = BatchLoader(data.train, config, processes)
        if saved is None:
            prepare_scales(config, loader, potential.model.to(processes.device(config.training.device)))
        if begun is not None:
            source = begun.grafted(data.train[0].structures)
            if source.weights and processes.rank == 0 and config.training.log.progress is not False:
                print(f"training starts from {source.path}: {source.weights}", flush=True)
        freeze(potential.model, config.training.freeze)
        rate_factors(potential.model, config.optimizer)  # errors now, rather than in the first step
        frames = TrainedFrames.of(data.summaries)
        if source is not None:
            frames = source.and_its_frames(frames)
        results = Results(
            folder, config, potential.references, data.report, data.digest, processes.world, frames, source
        )
        scales = {name: one.scale for name, one in potential.references.properties.items()}
        loss = config.loss.loss(potential.references.scale, scales)
        errors = config.loss.errors(compared_labels(config, data))
        module = PotentialModule(potential, config, loss, errors)
        validation = None
        if data.validation is not None:
            validation = BatchLoader(data.validation, config, processes).validation()
        callback = _callback(results, validation, saved)
        stream = loader.training()
        stream.start = callback.state.place
        added = make_callbacks(config.callbacks)
        if processes.rank == 0:
            if saved is None:
                set_aside(folder)
            with replacing(folder / CONFIG) as temporary:
                text = HEADING + dump({"version": VERSION, **config.moved_to(folder).to_dict()})
                temporary.write_text(text, encoding="utf-8")
            callback.loggers = RunLoggers.of(config, folder, callback.state.step)
        trainer = _trainer(config, callback, added, processes)
        return cls(module, callback, loader, stream, trainer, folder / FILE if saved else None)

    def completed(self) -> Path:
        """Train to the end; returns the model file.

        Raises:
            Interrupted: a signal stopped training.
            StateError: a loss or gradient is not finite, or a file cannot be written.
        """
        results, callback = self.callback.results, self.callback
        if not callback.state.finished:
            try:
                try:
                    self.trainer.fit(self.module, self.stream, ckpt_path=self.checkpoint)
                finally:
                    callback.close()
                    callback.loggers.close()
            except OSError as error:
                reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
                raise StateError(f"{reason}. {_state_of(results.folder / FILE)}") from error
            except NonFiniteError as error:
                path = results.folder / f"not-finite-{self.trainer.global_rank}.extxyz"
                places = self.loader.places(error.place)
                write_batch(error.batch, places, path)
                raise error.saved(path, places, _state_of(results.folder / FILE)) from None
            if not callback.state.finished:
                raise Interrupted(callback.state.step, results.folder, callback.signal or signal.SIGTERM)
        best = results.path("best")
        return best if best.is_file() and callback.state.validations else results.path("last")


def _state_of(checkpoint: Path) -> str:
    if not checkpoint.is_file():
        return "No checkpoint was written yet."
    return f"The last good state, of step {read_checkpoint(checkpoint)[KEY]['state']['step']}, is in {checkpoint}."


def _saved(path: Path, config: TrainingConfig, world: int, resume: bool | None) -> dict[str, Any] | None:
    """This library's part of the checkpoint to resume from; None for a new run."""
    if path.is_dir():
        raise StateError(f"{path}: expected a checkpoint, found a folder: remove it, or choose another output")
    if not path.is_file():
        if resume:
            raise SpecError(f"{path}: there is no checkpoint to resume from: run without --resume to start")
        return None
    if resume is False:
        raise SpecError(f"{path}: there is a checkpoint already: resume from it, or choose another output folder")
    saved: dict[str, Any] = read_checkpoint(path)[KEY]
    now = {**config.to_dict(), "processes": world}
    before = config_of(path, saved["config"], config.model.catalog).to_dict()
    ends = tuple(f"training.{name}" for name in ENDS)
    # the first version did not store the hash of the data
    checked = CHECKED if "data" in saved else ("training.start_from",)
    check_same(path, {**before, "processes": saved["processes"]}, now, CHANGEABLE + ends + checked)
    return {**saved, "config": before}


def _callback(
    results: Results, validation: Callable[[], Iterable[LabelledStructures]] | None, saved: dict[str, Any] | None
) -> TrainingCallback:
    decay = results.config.training.ema
    return TrainingCallback(results, validation, None if decay is None else MeanWeights(decay), saved)


def _trainer(
    config: TrainingConfig, callback: TrainingCallback, added: Sequence[Callback], processes: Processes
) -> Trainer:
    """Lightning's trainer, without validation, checkpoints and stopping, which our callback does after all others."""
    options = config.training
    plugins: list[Any] = [SafeCheckpointIO()]
    if SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # the callback saves the state on Slurm's signal
    device = processes.device(options.device).type
    precision: str | None = {"32": "32-true", "64": "64-true"}.get(options.precision, options.precision)
    if options.precision == "16-mixed":
        # the scaler skips steps whose gradients overflow; its state is part of checkpoints
        plugins.append(MixedPrecision("16-mixed", device, torch.amp.GradScaler(device)))
        precision = None
    # some weights get no gradient, such as that of the energy's mean where only forces are trained
    strategy: Any = DDPStrategy(find_unused_parameters=True) if processes.world > 1 else "auto"
    return Trainer(
        accelerator=device,
        devices=processes.per_node,
        num_nodes=processes.nodes,
        strategy=strategy,
        precision=precision,  # type: ignore[arg-type]
        callbacks=[*added, *(one for one in (callback.mean, callback) if one is not None)],
        plugins=plugins,
        max_epochs=-1,
        limit_val_batches=0,
        # processes without logs have loggers, too, which callbacks may ask for
        logger=callback.loggers.loggers or [DummyLogger() for _ in config.loggers],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        deterministic=options.deterministic,
        default_root_dir=callback.results.folder,
    )
