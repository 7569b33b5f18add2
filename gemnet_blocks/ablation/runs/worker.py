"""The worker process of one run: `python -m gemnet_blocks.ablation.runs.worker FOLDER --learner module:Class`."""

from __future__ import annotations

import argparse
import math
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

import torch

from gemnet_blocks.ablation.results import RunResult
from gemnet_blocks.ablation.runs.jobs import imported
from gemnet_blocks.ablation.runs.run_folder import BEAT, Claim, RunFolder, owner
from gemnet_blocks.spec.catalog import Catalog
from gemnet_blocks.training.failures import Interrupted
from gemnet_blocks.util.version import LIBRARY_VERSION

BUSY = 75
"""Exit code if another process owns the run."""

FAILED = 1
"""Exit code if the run failed and its result contains the error."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse command-line arguments, do the run of a folder and return the exit code."""
    parser = argparse.ArgumentParser(prog="gemnet_blocks.ablation.runs.worker", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--learner", required=True, metavar="MODULE:CLASS")
    parser.add_argument("--token", help="token of a claim that the worker takes over")
    parser.add_argument("--parent", type=int, help="process id of the driver; the worker stops when the driver ends")
    parser.add_argument("--part", action="append", default=[], metavar="NAME=MODULE:CLASS")
    parser.add_argument("--allow-imports", action="store_true")
    given = parser.parse_args(arguments)
    parts = {name: imported(place) for name, _, place in (part.partition("=") for part in given.part)}
    catalog = Catalog(parts, given.allow_imports)
    return work(given.folder, imported(given.learner), catalog, given.token, given.parent)


def work(
    folder: Path,
    learner_class: Any,
    catalog: Catalog,
    token: str | None = None,
    parent: int | None = None,
) -> int:
    """Do the run of a folder unless it is done or another process owns it.

    Args:
        folder: folder of the run.
        learner_class: class of the learner.
        catalog: components that specs may name.
        token: token of a claim that this process takes over; None: it claims the run itself.
        parent: process id of the driver; this process stops when the driver ends.

    Returns:
        The exit code: 0, `BUSY`, `FAILED`, or 128 plus the number of the signal that stopped the run.
    """
    claim = Claim.acquire(folder) if token is None else Claim.adopt(folder, token)
    if claim is None:
        return BUSY
    try:
        with _heartbeat(claim, parent):
            return _run(RunFolder(folder), learner_class, catalog)
    finally:
        claim.release()


def _run(run: RunFolder, learner_class: Any, catalog: Catalog) -> int:
    task, settings = run.task(catalog)
    done = run.result(task.key)
    if done is not None and done.status == "done":
        return 0
    identity: dict[str, Any] = {
        "variant": task.variant,
        "seed": task.seed,
        "key": task.key,
        "attempts": run.attempt_starts(owner(run.path) or ""),
    }
    try:
        fit = learner_class(**settings).fit(task, run.path)
        metrics = {name: float(value) for name, value in fit.metrics.items()}
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            raise ValueError(f"metrics must be finite, got NaN or infinity for {', '.join(bad)}")
        found = {"metrics": metrics, "curve": tuple(fit.curve), "cost": fit.cost}
        found |= {"baseline": fit.baseline, "elements": fit.elements, "parity": fit.parity}
        run.write(RunResult(**identity, **found, status="done", environment={**environment(), **dict(fit.environment)}))
    except (Interrupted, KeyboardInterrupt) as stopped:
        number = int(stopped.signal if isinstance(stopped, Interrupted) else signal.SIGINT)
        run.attempt_ends(f"stopped by signal {number}")
        return 128 + number
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        run.write(RunResult(**identity, status="failed", error=message, environment=environment()))
        run.attempt_ends(message)
        return FAILED
    run.attempt_ends("done")
    return 0


@contextmanager
def _heartbeat(claim: Claim, parent: int | None) -> Iterator[None]:
    """Renew the claim while the run is active, and stop this process if it lost the claim or its driver."""
    over = threading.Event()

    def beat() -> None:
        last = time.monotonic()
        while not over.wait(1.0):
            orphaned = parent is not None and os.getppid() != parent
            lost = False
            if time.monotonic() - last >= BEAT:
                last, lost = time.monotonic(), not claim.beat()
            if orphaned or lost:
                os.kill(os.getpid(), signal.SIGTERM)  # on which training saves its state
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def environment() -> dict[str, Any]:
    """Return versions, processor and threads of this process."""
    return {
        "gemnet_blocks": LIBRARY_VERSION,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "host": platform.node(),
        "cpu": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
