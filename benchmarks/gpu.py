"""Check and measure this library on a CUDA device in less than 8 minutes, and write gpu.json and GPU.md.

    python benchmarks/gpu.py [--device cuda] [--reference PYTHON] [--quick] [--only PATTERN] [--output FOLDER]

`--reference` is a Python interpreter with the published implementation (fairchem-core 1.10.0). `--quick` measures tiny
models, to see that every part runs, also with `--device cpu`. Each section has a time limit. A part that fails is
recorded with its error, and the next part is measured.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, final

import torch
from cases import BFLOAT16, MAIN_PLAN, Case
from compare import SEED, difference
from markdown_tables import NONE, cell, table
from processes import FOLDER, Process, WorkerError
from results import REFERENCE, machine

LIMIT = 470.0
"""The time in seconds after which nothing is measured anymore."""

HERE, THERE = "worker_gpu.py", "worker_reference.py"
"""The scripts that measure this library and the published implementation."""

COMPILED = {"compiled": {"compile": True}}
Row = dict[str, Any]
"""One line of a table, by the names of its columns."""

FORMATS = {"ms": ".2f", "first s": ".1f", "MB": ".0f", "launches": ",d", "difference": ".1e", "per second": ".1f"}
TOY: Mapping[str, Any] = {
    "sizes.atom": 8,
    "sizes.edge": 8,
    "blocks.count": 1,
    "bases.radial.count": 6,
    "bases.circular.count": 3,
    "bases.spherical.count": 3,
    **{f"graphs.{name}.cutoff": 4.0 for name in ("atom", "main", "atom_edge", "quad")},
}
"""The patch of models that are measured with `--quick`."""


@dataclass(frozen=True)
class Settings:
    """The options of the script.

    Attributes:
        device: the device of the computation.
        quick: measure tiny models once.
        reference: the interpreter of the published implementation; None: measure only this library.
    """

    device: str
    quick: bool = False
    reference: str | None = None

    @property
    def repeats(self) -> int:
        """The number of timed runs."""
        return 1 if self.quick else 5

    def sized(self, case: Case) -> Case:
        """Return the case itself, or a tiny one of the same kind."""
        return replace(case, side=2, copies=min(case.copies, 2), changes=TOY) if self.quick else case


@final
class Workers:
    """Worker processes, each started at its first request and again after a failure.

    Args:
        settings: the options of the script.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.until = time.monotonic() + LIMIT
        self._processes: dict[str, Process] = {}

    def ask(self, script: str, do: str, **request: Any) -> dict[str, Any]:
        """Send a request to a worker and return the answer.

        Raises:
            WorkerError: the worker failed, or the time of the section is over.
        """
        seconds = self.until - time.monotonic()
        if seconds <= 0:
            raise WorkerError("not measured: the time limit of the section is over")
        if script not in self._processes:
            interpreter = str(self.settings.reference) if script == THERE else sys.executable
            self._processes[script] = Process(interpreter, script)
        self._processes[script].seconds = seconds
        try:
            return self._processes[script].ask(do, **request)
        except WorkerError:
            self._processes.pop(script).close()  # a device may be unusable after an error
            raise

    def close(self) -> None:
        """End all processes."""
        for process in self._processes.values():
            process.close()
        self._processes = {}


Measure = Callable[[Workers, Settings], Iterator[Row]]


@dataclass(frozen=True)
class Section:
    """One table of the page.

    Attributes:
        name: the heading.
        seconds: the time limit.
        measure: yields the rows as they are measured.
        about: a sentence below the heading.
    """

    name: str
    seconds: float
    measure: Measure
    about: str = field(default="")


def parity(workers: Workers, settings: Settings) -> Iterator[Row]:
    """Compare all recorded predictions of the published implementations."""
    yield from _differences(workers, {"task": "parity", "most": 1 if settings.quick else None})


def gradients(workers: Workers, settings: Settings) -> Iterator[Row]:
    """Compare forces, stresses and gradients of weights with those of the CPU."""
    case = settings.sized(Case("small", "training", 3, 2, "gradient"))
    with CaseFiles(case) as request:
        yield from _differences(workers, {**request, "task": "gradients"})


def eager(workers: Workers, settings: Settings) -> Iterator[Row]:
    """Measure the small and the base model, and the published implementation if it is given."""
    for case in (
        Case("small", "forward", 3, 4),
        Case("small", "training", 3, 4, "direct"),
        Case("small", "training", 3, 4, "gradient"),
        Case("paper", "forward", 3, 4),
        Case("paper", "training", 3, 4, "gradient"),
    ):
        yield from _case(workers, settings, case, {MAIN_PLAN: {}}, reference=settings.reference is not None)


