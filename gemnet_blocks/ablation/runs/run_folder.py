"""The folder of a run: its definition, its attempts, its result, and the claim of the process that does it."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import time
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gemnet_blocks.ablation.learner import Task
from gemnet_blocks.ablation.results import RunResult
from gemnet_blocks.ablation.runs.run_key import FORMAT
from gemnet_blocks.errors import StateError
from gemnet_blocks.evaluation.kept import KeptPredictions
from gemnet_blocks.spec.catalog import Catalog
from gemnet_blocks.spec.document import Document
from gemnet_blocks.spec.resolve import validate
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.util.files import read_json, write_json
from gemnet_blocks.util.locks import held

FILE = "claim.json"
"""The file of a claim in the folder of a run; its modification time is the last heartbeat of the owner."""

BEAT = 15.0
"""Seconds between two heartbeats."""

STALE = 180.0
"""Seconds without a heartbeat after which a claim from another machine expires; on this machine, the claim of a process
expires when the process ends."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The exclusive right to do a run.

    A lock of the operating system would end with its process and may not reach other machines. A claim waits in the
    queue of a cluster while the driver lives, passes from the driver to the worker on another machine, and expires
    without heartbeats.

    Attributes:
        folder: folder of the run.
        token: secret of the owner; a process that knows it can take the run over.
    """

    folder: Path
    token: str

    @classmethod
    def acquire(cls, folder: Path) -> Claim | None:
        """Claim a run for this process; return None if another live process owns it."""
        folder.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder):
            if owner(folder) is not None:
                return None
            return cls._written(folder, uuid.uuid4().hex)

    @classmethod
    def adopt(cls, folder: Path, token: str) -> Claim | None:
        """Take over the claim with a token, even if its owner has ended; return None if the claim has another token."""
        with _one_at_a_time(folder):
            content = _content(folder)
            return cls._written(folder, token) if content is not None and content["token"] == token else None

    @classmethod
    def _written(cls, folder: Path, token: str) -> Claim:
        write_json(folder / FILE, {**_this_process(), "token": token})
        return cls(folder, token)

    def beat(self) -> bool:
        """Renew the claim; return False if it has been lost."""
        content = _content(self.folder)
        if content is None or content["token"] != self.token:
            return False
        os.utime(self.folder / FILE)
        return True

    def release(self, whoever_has_it: bool = False) -> None:
        """Give the claim up.

        Args:
            whoever_has_it: also release a claim that another process, which has ended, took over with the token.
        """
        with _one_at_a_time(self.folder):
            content = _content(self.folder)
            if content is None or content["token"] != self.token:
                return
            if whoever_has_it or _is_this_process(content):
                (self.folder / FILE).unlink(missing_ok=True)


def owner(folder: Path) -> str | None:
    """Return host and process id of the live process that owns a run; None if there is none."""
    content = _content(folder)
    if content is None:
        return None
    return f"{content['host']}:{content['pid']}" if _is_alive(content, folder / FILE) else None


def process_start(pid: int) -> str | None:
    """Return the start time of a process in system-specific units, which tells apart processes with a reused id.

    Returns "" if the system does not provide the start time, and None if the process is not running.
    """
    if os.name == "nt":
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # the process runs as another user
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "" if not Path("/proc/self").exists() else None
    return None if fields[0] in "ZX" else fields[19]  # a zombie has ended


def _one_at_a_time(folder: Path) -> AbstractContextManager[None]:
    return held(folder / ".claim.lock", str(folder), wait=60)


def _content(folder: Path) -> dict[str, Any] | None:
    content = read_json(folder / FILE)
    complete = isinstance(content, dict) and {"host", "machine", "pid", "started", "token"} <= content.keys()
    return content if complete else None


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "started": process_start(pid)}


def _is_this_process(content: dict[str, Any]) -> bool:
    return all(content[key] == value for key, value in _this_process().items())


def _machine() -> str:
    """Identify the scope in which process ids are unique: a boot of a machine and a process namespace."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        pass
    return "/".join(parts)


def _is_alive(content: dict[str, Any], path: Path) -> bool:
    started = process_start(content["pid"]) if isinstance(content["pid"], int) else None
    if content["machine"] == _machine() and os.name != "nt":
        return started is not None and started == content["started"]
    try:
        return time.time() - path.stat().st_mtime < STALE
    except OSError:
        return False


TASK, RESULT, ATTEMPTS, LOG = "run.json", "result.json", "attempts.json", "worker.log"

