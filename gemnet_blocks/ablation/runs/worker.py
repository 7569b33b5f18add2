"""A process that does one run: `python -m gemnet_blocks.ablation.runs.worker FOLDER --learner module:Class`."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gemnet_blocks.ablation.runs.jobs import imported
from gemnet_blocks.spec.catalog import Catalog
from gemnet_blocks.util.version import LIBRARY_VERSION

BUSY = 75
"""The exit code where somebody else does the run."""

FAILED = 1
"""The exit code where the run failed, which its result says."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the run of a folder; returns an exit code."""
    parser = argparse.ArgumentParser(prog="gemnet_blocks.ablation.runs.worker", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--learner", required=True, metavar="MODULE:CLASS")
    parser.add_argument("--token", help="of a claim that is handed over")
    parser.add_argument("--parent", type=int, help="the process whose end is this one's, too")
    parser.add_argument("--part", action="append", default=[], metavar="NAME=MODULE:CLASS")
    parser.add_argument("--allow-imports", action="store_true")
    given = parser.parse_args(arguments)
    parts = {name: imported(place) for name, _, place in (one.partition("=") for one in given.part)}
    catalog = Catalog(parts, given.allow_imports)
    return work(given.folder, imported(given.learner), catalog, given.token, given.parent)


def work(
    folder: Path,
    learner_class: Any,
    catalog: Catalog,
    token: str | None = None,
    parent: int | None = None,
) -> int:
    """Do the run of a folder, unless somebody else does it or it is done.

    Args:
        folder: of the run.
        learner_class: the class of what learns.
        catalog: the parts that specs may name.
        token: of a claim that is handed over to this process; None: it claims the run itself.
        parent: the process whose end is this one's, too.

    Returns:
        An exit code: 0, `BUSY`, `FAILED`, or 128 and the signal that stopped it.
    """
    from gemnet_blocks.ablation.runs.run_folder import Claim

    claim = Claim.acquire(folder) if token is None else Claim.adopt(folder, token)
    if claim is None:
        return BUSY
    try:
        with _heartbeat(claim, parent):
            return _run(folder, learner_class, catalog)
    finally:
        claim.release()


def _run(folder: Path, learner_class: Any, catalog: Catalog) -> int:
    from gemnet_blocks.ablation.results import RunResult
    from gemnet_blocks.ablation.runs.run_folder import RunFolder, owner
    from gemnet_blocks.ablation.runs.worker import environment
    from gemnet_blocks.training.failures import Interrupted

    run = RunFolder(folder)
    task, settings = run.task(catalog)
    done = run.result(task.key)
    if done is not None and done.status == "done":
        return 0
    result = RunResult(task.variant, task.seed, task.key, attempts=run.attempt_starts(owner(folder) or ""))
    fields = {name: getattr(result, name) for name in ("variant", "seed", "key", "attempts")}
    try:
        fit = learner_class(**settings).fit(task, folder)
        told = {**environment(), **fit.environment}
        checked = {name: float(value) for name, value in fit.metrics.items()}
        bad = [name for name, value in checked.items() if value - value != 0]
        if bad:
            raise ValueError(f"{', '.join(bad)}: is NaN or infinite")
        run.write(
            RunResult(**fields, status="done", metrics=checked, curve=tuple(fit.curve), cost=fit.cost, environment=told)
        )
    except Interrupted as stopped:
        run.attempt_ends(f"stopped by signal {stopped.signal}")
        return 128 + int(stopped.signal)
    except KeyboardInterrupt:
        run.attempt_ends(f"stopped by signal {int(signal.SIGINT)}")
        return 128 + int(signal.SIGINT)
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        run.write(RunResult(**fields, status="failed", error=message, environment=environment()))
        run.attempt_ends(message)
        return FAILED
    run.attempt_ends("done")
    return 0


@contextmanager
def _heartbeat(claim: Any, parent: int | None) -> Iterator[None]:
    """Show that the run goes on, and stop it when it must not."""
    from gemnet_blocks.ablation.runs.run_folder import BEAT

    over = threading.Event()

    def beat() -> None:
        last = time.monotonic()
        while not over.wait(1.0):
            orphaned = parent is not None and os.getppid() != parent
            lost = False
            if time.monotonic() - last >= BEAT:
                last, lost = time.monotonic(), not claim.beat()
            if orphaned or lost:
                # training saves its state; nothing else minds
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())


def environment() -> dict[str, Any]:
    """Versions, processor and threads of this process."""
    import torch

    return {
        "gemnet_blocks": LIBRARY_VERSION,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "host": platform.node(),
        "cpu": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def processor() -> str:
    """The name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
