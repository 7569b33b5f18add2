"""Loggers and callbacks of Lightning that a config adds to a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gemnet_blocks.errors import SpecError, told
from gemnet_blocks.options import Options
from gemnet_blocks.spec.catalog import did_you_mean, import_class
from gemnet_blocks.spec.resolve import Spec

if TYPE_CHECKING:
    from lightning.pytorch import Callback

LOGGERS: Mapping[str, str] = {
    "csv": "CSVLogger",
    "mlflow": "MLFlowLogger",
    "tensorboard": "TensorBoardLogger",
    "wandb": "WandbLogger",
}
"""The classes of `lightning.pytorch.loggers` by their names in configs."""

PACKAGES: Mapping[str, str] = {"mlflow": "mlflow", "tensorboard": "tensorboard", "wandb": "wandb"}
"""The modules that these loggers import."""


class _Plugin(Options):
    """Options with arguments of a class."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """The further fields, which are arguments of the class."""
        return dict(self.__pydantic_extra__ or {})


class LoggerOptions(_Plugin):
    """A logger of Lightning besides the log of the run. It does not affect results.

    All further fields are arguments of the class, such as `{type: wandb, project: gemnet, offline: false}`. Passwords
    and keys do not belong in configs, which model files contain. Without arguments, a logger writes to the folder of
    the run and does not use a network. A name alone is short for `{type: name}`.
    """

    type: str
    """`tensorboard`, `wandb`, `mlflow` or `csv`; or the import path of another logger of Lightning, such as
    `my_lab.tracking:LabLogger`, if imports are allowed."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"type": given}
        if isinstance(given, Mapping) and len(given) == 1 and "type" not in given:  # wandb: {project: gemnet}
            ((name, arguments),) = given.items()
            if arguments is None or isinstance(arguments, Mapping):
                return {"type": name, **(arguments or {})}
        return given

    @field_validator("type")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in LOGGERS and ":" not in name:
            raise ValueError(f"unknown logger {name!r}{did_you_mean(name, LOGGERS)}")
        return name

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        named = {"type": "object", "minProperties": 1, "maxProperties": 1, "propertyNames": {"enum": list(LOGGERS)}}
        return {"anyOf": [{"enum": list(LOGGERS)}, handler(core), named]}


class CallbackOptions(_Plugin):
    """A callback of Lightning. All further fields are arguments of the class.

    Callbacks may change what is trained. Lightning stores their state in checkpoints, which can contain tensors,
    numbers, text, lists and mappings. Lightning's hooks of validation are not called.
    """

    path: str
    """The import path of the class, such as `my_lab.callbacks:FreezeEmbeddings`; imports must be allowed."""

    @field_validator("path")
    @classmethod
    def _is_import_path(cls, path: str) -> str:
        if ":" not in path:
            raise ValueError(f"must be an import path such as my_lab.callbacks:FreezeEmbeddings, got {path!r}")
        return path


def plugin_problems(
    loggers: Sequence[LoggerOptions], callbacks: Sequence[CallbackOptions], model: Spec
) -> dict[str, str]:
    """Find import paths that are not allowed and loggers whose package is not installed.

    Returns:
        The problem with each of them, by its place in the config.
    """
    problems = {
        f"{place}.{'path' if place.startswith('callbacks') else 'type'}": (
            f"{path} would import code from the module {path.partition(':')[0]}: if you trust the author of this file, "
            "allow it with `--allow-imports`, in Python with allow_imports=True"
        )
        for place, path in imported_paths(loggers, callbacks)
        if not model.catalog.allow_imports
    }
    return problems | {
        f"loggers.{index}": (
            f"{one.type} needs the package {package}, which is not installed: pip install "
            f"'gemnet_blocks[{'train' if package == 'tensorboard' else 'loggers'}]', or remove the logger"
        )
        for index, one in enumerate(loggers)
        if (package := PACKAGES.get(one.type)) is not None and find_spec(package) is None
    }


def imported_paths(loggers: Sequence[LoggerOptions], callbacks: Sequence[CallbackOptions]) -> Iterator[tuple[str, str]]:
    """Yield place and import path of everything that a config imports."""
    yield from ((f"loggers.{index}", one.type) for index, one in enumerate(loggers) if one.type not in LOGGERS)
    yield from ((f"callbacks.{index}", one.path) for index, one in enumerate(callbacks))


def make_callbacks(options: Sequence[CallbackOptions]) -> list[Callback]:
    """Import and make the callbacks of a config.

    Raises:
        SpecError: an import fails, a class is not a callback, or does not take the arguments.
    """
    from lightning.pytorch import Callback

    return [made(f"callbacks.{index}", one.path, Callback, one.arguments) for index, one in enumerate(options)]


def made(place: str, path: str, base: type, arguments: Mapping[str, Any]) -> Any:
    """Import a class and make an instance of it.

    Args:
        place: its place in the config.
        path: its import path.
        base: the class that it must derive from.
        arguments: the arguments.

    Raises:
        SpecError: the import fails, the class does not derive from `base`, or does not take the arguments.
    """
    try:
        found = import_class(path)
    except SpecError as error:
        raise SpecError(f"{place}: {error}") from error
    if not isinstance(found, type) or not issubclass(found, base):
        raise SpecError(f"{place}: {path} is {found!r}: expected a subclass of {base.__module__}.{base.__name__}")
    try:
        return found(**arguments)
    except Exception as error:  # the code of others may raise anything
        given = ", ".join(arguments) or "no arguments"
        raise SpecError(f"{place}: {path} cannot be made with {given}: {told(error)}") from error


def misfitting_arguments(loggers: Sequence[LoggerOptions]) -> dict[str, str]:
    """Find arguments that the loggers of Lightning do not take.

    Returns:
        The problem with each logger, by its place in the config.
    """
    problems = {}
    for index, one in enumerate(loggers):
        if one.type in LOGGERS:
            try:
                signature(import_class(f"lightning.pytorch.loggers:{LOGGERS[one.type]}")).bind_partial(**one.arguments)
            except TypeError as error:
                problems[f"loggers.{index}"] = f"{one.type} does not take the options: {error}"
    return problems
