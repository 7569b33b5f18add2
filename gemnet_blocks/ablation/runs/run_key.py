"""The key of a run: a hash of everything that its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, final

from gemnet_blocks.ablation.runs.jobs import imported
from gemnet_blocks.data.options import DataOptions, located, matching
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.catalog import import_class
from gemnet_blocks.spec.document import Route
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.plugins import CallbackOptions
from gemnet_blocks.training.starting import Source
from gemnet_blocks.util.files import read_json, write_json

_CONSTANTS = (bool, int, float, complex, str, bytes, tuple, frozenset, type(None))


def own_parts(spec: Spec, callbacks: Sequence[CallbackOptions] = ()) -> Mapping[str, str]:
    """Hash the code of every custom component that a spec names, and of callbacks; returns the hashes by name."""
    content, catalog = spec.to_dict(), spec.catalog
    found = {name: catalog.extra[name] for name in _names(content) if name in catalog.extra}
    if catalog.allow_imports:
        found |= {name: imported(name) for name in _names(content) if ":" in name and name not in found}
        found |= {one.path: import_class(one.path) for one in callbacks}
    return {name: code_hash(part) for name, part in sorted(found.items())}


def code_hash(part: type) -> str:
    """Hash the code of a class: its methods, and the functions, classes and constants that they refer to.

    References are followed within the same top-level package. The hash contains bytecode, which may differ between
    versions of Python.
    """
    home = part.__module__.partition(".")[0]
    texts: set[str] = set()
    pending: list[Any] = [part]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        place = str(getattr(one, "__module__", "")).partition(".")[0]
        if id(one) in seen or place != home or home == "gemnet_blocks":
            continue
        seen.add(id(one))
        if isinstance(one, type):
            texts |= {f"{one.__qualname__}.{name} = {_text(value)}" for name, value in _constants(vars(one))}
            pending += [*one.__bases__, *map(_unwrapped, vars(one).values())]
        elif isinstance(one, FunctionType):
            named = {name: one.__globals__[name] for name in _globals(one.__code__) if name in one.__globals__}
            texts.add(f"{one.__qualname__}: {_text(one.__code__)} {_text(one.__defaults__)}")
            texts |= {f"{name} = {_text(value)}" for name, value in _constants(named)}
            pending += map(_unwrapped, named.values())
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()


def _names(content: Any) -> Iterator[str]:
    """Yield everything in a spec that may name a component."""
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        if key == "type" and isinstance(value, str):
            yield value
        if isinstance(value, Mapping):
            yield key  # the name of an interaction is its default type
            yield from _names(value)


def _unwrapped(value: Any) -> Any:
    """Return the function inside a method, a property or a decorated function."""
    for name in ("__func__", "fget", "__wrapped__"):
        value = getattr(value, name, value)
    return value


def _constants(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    skipped = ("__module__", "__qualname__", "__doc__", "__firstlineno__", "__static_attributes__", "__name__")
    return ((name, value) for name, value in values.items() if isinstance(value, _CONSTANTS) and name not in skipped)


def _globals(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)


def _text(value: Any) -> str:
    """Represent a value identically in every process: without addresses, line numbers and the order of sets."""
    if isinstance(value, CodeType):
        return f"{value.co_code.hex()} {value.co_names} {value.co_varnames} {[_text(one) for one in value.co_consts]}"
    if isinstance(value, frozenset):
        return str(sorted(map(_text, value)))
    return str(list(map(_text, value))) if isinstance(value, tuple) else repr(value)


FORMAT = 1
"""Version of the computation and of the files of a run; results of other versions are not reused."""

_LATER: Mapping[Route, Any] = {
    ("callbacks",): [],
    ("data", "elements"): None,
    ("data", "atoms_at_most"): None,
    ("data", "count"): None,
    ("loss", "energy", "first_weight"): None,
    ("loss", "forces", "first_weight"): None,
    ("loss", "stress", "first_weight"): None,
    ("optimizer", "learning_rates"): [],
    ("references", "keep"): False,
    ("references", "mean"): 0.0,
    ("scales", "rows"): "distinct",
    ("schedule", "metric"): "loss",
    ("training", "clock"): "wall",
    ("training", "new_weights"): "grafted",
    ("training", "freeze"): [],
    ("training", "execution", "compile"): False,
}
"""Fields of a training config that were added later, with the value that equals the earlier behavior: a field with this
value does not enter the key."""

_FILES = ("files", "train", "validation", "test")
_FREE = ("workers", "cache", "ignore")
"""Fields of the data that do not change results."""
_CHUNK = 1 << 20


def run_key(
    spec: Spec,
    config: TrainingConfig | None,
    files: Mapping[str, Any],
    seed: int,
    learner: Mapping[str, Any],
) -> str:
    """Hash everything that the result of a run depends on.

    Args:
        spec: the architecture; the code of custom components is part of the key.
        config: data and training.
        files: sizes and hashes of all data files; see `Fingerprints`.
        seed: seed of the initial weights and of the order of the data.
        learner: the learner as plain data.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "spec": spec.content_hash,
        "files": dict(files),
        "seed": seed,
        "learner": dict(learner),
    }
    if parts := own_parts(spec, config.callbacks if config is not None else ()):
        content["parts"] = parts
    if config is not None:
        rest = config.to_dict()
        for (*sections, field), before in _LATER.items():
            section = reduce(lambda inner, name: inner[name] or {}, sections, rest)
            if field in section and section[field] == before:
                del section[field]
        data = {name: value for name, value in rest.pop("data").items() if name not in (*_FILES, *_FREE)}
        unused = ("log", "checkpoint", "start_from")
        training = {key: value for key, value in rest.pop("training").items() if key not in unused}
        if source := Source.of(config):  # the keys of runs without initial weights stay the same
            training["start_from"] = source.sha256
        rest = {key: value for key, value in rest.items() if key not in ("model", "output", "loggers")}
        content |= {"data": data, "training": {**rest, "training": training}}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    text = text.replace('"factorized"', '"factorised"')  # the spelling in the keys of earlier versions
    return hashlib.sha256(text.encode()).hexdigest()


