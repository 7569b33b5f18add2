"""One training run: from what is prepared to what is left at the end."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.data.options import located
from gemnet_blocks.data.trained_frames import TrainedFrames
from gemnet_blocks.errors import SpecError, StateError
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec.document import dump
from gemnet_blocks.training.callback import Course
from gemnet_blocks.training.checkpoints import (
    CHANGEABLE,
    CHECKED,
    FILE,
    KEY,
    SafeCheckpointIO,
    check_same,
    check_same_data,
    config_of,
    read_checkpoint,
)
from gemnet_blocks.training.data_stream import Feed, TrainingStream, open_parts
from gemnet_blocks.training.distributed import Processes
from gemnet_blocks.training.earlier import CONFIG, HEADING, set_aside
from gemnet_blocks.training.ema import MeanWeights
from gemnet_blocks.training.extending import ENDS
from gemnet_blocks.training.failures import Interrupted, NonFiniteError, write_batch
from gemnet_blocks.training.module import PotentialModule
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.results import Results
from gemnet_blocks.training.setup import (
    check_config,
    check_data,
    check_machine,
    compared_labels,
    initial_potential,
    prepare_scales,
)
from gemnet_blocks.training.starting import Source
from gemnet_blocks.util.files import remove_leftovers, replacing
from gemnet_blocks.util.locks import only_writer_to_folder


def run(config: TrainingConfig, folder: Path, resume: bool | None) -> Path:
    """Prepare a run and complete it, as the only one that writes to its folder; see `train`."""
    with config.naming_places():
        check_config(config)
        check_machine(config)
    first = Processes.of_environment().rank == 0  # for all processes of the run
    with only_writer_to_folder(folder, "output") if first else nullcontext():
        with config.naming_places():
            prepared = Run.prepared(config, folder, resume)
        return prepared.completed()


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A run that is ready to start, or to go on.

    Attributes:
        module: model, loss and step.
        course: what happens around the steps.
        feed: makes training batches.
        stream: these batches.
        trainer: Lightning's.
        checkpoint: what it goes on from; None: it is new.
    """

    module: PotentialModule
    course: Course
    feed: Feed
    stream: TrainingStream
    trainer: Trainer
    checkpoint: Path | None

    @classmethod
    def prepared(cls, config: TrainingConfig, folder: Path, resume: bool | None) -> Run:
        """Check everything, open the data, fit references and scale factors.

        Raises:
            SpecError, StructureError, StateError: see `train`.
        """
        processes = Processes.of_environment()
        if processes.rank == 0:
            remove_leftovers(folder)
        saved = _saved(folder / FILE, config, processes.world, resume)
        source = Source.of(config) if saved is None else Source.of_resumed(saved, config, folder / FILE)
        trained = None
        if saved is None and source is not None:
            trained = source.trained(config.model)
            source = source.with_frames_of(trained)
        data = open_parts(config)
        check_data(config, data)
        if saved is not None:
            check_same_data(folder / FILE, saved.get("data", data.digest), data.digest)
        references = References.from_dict(saved["references"]) if saved else None
        potential = initial_potential(config, data, references)
        if trained is not None and source is not None:
            source.fill(trained, potential.model, config.model, data.surveys["train"].elements)
        feed = Feed(data.train, config, processes)
        if saved is None:
            prepare_scales(config, feed, potential.model.to(processes.device(config.training.device)))
        frames = TrainedFrames.of(data.surveys)
        if source is not None:
            frames = source.and_its_frames(frames)
        results = Results(
            folder, config, potential.references, data.report, data.digest, processes.world, frames, source
        )
        loss = config.loss.loss(potential.references.scale)
        errors = config.loss.errors(compared_labels(config, data))
        module = PotentialModule(potential, config, loss, errors)
        validation = None
        if data.validation is not None:
            validation = Feed(data.validation, config, processes).validation()
        course = _course(results, validation, saved)
        stream = feed.training()
        stream.start = course.state.place
        trainer = _trainer(config, course, processes)
        if processes.rank == 0:
            if saved is None:
                set_aside(folder)
            with replacing(folder / CONFIG) as temporary:
                text = HEADING + dump(config.moved_to(folder).to_dict())
                temporary.write_text(text, encoding="utf-8")
        return cls(module, course, feed, stream, trainer, folder / FILE if saved else None)

    def completed(self) -> Path:
        """Run to the end.

        Raises:
            Interrupted: by a signal.
            StateError: a loss or gradient is not finite, or a file cannot be written.
        """
        results, course = self.course.results, self.course
        if not course.state.finished:
            try:
                try:
                    self.trainer.fit(self.module, self.stream, ckpt_path=self.checkpoint)
                finally:
                    course.close()
            except OSError as error:
                reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
                raise StateError(f"{reason}. {_state_of(results.folder / FILE)}") from error
            except NonFiniteError as error:
                path = results.folder / f"not-finite-{self.trainer.global_rank}.extxyz"
                places = self.feed.places(error.place)
                write_batch(error.batch, places, path)
                raise error.saved(path, places, _state_of(results.folder / FILE)) from None
            if not course.state.finished:
                raise Interrupted(course.state.step, results.folder, course.signal or signal.SIGTERM)
        best = results.path("best")
        return best if best.is_file() and course.state.validations else results.path("last")