def compiled(workers: Workers, settings: Settings) -> Iterator[Row]:
    """Measure the small model with compiled code."""
    for case in (Case("small", "forward", 3, 4, "gradient"), Case("small", "training", 3, 4, "gradient")):
        yield from _case(workers, settings, case, {MAIN_PLAN: {}, **COMPILED})


def bfloat16(workers: Workers, settings: Settings) -> Iterator[Row]:
    """Measure products in bfloat16."""
    for case in (Case("small", "forward", 3, 4), Case("paper", "forward", 3, 4)):
        yield from _case(workers, settings, case, {MAIN_PLAN: {}, **BFLOAT16})


def batch_sizes(workers: Workers, settings: Settings) -> Iterator[Row]:
    """Measure predictions of 1 to 64 structures."""
    for copies in (1, 2) if settings.quick else (1, 2, 4, 8, 16, 32, 64):
        case = replace(settings.sized(Case("small", "forward", 3, copies, "gradient")), copies=copies)
        yield from _rows(workers, settings, case, {MAIN_PLAN: {}})


def slabs(workers: Workers, settings: Settings) -> Iterator[Row]:
    """Measure energies and gradient forces of slabs with up to 10,000 atoms."""
    for side in (2, 3) if settings.quick else (5, 11, 25, 50):
        case = replace(settings.sized(Case("small", "forward", side, 1, "gradient", adsorbate=False)), side=side)
        yield from _rows(workers, settings, case, {MAIN_PLAN: {}})


def calculator(workers: Workers, settings: Settings) -> Iterator[Row]:
    """Measure steps of the ASE calculator, eager and compiled."""
    for side in (3,) if settings.quick else (3, 7):
        case = replace(settings.sized(Case("small", "forward", side, 1, "gradient", adsorbate=False)), side=side)
        for row in _rows(workers, settings, case, {MAIN_PLAN: {}, **COMPILED}, task="calculator"):
            if "ms" in row:
                row["per second"] = 1e3 / row["ms"]
            yield row


SECTIONS: Sequence[Section] = (
    Section("Parity", 60, parity, "Largest difference from recorded predictions of the published implementations."),
    Section("Gradients", 30, gradients, "Largest difference between the device and the CPU in double precision."),
    Section("Small and base model", 120, eager),
    Section("Compiled code", 110, compiled, "The first run includes compilation."),
    Section("Products in bfloat16", 30, bfloat16, "The difference is that from products in float32."),
    Section("Batch sizes", 40, batch_sizes),
    Section("Large slabs", 50, slabs),
    Section("Calculator", 30, calculator),
)


@final
class CaseFiles:
    """Context with the request for a case, whose structures are in a temporary folder.

    Args:
        case: the case.
    """

    def __init__(self, case: Case) -> None:
        self._case, self._folder = case, tempfile.TemporaryDirectory()

    def __enter__(self) -> dict[str, Any]:
        path = Path(self._folder.name) / "structures.extxyz"
        self._case.write(path)
        weights = str(path.with_name("weights.pt"))
        arguments = self._case.arguments()
        return {"task": self._case.task, "file": str(path), "weights": weights, "seed": SEED, "arguments": arguments}

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _differences(workers: Workers, request: Mapping[str, Any]) -> Iterator[Row]:
    try:
        workers.ask(HERE, "prepare", **request, device=workers.settings.device)
        found = workers.ask(HERE, "outputs")["differences"]
    except WorkerError as error:
        yield {"case": request["task"], "error": str(error)}
        return
    for name, value in found.items():
        yield {"case": name, "difference": value}


def _case(
    workers: Workers, settings: Settings, case: Case, plans: Mapping[str, Mapping[str, Any]], reference: bool = False
) -> Iterator[Row]:
    return _rows(workers, settings, settings.sized(case), plans, reference)


def _rows(
    workers: Workers,
    settings: Settings,
    case: Case,
    plans: Mapping[str, Mapping[str, Any]],
    reference: bool = False,
    task: str | None = None,
) -> Iterator[Row]:
    """Measure a case with the same weights under each plan, and compare outputs with the first one."""
    entrants = [(REFERENCE, THERE, {})] if reference else []
    entrants += [(plan, HERE, execution) for plan, execution in plans.items()]
    first: dict[str, Any] = {}
    with CaseFiles(case) as request:
        weights = Path(request.pop("weights"))
        request |= {"device": settings.device, "task": task or case.task}
        for plan, script, execution in entrants:
            row: Row = {"case": case.name, "executed": plan}
            try:
                place = {"load" if weights.exists() else "save": str(weights)}
                row |= _measured(workers, script, {**request, **place, "execution": execution}, settings.repeats)
                outputs = row.pop("outputs")
                if first:
                    row["difference"] = difference(first, outputs)
                first = first or outputs
            except WorkerError as error:
                row["error"] = str(error)
            yield row


