"""Moving of earlier results out of the folder of a run that starts from scratch."""

from __future__ import annotations

import warnings
from itertools import count
from pathlib import Path

from gemnet_blocks.evaluation.report import ATOMS, PLOT, PREDICTIONS, SUMMARY

CONFIG = "config.yaml"
"""The config of a run, in its folder."""

HEADING = "# The config of this run, complete; its paths are relative to this folder\n"
"""The first line of the config file."""

_RUN = ("best.safetensors", "last.safetensors", "log.csv", "tensorboard", "loggers", "not-finite-*.extxyz")
_EVALUATION = (SUMMARY, PREDICTIONS, ATOMS, PLOT)
_ASIDE = "earlier-{}"


def set_aside(folder: Path) -> None:
    """Move all results of an earlier run and of evaluations of its models to `earlier-1`, `earlier-2` and so on.

    Models and log in a folder thus always belong to one run, and nothing is lost. A warning lists the moved files.

    Raises:
        OSError: a file cannot be moved.
    """
    found = [path for pattern in (*_RUN, *_EVALUATION) for path in sorted(folder.glob(pattern))]
    found += [path.parent for path in sorted(folder.glob(f"*/{SUMMARY}")) if _is_evaluation(path.parent)]
    config = folder / CONFIG
    if config.exists() and (found or not _is_of_a_run(config)):
        found.append(config)
    if not found:
        return
    aside = next(path for number in count(1) if not (path := folder / _ASIDE.format(number)).exists())
    aside.mkdir()
    for path in found:
        path.rename(aside / path.name)
    warnings.warn(
        f"{folder}: this run starts from scratch; the results of an earlier run "
        f"({', '.join(path.name for path in found)}) were moved to {aside}",
        stacklevel=2,
    )


def _is_evaluation(folder: Path) -> bool:
    return (folder / PREDICTIONS).exists() and not folder.match(_ASIDE.format("*"))


def _is_of_a_run(config: Path) -> bool:
    """Whether a run of this or an earlier version of the library, and not the user, wrote a config."""
    try:
        return config.read_text(encoding="utf-8").startswith("# The config of this run")
    except (OSError, UnicodeDecodeError):
        return False