def _state_of(checkpoint: Path) -> str:
    if not checkpoint.is_file():
        return "There is no checkpoint yet."
    return f"The last good state, of step {read_checkpoint(checkpoint)[KEY]['state']['step']}, is in {checkpoint}."


def _saved(path: Path, config: TrainingConfig, world: int, resume: bool | None) -> dict[str, Any] | None:
    """Our part of the checkpoint to go on from."""
    if path.is_dir():
        raise StateError(f"{path}: is a folder, where the checkpoint belongs: remove it, or choose another output")
    if not path.is_file():
        if resume:
            raise SpecError(f"{path}: there is no checkpoint to go on from: run without --resume to start")
        return None
    if resume is False:
        raise SpecError(f"{path}: there is a checkpoint already: go on from it, or choose another output folder")
    saved: dict[str, Any] = read_checkpoint(path)[KEY]
    now = {**config.to_dict(), "processes": world}
    before = config_of(path, saved["config"], config.model.catalog).to_dict()
    ends = tuple(f"training.{name}" for name in ENDS)
    # the first checkpoints did not say which data they were of
    checked = CHECKED if "data" in saved else ("training.start_from",)
    check_same(path, {**before, "processes": saved["processes"]}, now, CHANGEABLE + ends + checked)
    return {**saved, "config": before}


def _course(
    results: Results, validation: Callable[[], Iterable[LabelledStructures]] | None, saved: dict[str, Any] | None
) -> Course:
    decay = results.config.training.ema
    return Course(results, validation, None if decay is None else MeanWeights(decay), saved)


def _trainer(config: TrainingConfig, course: Course, processes: Processes) -> Trainer:
    """Lightning's engine, with nothing that is done elsewhere: logs, validation, checkpoints, ends."""
    options = config.training
    plugins: list[Any] = [SafeCheckpointIO()]
    if SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # the course saves the state when Slurm says so
    precision = {"32": "32-true", "64": "64-true"}.get(options.precision, options.precision)
    # some weights get no gradient, such as that of the energy's mean where only forces are trained
    strategy: Any = DDPStrategy(find_unused_parameters=True) if processes.world > 1 else "auto"
    return Trainer(
        accelerator=processes.device(options.device).type,
        devices=processes.per_node,
        num_nodes=processes.nodes,
        strategy=strategy,
        precision=precision,  # type: ignore[arg-type]
        callbacks=[one for one in (course.mean, course) if one is not None],
        plugins=plugins,
        max_epochs=-1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        deterministic=options.deterministic,
        default_root_dir=course.results.folder,
    )


def train(config: TrainingConfig, output: str | os.PathLike[str] | None = None, resume: bool | None = None) -> Path:
    """Train a potential and write it to a model file.

    The output folder gets `best.safetensors` (lowest validation loss) and `last.safetensors`, both with mean weights
    where `training.ema` is set; `log.csv`; TensorBoard's files; `config.yaml`; and `checkpoint.ckpt`, from which the
    same call goes on wherever it was stopped, by a signal, a crash or kill -9. A run that was stopped or has finished
    can be extended: `training.steps`, `epochs`, `minutes` and `stop_early` may differ from those before, and the
    schedule follows the new budget. Results of an earlier run that has no checkpoint anymore are moved to `earlier-1`
    and so on, and one run at a time writes to a folder.

    Several processes that torchrun or Slurm started train together; each takes batches of the given size.

    Args:
        config: everything else.
        output: the folder for all results, instead of the config's.
        resume: True: there must be a checkpoint to go on from; False: there must be none; None: as it is.

    Returns:
        The file of the best model; of the last one, where there is no validation set.

    Raises:
        SpecError: the config does not fit the data or the model, or the folder has a checkpoint of another run, or
            another process writes to it.
        StructureError: data that cannot be used.
        StateError: a loss that is not finite, or scale factors that cannot be fitted.
        Interrupted: a signal stopped training; its state is saved.
        ImportError: Lightning is not installed.
    """
    require_lightning()
    from gemnet_blocks.training.run import run

    with _own_randomness(config.training.seed, config.training.deterministic), _quiet():
        return run(config, output_folder(config, output), resume)


def output_folder(config: TrainingConfig, output: str | os.PathLike[str] | None) -> Path:
    """Where results go.

    Raises:
        SpecError: nobody says so.
    """
    if output is not None:
        return Path(output)
    if config.output is None:
        raise SpecError("output: is missing: name a folder for the results, in the config or as --output")
    return located(config.output, config.folder)


def require_lightning() -> None:
    """Check that the packages for training are installed.

    Raises:
        ImportError: says how to install them.
    """
    for name in ("lightning", "tensorboard"):
        if find_spec(name) is None:
            raise ImportError(f"training needs {name}, which is not installed: pip install 'gemnet_blocks[train]'")


@contextmanager
def _own_randomness(seed: int, deterministic: bool) -> Iterator[None]:
    """Leave torch's generators and its choice of algorithms as they were."""
    before = torch.are_deterministic_algorithms_enabled()
    if deterministic:  # cuBLAS reads this when it is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(deterministic or before)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning from telling what it found, and tips."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
