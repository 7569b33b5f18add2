"""Worker processes, seen from the process that sends the requests."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, final

FOLDER = Path(__file__).parent
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables removed from the workers' environment, so that both implementations use torch's default threads."""


class WorkerError(Exception):
    """A worker could not answer, or has ended."""


@final
class Process:
    """One worker process, which starts immediately and waits for requests.

    Args:
        interpreter: Python interpreter that runs the script.
        script: path of the script, relative to this folder.
        seconds: time limit for an answer.
        library: folder of the checkout whose library the script imports; None for the installed one.
    """

    def __init__(self, interpreter: str, script: str, seconds: float = 1800.0, library: Path | None = None) -> None:
        self.seconds = seconds
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
        if library is not None:
            environment["PYTHONPATH"] = str(library)
        self.process = subprocess.Popen(
            [interpreter, str(FOLDER / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment,
            bufsize=0,  # select must not miss data in a buffer
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            WorkerError: the worker reported an error, exceeded the time limit, or has ended.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do} | request).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise WorkerError(self._death()) from None
        answer: dict[str, Any] = json.loads(self._line())
        if "error" in answer:
            raise WorkerError(answer["error"].splitlines()[0])
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.log.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self) -> bytes:
        output = self.process.stdout
        assert output is not None
        while True:
            # the worker writes complete lines, and only in answer to a request
            if not select.select([output], [], [], self.seconds)[0]:
                raise WorkerError(f"no answer within {self.seconds:.0f} s")
            line = output.readline()
            if not line:
                raise WorkerError(self._death())
            if line.startswith(b"{"):  # imports may print
                return line

    def _death(self) -> str:
        code = self.process.wait()
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        if code == -signal.SIGKILL:
            return "killed, probably because the memory was exhausted"
        how = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"{how}{': ' + lines[-1] if lines else ''}"


def memory_limit(share: float = 0.9) -> int | None:
    """Return the memory limit of a worker in bytes, a share of the available memory; None if that is unknown.

    A worker that exceeds the limit fails on its own. Without a limit, the operating system might kill any process.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return int(share * kilobytes * 1024)
