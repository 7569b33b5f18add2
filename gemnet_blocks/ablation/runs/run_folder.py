"""The folder of a run: what it is, how often it was tried, and what came of it."""

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
from gemnet_blocks.spec.catalog import Catalog
from gemnet_blocks.spec.document import Document
from gemnet_blocks.spec.resolve import validate
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.util.files import read_json, write_json
from gemnet_blocks.util.locks import held

FILE = "claim.json"
"""The claim in a run's folder; the time it was last touched is its owner's heartbeat."""

BEAT = 15.0
"""Seconds between heartbeats."""

STALE = 180.0
"""Seconds without a heartbeat after which an owner on another machine is given up; of one on this machine, it is known
whether it runs."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that is somebody's.

    Attributes:
        folder: of the run.
        token: what only the owner knows, and whom it hands the run over to.
    """

    folder: Path
    token: str

    @classmethod
    def acquire(cls, folder: Path) -> Claim | None:
        """Claim a run for this process; None where it is somebody else's who is alive."""
        folder.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder):
            if owner(folder) is not None:
                return None
            return cls._written(folder, uuid.uuid4().hex)

    @classmethod
    def adopt(cls, folder: Path, token: str) -> Claim | None:
        """Take over a run from who handed out the token, alive or not; None where it is not theirs any more."""
        with _one_at_a_time(folder):
            content = _content(folder)
            return cls._written(folder, token) if content is not None and content["token"] == token else None

    @classmethod
    def _written(cls, folder: Path, token: str) -> Claim:
        write_json(folder / FILE, {**_this_process(), "token": token})
        return cls(folder, token)

    def beat(self) -> bool:
        """Show that the owner is alive; False where the claim has been lost."""
        content = _content(self.folder)
        if content is None or content["token"] != self.token:
            return False
        os.utime(self.folder / FILE)
        return True

    def release(self, whoever_has_it: bool = False) -> None:
        """Give the run up.

        Args:
            whoever_has_it: even if the token has been handed to another process, which has ended.
        """
        with _one_at_a_time(self.folder):
            content = _content(self.folder)
            if content is None or content["token"] != self.token:
                return
            if whoever_has_it or _is_this_process(content):
                (self.folder / FILE).unlink(missing_ok=True)


def owner(folder: Path) -> str | None:
    """Who does a run: host and process; None where nobody does who is alive."""
    content = _content(folder)
    if content is None:
        return None
    return f"{content['host']}:{content['pid']}" if _is_alive(content, folder / FILE) else None


def process_start(pid: int) -> str | None:
    """When a process started, in some unit; "" where this system does not tell; None where it is not running."""
    if os.name == "nt":
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # it runs, as somebody else's
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "" if not Path("/proc/self").exists() else None
    return None if fields[0] in "ZX" else fields[19]  # a zombie has ended already


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
    """What process numbers mean something within: one boot of one machine, and one namespace in it."""
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


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one variant with one seed.

    Attributes:
        path: `runs/<variant>/<seed>-<key>` in the folder of a study.
    """

    path: Path

    @classmethod
    def of(cls, study: Path, variant: str, seed: int, key: str) -> RunFolder:
        """Where a run is kept."""
        return cls(study / "runs" / slug(variant) / f"{seed}-{key[:16]}")

    def prepare(self, task: Task, learner: Mapping[str, Any]) -> None:
        """Write down what the run is.

        What is known by the same key may be said in another way, which a run that was begun would not go on with: so
        what was written first stays, but for where the data are.
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
                content["config"] = {**content["config"], "data": config["data"]}
        content["folder"] = None if task.config is None else str(task.config.folder.resolve())
        if content != before:
            write_json(self.path / TASK, content)

    def task(self, catalog: Catalog | None = None) -> tuple[Task, Mapping[str, Any]]:
        """What the run is, and the settings of its learner.

        Args:
            catalog: the parts that the spec may name; None: those that the library has.

        Raises:
            StateError: there is nothing that can be read.
        """
        content = read_json(self.path / TASK)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise StateError(f"{self.path / TASK}: is no run of a study: run the study again")
        spec = validate(Document(content["spec"]), catalog or Catalog())
        config = None
        if content["config"] is not None:
            config = TrainingConfig.model_validate({**content["config"], "model": spec})
            config = config.in_folder(Path(content["folder"]))
        task = Task(content["variant"], content["seed"], content["key"], spec, config)
        return task, content["learner"]["values"]

    def state(self, variant: str, seed: int, key: str) -> RunResult:
        """What is known of the run by now."""
        found = self.result(key)
        attempts = len(self.attempts())
        if found is not None and found.status == "done":
            return replace(found, variant=variant, seed=seed)
        if owner(self.path) is not None:
            return RunResult(variant, seed, key, "running", attempts=attempts)
        if found is not None:
            return replace(found, variant=variant, seed=seed, attempts=attempts)
        return RunResult(variant, seed, key, attempts=attempts)

    def result(self, key: str) -> RunResult | None:
        """What was written last; None where nothing was, or something that does not belong to the key."""
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
        """When the run was tried, and how it ended; an attempt without an end was killed, or is not over."""
        found = read_json(self.path / ATTEMPTS)
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def attempt_starts(self, who: str) -> int:
        """Record that the run is tried; returns how often it has been now."""
        attempts = [*self.attempts(), {"started": _now(), "who": who}]
        write_json(self.path / ATTEMPTS, attempts)
        return len(attempts)

    def attempt_ends(self, how: str) -> None:
        """Record how the last attempt ended."""
        attempts = self.attempts()
        if attempts:
            attempts[-1] |= {"ended": _now(), "how": how}
            write_json(self.path / ATTEMPTS, attempts)


def slug(name: str) -> str:
    """A name as a folder can have it, different for different names."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}".lstrip("-")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
