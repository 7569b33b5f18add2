"""The call that trains a potential; it imports Lightning, which takes seconds, only when a run starts."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import torch

from gemnet_blocks.data.options import located
from gemnet_blocks.errors import SpecError
from gemnet_blocks.training.distributed import Processes
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.setup import check_config, check_machine
from gemnet_blocks.util.locks import only_writer_to_folder


def train(config: TrainingConfig, output: str | os.PathLike[str] | None = None, resume: bool | None = None) -> Path:
    """Train a potential and write it to a model file.

    The output folder receives `best.safetensors` (lowest validation loss) and `last.safetensors`, both with mean
    weights if `training.ema` is set; `log.csv`; TensorBoard's files; `config.yaml`; and `checkpoint.ckpt`, from which
    the same call resumes after a signal, a crash or kill -9, with bitwise identical results. A stopped or finished run
    can be extended: `training.steps`, `epochs`, `minutes` and `stop_early` may change, and the schedule follows the new
    budget. Results of an earlier run without a checkpoint are moved to `earlier-1` and so on. Only one run at a time
    writes to a folder.

    Processes that torchrun or Slurm started train together, each on batches of the given size.

    Args:
        config: the config of the run.
        output: the folder of all results, instead of the config's.
        resume: True: a checkpoint must exist; False: no checkpoint may exist; None: resume if one exists.

    Returns:
        The file of the best model, or of the last model without a validation set.

    Raises:
        SpecError: the config does not fit the data or the model, the folder has a checkpoint of another run, or another
            process writes to it.
        StructureError: the data cannot be used.
        StateError: a loss is not finite, or scale factors cannot be fitted.
        Interrupted: a signal stopped training; its state is saved.
        ImportError: Lightning is not installed.
    """
    require_lightning()
    from gemnet_blocks.training.run import Run

    with _own_randomness(config.training.seed, config.training.deterministic), _quiet():
        folder = output_folder(config, output)
        with config.naming_places():
            check_config(config)
            check_machine(config)
        first = Processes.of_environment().rank == 0  # locks the folder for all processes of the run
        with only_writer_to_folder(folder, "output") if first else nullcontext():
            with config.naming_places():
                prepared = Run.prepared(config, folder, resume)
            return prepared.completed()


def output_folder(config: TrainingConfig, output: str | os.PathLike[str] | None) -> Path:
    """The folder of the results.

    Raises:
        SpecError: neither the config nor `output` names it.
    """
    if output is not None:
        return Path(output)
    if config.output is None:
        raise SpecError("output: is missing: name a folder for the results, in the config or with --output")
    return located(config.output, config.folder)


def require_lightning() -> None:
    """Check that the packages for training are installed.

    Raises:
        ImportError: a package is missing; the message says how to install it.
    """
    for name in ("lightning", "tensorboard"):
        if find_spec(name) is None:
            raise ImportError(f"training needs {name}, which is not installed: pip install 'gemnet_blocks[train]'")


@contextmanager
def _own_randomness(seed: int, deterministic: bool) -> Iterator[None]:
    """Seed torch inside the block, and restore its generators and its choice of algorithms."""
    before = torch.are_deterministic_algorithms_enabled()
    if deterministic:  # cuBLAS reads this at its first use
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
    """Suppress the messages of Lightning."""
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