PREDICTIONS = "predictions.npz"
"""The file in which a learner keeps its predictions for the evaluated set; see `KeptPredictions` of
`gemnet_blocks.evaluation`."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one variant with one seed, `runs/<variant>/<seed>-<key>` in the folder of a study."""

    path: Path

    @classmethod
    def of(cls, study: Path, variant: str, seed: int, key: str) -> RunFolder:
        """Return the folder of a run in the folder of a study."""
        return cls(study / "runs" / slug(variant) / f"{seed}-{key[:16]}")

    def prepare(self, task: Task, learner: Mapping[str, Any]) -> None:
        """Write the definition of the run.

        The same key may belong to a differently written definition, from which an interrupted run could not resume.
        An existing definition is therefore kept, and only the paths of the data and of the initial weights and the
        loggers are updated.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        before = read_json(self.path / TASK)
        config = None if task.config is None else task.config.to_dict()
        content = {
            "format": FORMAT,
            "key": task.key,
            "variant": task.variant,
            "seed": task.seed,
            "learner": dict(learner),
            "spec": task.spec.to_dict(),
            "config": config and {name: value for name, value in config.items() if name not in ("model", "output")},
        }
        if isinstance(before, dict) and before.get("format") == FORMAT and before.get("key") == task.key:
            content |= {"spec": before.get("spec"), "config": before.get("config")}
            if config is not None and isinstance(content["config"], dict):
                training = {**content["config"]["training"], "start_from": config["training"]["start_from"]}
                now = {name: config[name] for name in ("data", "loggers")}
                content["config"] = {**content["config"], **now, "training": training}
        content["folder"] = None if task.config is None else str(task.config.folder.resolve())
        if content != before:
            write_json(self.path / TASK, content)

    def task(self, catalog: Catalog | None = None) -> tuple[Task, Mapping[str, Any]]:
        """Read the definition of the run and the fields of its learner.

        Args:
            catalog: components that the spec may name; None: those of the library.

        Raises:
            StateError: the folder does not contain a readable definition.
        """
        content = read_json(self.path / TASK)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise StateError(f"{self.path / TASK}: expected a run of a study in format {FORMAT}: run the study again")
        spec = validate(Document(content["spec"]), catalog or Catalog())
        config = None
        if content["config"] is not None:
            config = TrainingConfig.model_validate({**content["config"], "model": spec})
            config = config.in_folder(Path(content["folder"]))
        task = Task(content["variant"], content["seed"], content["key"], spec, config)
        return task, content["learner"]["values"]

    def learner(self) -> Mapping[str, Any]:
        """Read class and fields of the learner that did the run; empty if they are not recorded."""
        content = read_json(self.path / TASK)
        found = content.get("learner") if isinstance(content, dict) else None
        return found if isinstance(found, dict) else {}

    def predictions(self) -> KeptPredictions | None:
        """Read the predictions that the run kept; None if it kept none.

        Raises:
            StateError: the file is damaged.
        """
        path = self.path / PREDICTIONS
        return KeptPredictions.load(path) if path.is_file() else None

    def state(self, variant: str, seed: int, key: str) -> RunResult:
        """Return the current state of the run."""
        found = self.result(key)
        if found is not None and found.status == "done":
            return replace(found, variant=variant, seed=seed)
        attempts = len(self.attempts())
        if owner(self.path) is not None:
            return RunResult(variant, seed, key, "running", attempts=attempts)
        if found is not None:
            return replace(found, variant=variant, seed=seed, attempts=attempts)
        return RunResult(variant, seed, key, attempts=attempts)

    def result(self, key: str) -> RunResult | None:
        """Read the last result; None if there is none, or if it belongs to another key."""
        content = read_json(self.path / RESULT)
        try:
            found = RunResult.from_dict(content)
        except (ValueError, TypeError):
            return None
        return found if found.key == key else None

    def write(self, result: RunResult) -> None:
        """Write a result."""
        write_json(self.path / RESULT, result.to_dict())

    def attempts(self) -> list[dict[str, Any]]:
        """Read when the run was attempted and how each attempt ended; a killed or active attempt has no end."""
        found = read_json(self.path / ATTEMPTS)
        return [attempt for attempt in found if isinstance(attempt, dict)] if isinstance(found, list) else []

    def attempt_starts(self, who: str) -> int:
        """Record the start of an attempt by a process and return the number of attempts."""
        attempts = [*self.attempts(), {"started": _now(), "who": who}]
        write_json(self.path / ATTEMPTS, attempts)
        return len(attempts)

    def attempt_ends(self, how: str) -> None:
        """Record the end of the last attempt."""
        attempts = self.attempts()
        if attempts:
            attempts[-1] |= {"ended": _now(), "how": how}
            write_json(self.path / ATTEMPTS, attempts)


def slug(name: str) -> str:
    """Turn the name of a variant into a folder name; different names give different folders."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}".lstrip("-")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