@final
class Fingerprints:
    """Sizes and hashes of data files, cached by size and modification time.

    Args:
        memory: the cache file.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        known = read_json(memory)
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}

    def of(self, options: DataOptions, folder: Path) -> dict[str, Any]:
        """Return sizes and hashes of all files that the options name, independent of the name of their folder.

        For files that no longer exist, the cached values are returned, so that a study can still be reported.

        Raises:
            SpecError: a file cannot be read.
        """
        before = dict(self._known)
        found = {
            part: [content for name in getattr(options, part) for content in self._contents(name, folder)]
            for part in _FILES
            if getattr(options, part) is not None
        }
        if self._known != before and self._memory.parent.is_dir():
            write_json(self._memory, self._known)
        return found

    def _contents(self, name: str, folder: Path) -> list[list[Any]]:
        """Return the fingerprints of a file or folder, or of each file that matches a pattern."""
        found = matching(name, folder)
        if not found:  # all files have been removed
            return [[file] for file in self._content(located(name, folder), name)]
        return [self._content(path, file) for file, path in found.items()]

    def _content(self, path: Path, name: str) -> list[Any]:
        try:
            if not path.exists() and (remembered := self._remembered(path.resolve())):
                return remembered
            return [[file.suffix, *self._file(file)] for file in _files(path)]
        except OSError as error:
            raise SpecError(f"data: {name}: cannot be read: {error.strerror or error}") from error

    def _remembered(self, path: Path) -> list[Any]:
        known = {
            Path(name): entry for name, entry in self._known.items() if isinstance(entry, list) and len(entry) == 3
        }
        return [
            [file.suffix, size, digest]
            for file, (size, _, digest) in sorted(known.items())
            if path in (file, file.parent) or file.match(str(path))  # `path` may be a pattern
        ]

    def _file(self, path: Path) -> list[Any]:
        state = path.stat()
        stamp = [state.st_size, state.st_mtime_ns]
        key = str(path.resolve())
        known = self._known.get(key)
        if isinstance(known, list) and len(known) == 3 and known[:2] == stamp:
            return [state.st_size, known[2]]
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        self._known[key] = [*stamp, digest.hexdigest()]
        return [state.st_size, digest.hexdigest()]


def _files(path: Path) -> Iterator[Path]:
    """Yield a file, or all files of a folder except lock files of databases."""
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.iterdir()):
        if file.is_file() and not file.name.startswith(".") and not file.name.endswith(("-lock", "lock.mdb")):
            yield file
