"""What a run is known by: a hash of everything that its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

from gemnet_blocks.ablation.files import read_json, write_json
from gemnet_blocks.ablation.own_code import own_parts
from gemnet_blocks.data.options import DataOptions, located, matching
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.schema import Spec
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.starting import Source

FORMAT = 1
"""The version of what a run computes and writes. Results of another one are not taken for results of this one."""

_LATER: Mapping[tuple[str, str], Any] = {
    ("references", "mean"): 0.0,
    ("scales", "rows"): "distinct",
    ("schedule", "metric"): "loss",
}
"""Fields of a training config that came after the format, and what runs without them did: so much is no change."""

_FILES = ("files", "train", "validation", "test")
_FREE = ("workers", "cache", "ignore")
"""Fields of the data that change no result."""
_CHUNK = 1 << 20


def run_key(
    spec: Spec,
    config: TrainingConfig | None,
    files: Mapping[str, Any],
    seed: int,
    learner: Mapping[str, Any],
) -> str:
    """The hash of everything that the result of a run depends on.

    Args:
        spec: the architecture; of parts of the user's own, the code counts.
        config: data and training.
        files: the content of all data files; see `Fingerprints`.
        seed: of weights and order.
        learner: what trains, as plain data.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "spec": spec.content_hash,
        "files": dict(files),
        "seed": seed,
        "learner": dict(learner),
    }
    if parts := own_parts(spec):
        content["parts"] = parts
    if config is not None:
        rest = config.to_dict()
        data = {name: value for name, value in rest.pop("data").items() if name not in (*_FILES, *_FREE)}
        unused = ("log", "checkpoint", "start_from")
        training = {key: value for key, value in rest.pop("training").items() if key not in unused}
        if source := Source.of(config):  # runs of studies without one keep their keys
            training["start_from"] = source.sha256
        rest = {key: value for key, value in rest.items() if key not in ("model", "output")}
        for (section, field), before in _LATER.items():
            if (rest[section] or {}).get(field) == before:
                del rest[section][field]
        content |= {"data": data, "training": {**rest, "training": training}}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@final
class Fingerprints:
    """Sizes and hashes of files; those of files that have not changed since are remembered.

    Args:
        memory: the file that remembers.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        known = read_json(memory)
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}

    def of(self, options: DataOptions, folder: Path) -> dict[str, Any]:
        """The content of all files that options name, whatever their folder is called.

        What is not there any more, is what it was when it was last looked at, so that there can still be a report.

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
        """The content of a file or folder, or of each file that matches a pattern."""
        found = matching(name, folder)
        if not found:  # all files are gone
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
            if path in (file, file.parent) or file.match(str(path))  # it may be a pattern
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
    """A file, or all files of a folder but the locks that databases leave."""
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.iterdir()):
        if file.is_file() and not file.name.startswith(".") and not file.name.endswith(("-lock", "lock.mdb")):
            yield file
