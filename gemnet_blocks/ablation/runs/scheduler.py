"""Starts runs, watches them, tries again what failed; several drivers may work on one folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import final

from gemnet_blocks.ablation.claims import Claim
from gemnet_blocks.ablation.plan import PlannedRun
from gemnet_blocks.ablation.progress import Progress
from gemnet_blocks.ablation.results import RunResult
from gemnet_blocks.ablation.runs.executors import Executor, Handle
from gemnet_blocks.ablation.runs.jobs import Work
from gemnet_blocks.ablation.runs.worker import BUSY

PAUSE = 0.1
"""Seconds between two looks at what goes on."""

LOOK = 1.0
"""Seconds between two looks at what others do."""

PATIENCE = 60.0
"""Seconds that a worker has to save its state when the study is stopped."""


@final
class Driver:
    """Does all runs that are not done.

    Args:
        runs: all of them, in order.
        executor: where they are done.
        work: what workers need.
        retries: how often a run that failed is tried again.
        progress: shows how far it is.
    """

    def __init__(
        self, runs: Sequence[PlannedRun], executor: Executor, work: Work, retries: int, progress: Progress
    ) -> None:
        self._runs = {run.name: run for run in runs}
        self._executor, self._work, self._retries, self._progress = executor, work, retries, progress
        self._active: dict[str, tuple[Handle, Claim]] = {}
        self._failures = dict.fromkeys(self._runs, 0)
        self._states: dict[str, RunResult] = {}
        self._looked = float("-inf")

    def complete(self) -> None:
        """Go on until every run is done or has failed for the last time.

        Interrupted, it tells all workers to save their state and end.
        """
        try:
            while True:
                self._collect()
                self._look()
                open_runs = [name for name in self._runs if self._is_open(name)]
                self._progress.update(self._states, last=not open_runs)
                if not open_runs:
                    return
                if not self._start_one(open_runs):
                    time.sleep(PAUSE)
        finally:
            self._stop()

    def _is_open(self, name: str) -> bool:
        """Whether something is left to do for a run, or to wait for."""
        status = self._states[name].status
        return status != "done" and (name in self._active or status == "running" or self._may_start(name))

    def _may_start(self, name: str) -> bool:
        return self._failures[name] <= self._retries

    def _look(self) -> None:
        """See what is known of runs that are not done."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        for _, claim in self._active.values():
            claim.beat()  # while a run waits for its place in a queue, nobody else does
        for name in self._runs:
            if name not in self._states or self._states[name].status != "done":
                self._see(name)

    def _see(self, name: str) -> None:
        run = self._runs[name]
        self._states[name] = run.folder.state(run.task.variant, run.task.seed, run.task.key)

    def _start_one(self, open_runs: Sequence[str]) -> bool:
        """Start the next run, if there is one and a place for it."""
        if len(self._active) >= self._executor.slots:
            return False
        for name in open_runs:
            if name in self._active or not self._may_start(name) or self._states[name].status == "running":
                continue
            run = self._runs[name]
            claim = Claim.acquire(run.folder.path)
            self._see(name)
            if claim is None:
                continue
            if self._is_done(name, run):
                claim.release()
                continue
            self._launch(name, run, claim)
            return True
        return False

    def _is_done(self, name: str, run: PlannedRun) -> bool:
        """Whether somebody else has done the run since it was last looked at."""
        found = run.folder.result(run.task.key)
        if found is None or found.status != "done":
            return False
        self._see(name)
        return True

    def _launch(self, name: str, run: PlannedRun, claim: Claim) -> None:
        try:
            run.folder.prepare(run.task, self._work.settings)
            handle = self._executor.start(run.folder.path, claim.token, self._work)
        except BaseException:
            claim.release()
            raise
        self._active[name] = handle, claim
        self._see(name)

    def _collect(self) -> None:
        """Take notice of workers that have ended."""
        for name, (handle, claim) in list(self._active.items()):
            code = handle.poll()
            if code is None:
                continue
            del self._active[name]
            if code != BUSY:
                self._ended(name, code, claim)
            claim.release(whoever_has_it=True)
            self._see(name)

    def _ended(self, name: str, code: int, claim: Claim) -> None:
        run = self._runs[name]
        found = run.folder.result(run.task.key)
        if found is not None and found.status == "done":
            return
        self._failures[name] += 1
        told = found is not None and found.status == "failed" and code == 1
        if told or Claim.adopt(run.folder.path, claim.token) is None:
            return  # it has said why, or somebody else goes on with it
        run.folder.write(
            RunResult(
                run.task.variant,
                run.task.seed,
                run.task.key,
                "failed",
                error=_reason(code),
                attempts=len(run.folder.attempts()),
            )
        )

    def _stop(self) -> None:
        """End what still runs."""
        for handle, _ in self._active.values():
            handle.stop()
        deadline = time.monotonic() + PATIENCE
        for handle, claim in self._active.values():
            handle.wait(max(0.1, deadline - time.monotonic()))
            # a job that the cluster has not ended yet gives its run up itself
            claim.release(whoever_has_it=handle.poll() is not None)
        self._active.clear()


def _reason(code: int) -> str:
    if code < 0:
        hint = "; it may have needed more memory than there is" if code == -9 else ""
        return f"its process was killed by signal {-code}{hint}"
    if code > 128:
        return f"stopped by signal {code - 128}"
    return f"its process ended with code {code} and no result: see worker.log in its folder, or the log of its job"
