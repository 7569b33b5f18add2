"""Lightning's loggers of a run: tracking of experiments besides the log of the run."""

from __future__ import annotations

import csv
import uuid
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from gemnet_blocks.errors import told
from gemnet_blocks.training.logs import last_rows
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.plugins import LOGGERS, made
from gemnet_blocks.util.files import read_json, write_json

FOLDER = "loggers"
"""The folder of loggers, except TensorBoard's, in the folder of a run."""

MEMORY = "runs.json"
"""The file in this folder by which a resumed run continues the runs of its loggers."""

TENSORBOARD = "tensorboard"
"""The folder of TensorBoard's files in the folder of a run."""


@final
class RunLoggers:
    """The loggers of a run. A logger that fails warns and is not used any more, as its failure must not end a run.

    Loggers that cannot remove entries do not get the entries that an interrupted run repeats.

    Args:
        loggers: loggers of Lightning by name.
        folder: the folder of the run.
        step: the step at which the run resumes; 0 for a new run.
    """

    def __init__(self, loggers: Mapping[str, Logger] | None = None, folder: Path = Path(), step: int = 0) -> None:
        self._all = dict(loggers or {})
        self._used = dict(self._all)
        self._folder, self._step = folder / FOLDER, step
        self._logged = 0
        if self._all and step:  # the log still has the rows of an interrupted run that will be repeated
            self._logged = max(_memory(folder)["logged"], *(int(one["step"]) for one in last_rows(folder)), step)

    @classmethod
    def of(cls, config: TrainingConfig, folder: Path, step: int) -> RunLoggers:
        """Make the loggers of a config.

        Args:
            config: the config of the run.
            folder: the folder of the run.
            step: the step at which the run resumes; 0 for a new run.

        Raises:
            SpecError: an import fails, or a logger does not take the arguments.
        """
        loggers: dict[str, Logger] = {}
        memory = _memory(folder) if step else {"id": uuid.uuid4().hex[:8], "runs": {}}
        for index, options in enumerate(config.loggers):
            count = sum(name.partition(" ")[0] == options.type for name in loggers)
            name = f"{options.type} {count + 1}" if count else options.type
            arguments = {**_defaults(options.type, name, folder, step, memory, options.arguments), **options.arguments}
            path = f"lightning.pytorch.loggers:{LOGGERS[options.type]}" if options.type in LOGGERS else options.type
            loggers[name] = made(f"loggers.{index}", path, Logger, arguments)
            if isinstance(logger := loggers[name], CSVLogger):
                _keep_rows(logger, step)
        if loggers:
            (folder / FOLDER).mkdir(exist_ok=True)
            write_json(folder / FOLDER / MEMORY, {"logged": 0, **memory})
        return cls(loggers, folder, step)

    @property
    def loggers(self) -> list[Logger]:
        """The loggers, for Lightning's trainer."""
        return list(self._all.values())

    def start(self, hyperparameters: Mapping[str, Any]) -> None:
        """Start or continue the runs of the loggers.

        Args:
            hyperparameters: nested plain data.
        """
        if not self._all:
            return
        runs: dict[str, str] = {}

        def begin(name: str, logger: Logger) -> None:
            if not (self._step and isinstance(logger, MLFlowLogger)):  # whose parameters cannot change
                logger.log_hyperparams(dict(hyperparameters))
            if isinstance(logger, MLFlowLogger):
                runs[name] = str(logger.run_id)

        self._each(begin)
        memory = _memory(self._folder.parent)
        write_json(self._folder / MEMORY, {**memory, "runs": {**memory["runs"], **runs}, "logged": self._logged})

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log numbers at a step."""

        def log(name: str, logger: Logger) -> None:
            if step > self._logged or isinstance(logger, (CSVLogger, TensorBoardLogger)):
                logger.log_metrics(dict(numbers), step)

        self._each(log)

    def secure(self) -> None:
        """Write to disk what loggers hold in memory."""
        self._each(lambda name, logger: logger.save())

    def close(self) -> None:
        """End the runs of loggers that would otherwise continue in the next run of this process."""

        def finish(name: str, logger: Logger) -> None:
            if isinstance(logger, WandbLogger):
                logger.experiment.finish()

        self._each(finish)

    def _each(self, action: Callable[[str, Logger], None]) -> None:
        for name, logger in list(self._used.items()):
            try:
                action(name, logger)
            except Exception as error:  # services may raise anything
                del self._used[name]
                warnings.warn(
                    f"the logger {name} failed and is not used for the rest of this run: {told(error)}", stacklevel=2
                )


def _memory(folder: Path) -> dict[str, Any]:
    """Read how a run is known to its loggers."""
    found = read_json(folder / FOLDER / MEMORY)
    known = found if isinstance(found, dict) else {}
    runs = known.get("runs")
    logged = known.get("logged")
    return {
        "id": str(known.get("id", uuid.uuid4().hex[:8])),
        "runs": runs if isinstance(runs, dict) else {},
        "logged": logged if isinstance(logged, int) else 0,
    }


def _defaults(
    kind: str, name: str, folder: Path, step: int, memory: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a logger that keep it offline, in the folder of the run, and in one run when it resumes.

    Args:
        kind: the name of its type.
        name: its name among the loggers of the run.
        folder: the folder of the run.
        step: the step at which the run resumes.
        memory: how the run is known to its loggers.
        given: the arguments in the config, before which these have no effect.
    """
    home = (folder / FOLDER).resolve()
    title = "/".join(folder.resolve().parts[-2:])  # of a run of a study: variant, seed and key
    match kind:
        case "csv":
            return {"save_dir": home, "name": "", "version": title if "save_dir" in given else name}
        case "tensorboard":
            version = title if "save_dir" in given else name.replace("tensorboard", TENSORBOARD)
            return {
                "save_dir": folder,
                "name": "",
                "version": version,
                "default_hp_metric": False,
                "purge_step": step + 1,
            }
        case "wandb":
            offline = {} if {"offline", "mode"} & given.keys() else {"mode": "offline"}
            own = {"id": memory["id"], "project": "gemnet_blocks", "settings": {"silent": True}}
            return {"save_dir": home, "name": title, **own, **offline}
        case "mlflow":
            store = {} if "tracking_uri" in given else {"artifact_location": (home / "mlflow-artifacts").as_uri()}
            run = {"run_id": memory["runs"].get(name), "run_name": title, "experiment_name": "gemnet_blocks"}
            return {"tracking_uri": f"sqlite:///{home / 'mlflow.db'}", **store, **run}
        case _:
            return {}


def _keep_rows(logger: CSVLogger, step: int) -> None:
    """Keep the rows of an interrupted run up to the step at which it resumes, which Lightning would remove."""
    rows: list[dict[str, str]] = []
    if step:
        with suppress(OSError), (Path(logger.log_dir) / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the file is removed
        writer: Any = logger.experiment
    kept = [row for row in rows if (row.get("step") or "").isdigit() and int(row["step"]) <= step]
    writer.metrics = [{name: text for name, text in row.items() if name and text} for row in kept]
    writer.save()
