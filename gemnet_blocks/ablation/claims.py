"""Who does a run: claims that end with their owner, so that no run is done twice and none is left undone."""

from __future__ import annotations

import os
import socket
import time
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemnet_blocks.ablation.files import read_json, write_json
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
