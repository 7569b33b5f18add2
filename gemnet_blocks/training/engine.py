"""From a training config to a trained potential."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

from gemnet_blocks.data.options import located
from gemnet_blocks.errors import SpecError
from gemnet_blocks.training.options import TrainingConfig


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