def _measured(workers: Workers, script: str, request: Mapping[str, Any], repeats: int) -> Row:
    workers.ask(script, "prepare", **request)
    started = time.perf_counter()
    outputs = workers.ask(script, "outputs")
    first = time.perf_counter() - started
    workers.ask(script, "run")
    workers.ask(script, "reset_memory")
    seconds = [workers.ask(script, "run")["seconds"] for _ in range(repeats)]
    return {
        "outputs": outputs,
        "ms": 1e3 * median(seconds),
        "first s": first,
        "MB": workers.ask(script, "memory")["megabytes"],
        "launches": workers.ask(script, "launches")["launches"],
    }


def measured(settings: Settings, only: str = "") -> dict[str, list[Row]]:
    """Measure all sections whose names match a pattern, and print each row."""
    workers, end = Workers(settings), time.monotonic() + LIMIT
    found: dict[str, list[Row]] = {}
    try:
        for section in SECTIONS:
            if not re.search(only, section.name):
                continue
            print(f"\n{section.name}", flush=True)
            workers.until = min(end, time.monotonic() + section.seconds)
            found[section.name] = []
            for row in section.measure(workers, settings):
                found[section.name].append(row)
                print("  " + ", ".join(_texts(row, row).values()), flush=True)
    finally:
        workers.close()
    return found


def _texts(row: Row, columns: Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    texts = {}
    for name in columns:
        value = row.get(name)
        text = NONE if value is None else format(value, FORMATS[name]) if name in FORMATS else cell(str(value))
        texts[name] = f"{text} {name}" if columns is row and name in FORMATS else text
    return texts


def page(record: Mapping[str, Any]) -> str:
    """Write the page."""
    setting = record["setting"]
    parts = ["# Measurements on a GPU\n", "Written by `make gpu`, or by `python benchmarks/gpu.py`.\n"]
    if setting["device"] == "cpu":
        parts.append("**These measurements are from a CPU and only show that every part runs.**\n")
    if setting["quick"]:
        parts.append("The models are tiny (`--quick`): times mean nothing.\n")
    parts.append(table(["", ""], [[name, cell(str(value))] for name, value in setting.items()]))
    parts.append(
        "`ms`: median time of a run in milliseconds. `first s`: seconds of the first run, including compilation. `MB`: "
        "peak memory of the device (on a CPU: of the process). `launches`: kernels that one run launches (on a CPU: "
        "operations of torch), counted by torch.profiler. `difference`: largest difference from the first row of the "
        "case, relative to the largest value.\n"
    )
    for section in SECTIONS:
        rows = record["sections"].get(section.name)
        if rows:
            columns = list(dict.fromkeys(name for row in rows for name in row))
            parts += [f"## {section.name}\n", *([section.about + "\n"] if section.about else [])]
            parts.append(table(columns, [list(_texts(row, columns).values()) for row in rows]))
    return "\n".join(parts)


def _setting(settings: Settings) -> dict[str, Any]:
    device = torch.device(settings.device)
    about = {"device": settings.device, "quick": settings.quick, "torch": torch.__version__, **machine()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about |= {"gpu": properties.name, "gpu memory GB": round(properties.total_memory / 1e9)}
        about |= {"cuda": torch.version.cuda}
    return {**about, "date": time.strftime("%Y-%m-%d")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="measure tiny models once")
    parser.add_argument("--reference", help="a Python interpreter with fairchem-core 1.10.0")
    parser.add_argument("--only", default="", help="measure the sections whose names match this regular expression")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of gpu.json and GPU.md")
    options = parser.parse_args(arguments)
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA device was found: run this on a machine with one, or try it with --device cpu --quick")
    settings = Settings(options.device, options.quick, options.reference or None)
    record = {"setting": _setting(settings), "sections": measured(settings, options.only)}
    (options.output / "gpu.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (options.output / "GPU.md").write_text(page(record), encoding="utf-8")
    print(f"\nwrote {options.output / 'gpu.json'} and GPU.md")


if __name__ == "__main__":
    main()
