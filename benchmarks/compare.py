"""Measure this library and the published implementation in turns, and write RESULTS.md.

    python benchmarks/compare.py --reference PYTHON [--only PATTERN] [--repeats N] [--execution JSON] [--output FOLDER]

`--reference` is a Python interpreter with the published implementation (fairchem-core 1.10.0). The recorded results of
cases that are not measured are kept.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from cases import CASES, MAIN_PLAN, Case
from processes import FOLDER, Process, WorkerError, memory_limit
from results import REFERENCE, load, machine, save, update_page

SCRIPTS = {True: "worker_reference.py", False: "worker_here.py"}
"""Worker scripts of the published implementation (True) and of this library (False)."""

SEED = 0


@final
class Entrant:
    """One implementation with one execution plan, measured on one case.

    The first failure is recorded and ends the measurement of this entrant.

    Args:
        plan: name in the results.
        interpreter: Python interpreter that runs the worker.
        script: script of the worker.
        execution: options of `Execution`.
        library: folder of the checkout whose library is measured; None for the installed one.
    """

    def __init__(
        self, plan: str, interpreter: str, script: str, execution: Mapping[str, Any], library: Path | None = None
    ) -> None:
        self.plan, self.execution = plan, dict(execution)
        self.process = Process(interpreter, script, library=library)
        self.record: dict[str, Any] = {"plan": plan, "execution": self.execution, "seconds": []}

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Return the worker's answer; empty if this or an earlier request failed."""
        if "failure" in self.record:
            return {}
        try:
            return self.process.ask(do, **request)
        except WorkerError as error:
            self.record["failure"] = str(error)
            self.process.close()
            return {}

    def close(self) -> None:
        """End the worker process."""
        if "failure" not in self.record:
            self.process.close()


def measure(
    case: Case,
    reference: str | None,
    plans: Mapping[str, Mapping[str, Any]],
    repeats: int,
    setting: Mapping[str, Any],
) -> dict[str, Any]:
    """Measure a case: each entrant runs in a fresh process, and the entrants take turns.

    Args:
        case: the case to measure.
        reference: the interpreter of the published implementation; None measures only this library.
        plans: options of `Execution` by name.
        repeats: measured runs of each entrant, after one warm-up run.
        setting: description of the machine.

    Returns:
        The record of the case in results.json.
    """
    both = reference is not None and case.reference
    entrants = [Entrant(REFERENCE, str(reference), SCRIPTS[True], {})] if both else []
    entrants += [Entrant(plan, sys.executable, SCRIPTS[False], options) for plan, options in plans.items()]
    try:
        versions = {"here": entrants[-1].ask("versions")}
        if both:
            versions[REFERENCE] = entrants[0].ask("versions")
        run(case, entrants, repeats)
    finally:
        for entrant in entrants:
            entrant.close()
    return {
        "setting": {**setting, **versions},
        "date": time.strftime("%Y-%m-%d"),
        "repeats": repeats,
        "entrants": [entrant.record for entrant in entrants],
    }


def run(case: Case, entrants: Sequence[Entrant], repeats: int) -> None:
    """Let entrants take turns on a case, and record times, memory and differences from the first one."""
    limit = memory_limit()
    with tempfile.TemporaryDirectory() as folder:
        structures, weights = Path(folder) / "structures.extxyz", Path(folder) / "weights.pt"
        case.write(structures)
        request = {"task": case.task, "file": str(structures), "seed": SEED, "arguments": case.arguments()}
        for entrant in entrants:
            if limit:
                entrant.ask("limit", bytes=limit)
            # all entrants load the weights of the first
            place = {"load" if weights.exists() else "save": str(weights)}
            entrant.record.update(entrant.ask("prepare", **request, **place, execution=entrant.execution))
        exact = _exact(request, weights) if case.task != "graphs" and entrants[0].plan == REFERENCE else {}
        outputs = [entrant.ask("outputs") for entrant in entrants]
        firsts = []
        for entrant in entrants:
            entrant.ask("reset_memory")
            firsts.append(entrant.ask("run"))  # warm-up
        for entrant, found, first in zip(entrants, outputs, firsts, strict=True):
            if found and exact:
                entrant.record["error"] = difference(exact, found)
            if entrant is entrants[0]:
                continue
            if found and outputs[0]:
                entrant.record["difference"] = difference(outputs[0], found)
            if "gradient" in first and "gradient" in firsts[0]:
                entrant.record["gradient_difference"] = relative(firsts[0]["gradient"], first["gradient"])
        for _ in range(repeats):
            for entrant in entrants:
                if found := entrant.ask("run"):
                    entrant.record["seconds"].append(found["seconds"])
        for entrant in entrants:
            entrant.record.update(entrant.ask("memory"))


def _exact(request: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    """Return the outputs of this library in double precision; empty if they cannot be computed."""
    with Process(sys.executable, SCRIPTS[False]) as process:
        try:
            process.ask("prepare", **{**request, "task": "forward", "load": str(weights), "dtype": "float64"})
            return process.ask("outputs")
        except WorkerError:
            return {}


def difference(these: Mapping[str, Any], those: Mapping[str, Any]) -> float:
    """Return the largest difference over all outputs, relative to the largest absolute value of each output."""
    return max(_difference(value, those[name]) for name, value in these.items())


def _difference(this: Any, that: Any) -> float:
    if isinstance(this, Mapping):
        return max((relative(this[name], that.get(name, 0)) for name in this), default=0.0)
    return relative(this, that)


def relative(this: Any, that: Any) -> float:
    """Return max |a - b| / max |a|; infinite if the shapes differ or a value is not finite."""
    a, b = np.asarray(this, dtype=float), np.asarray(that, dtype=float)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    scale = float(np.abs(a).max(initial=0.0))
    apart = float(np.abs(a - b).max(initial=0.0))
    return apart / scale if scale else (0.0 if apart == 0 else float("inf"))


def main() -> None:
    """Measure the cases, record each when it is finished, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", help="a Python interpreter with fairchem-core 1.10.0")
    parser.add_argument("--only", default="", help="measure the cases whose names match this regular expression")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--execution", type=json.loads, help="options of Execution as JSON, measured as an additional plan"
    )
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of results.json and RESULTS.md")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and exit")
    arguments = parser.parse_args()
    chosen = [case for case in CASES if re.search(arguments.only, case.name)]
    if arguments.list:
        print("\n".join(case.name for case in chosen))
        return
    setting = machine()
    for case in chosen:
        if case.reference and not arguments.reference:
            print(f"{case.name}: not measured, previous results kept; set --reference to measure it", flush=True)
            continue
        plans = {MAIN_PLAN: {}, **case.plans}
        if arguments.execution:
            plans[json.dumps(arguments.execution)] = arguments.execution
        record = measure(case, arguments.reference, plans, arguments.repeats, setting)
        results = load(arguments.output)
        results[case.name] = record
        save(results, arguments.output)
        print(summary(case.name, record), flush=True)
    update_page(arguments.output)


def summary(name: str, record: Mapping[str, Any]) -> str:
    """Return one line of text for each entrant of a case."""
    lines = [name]
    for entrant in record["entrants"]:
        seconds = entrant["seconds"]
        found = entrant.get("failure") or (
            f"{np.median(seconds):.3f} s, {entrant['megabytes']:.0f} MB"
            + (f", difference {entrant['difference']:.0e}" if "difference" in entrant else "")
        )
        lines.append(f"    {entrant['plan']:24s} {found}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
