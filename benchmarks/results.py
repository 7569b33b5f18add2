"""Recorded results, and the page RESULTS.md that is written from them."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from cases import CASES, ROUNDING, TARGETS, TOLERANCE, Target
from markdown_tables import NONE, cell, number, table
from scaling_tables import section, target_rows

REFERENCE = "reference"
"""Plan name of the published implementation among the entrants of a case."""

BEGIN, END = "<!-- remarks, kept when this page is written again -->", "<!-- end of the remarks -->"

INTRODUCTION = """\
# Benchmarks

Written by `make benchmarks REFERENCE=python`; [README.md](README.md) describes the measurements.
`reference` is the published implementation (fairchem-core). All other rows are this library with the same weights:
`float32` with default options, the others with the execution options in their names.
"""

HEADER = (
    "case", "executed", "median s", "min s", "max s", "memory MB", "times faster", "times less memory", "difference",
    "error", "gradient difference", "measured",
)  # fmt: skip

LEGEND = """\
Times are seconds per run. `memory`: peak resident memory minus the memory after the imports. `times faster`, `times
less memory`: median time and memory of the reference divided by those of the row. `difference`: largest difference
from the energies and forces of the reference, relative to the largest value of each (for graphs: from the numbers of
edges); float32 rows above {tolerance:.0e} are marked with **!**. `error`: the same relative to outputs in double
precision, that is, the rounding error. A target is missed because of its outputs if they are marked and their error
exceeds {rounding:g} times that of the reference. `gradient difference`: relative difference of the norm of the gradient
with respect to the weights in the first step.
"""


def load(folder: Path) -> dict[str, Any]:
    """Read the recorded cases by name."""
    path = folder / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def save(results: Mapping[str, Any], folder: Path) -> None:
    """Write the recorded cases."""
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Describe the machine."""
    info, memory = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    lines = info.read_text().splitlines() if info.exists() else []
    about = dict(line.split(":", 1) for line in lines if ":" in line)
    about = {name.strip(): value.strip() for name, value in about.items()}
    flags = set(about.get("flags", "").split())
    total = int(memory.read_text().split()[1]) / 1e6 if memory.exists() else None
    return {
        "cpu": about.get("model name") or platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags],
        "cores": os.cpu_count(),
        "memory GB": total and round(total),
        "os": platform.platform(),
    }


def update_page(folder: Path) -> None:
    """Write RESULTS.md from the results recorded in the folder, and keep its remarks."""
    page, scaling = folder / "RESULTS.md", folder / "scaling.json"
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    remarks = old.partition(BEGIN)[2].partition(END)[0] or "\n"
    text = text_of(load(folder), json.loads(scaling.read_text(encoding="utf-8")) if scaling.exists() else {}, remarks)
    page.write_text(text, encoding="utf-8")


def text_of(results: Mapping[str, Any], scaling: Mapping[str, Any], remarks: str) -> str:
    """Return the text of the page."""
    settings: list[Any] = []
    for record in results.values():
        if record["setting"] not in settings:
            settings.append(record["setting"])
    targets = [*(_target(target, results) for target in TARGETS), *target_rows(scaling)]
    names = [case.name for case in CASES if case.name in results]
    names += [name for name in results if name not in names]
    rows = [row for name in names for row in _rows(name, results[name], settings)]
    parts = [
        INTRODUCTION,
        f"{BEGIN}{remarks}{END}\n",
        "## Targets\n",
        table(("case", "executed", "target", "reached", ""), targets),
        "## All cases\n",
        LEGEND.format(tolerance=TOLERANCE, rounding=ROUNDING),
        table(HEADER, rows),
        section(scaling),
        "## Machine and versions\n",
        "\n".join(_setting(number, setting) for number, setting in enumerate(settings, 1)),
    ]
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def _target(target: Target, results: Mapping[str, Any]) -> tuple[str, ...]:
    wanted, reached, verdict = [], [], "passed"
    entrants = {one["plan"]: one for one in results.get(target.case, {"entrants": []})["entrants"]}
    here, reference = entrants.get(target.plan), entrants.get(REFERENCE)
    speed, memory = ratio(reference, here, "seconds"), ratio(reference, here, "megabytes")
    for least, found, words in ((target.speed, speed, "times faster"), (target.memory, memory, "times less memory")):
        if least is not None:
            wanted.append(f"{least:g} {words}")
            reached.append(NONE if found is None else f"{found:.1f} {words}")
            verdict = "missed" if found is None or found < least else verdict
    if target.limit is not None:
        used = here and here.get("megabytes")
        wanted.append(f"under {target.limit:g} GB")
        reached.append(NONE if used is None else f"{used / 1e3:.1f} GB")
        verdict = "missed" if used is None or used / 1e3 >= target.limit else verdict
    if here and reference and _apart(here) and not _as_exact(here, reference):
        verdict = "missed: outputs differ"
    failure = (here or {}).get("failure") or (reference or {}).get("failure")
    verdict = "not measured" if here is None else f"missed: {cell(failure)}" if failure else verdict
    return target.case, target.plan, ", ".join(wanted), ", ".join(reached), verdict


def ratio(reference: Mapping[str, Any] | None, here: Mapping[str, Any] | None, name: str) -> float | None:
    """Return the ratio of the reference's value to this library's; None if one of them is missing."""
    values = []
    for one in (reference, here):
        value = one.get(name) if one else None
        values.append(statistics.median(value) if isinstance(value, list) and value else value)
    theirs, ours = values
    return theirs / ours if theirs and ours and ours > 0 else None


def _apart(entrant: Mapping[str, Any]) -> bool:
    """Check if outputs differ that should agree within `TOLERANCE`."""
    return entrant["plan"] != REFERENCE and _single(entrant) and entrant.get("difference", 0) > TOLERANCE


def _as_exact(here: Mapping[str, Any], reference: Mapping[str, Any]) -> bool:
    """Check if the error is comparable to the reference's, so that rounding explains the difference."""
    return "error" in here and here["error"] <= max(TOLERANCE, ROUNDING * reference.get("error", 0.0))


def _single(entrant: Mapping[str, Any]) -> bool:
    return entrant["execution"].get("matmul", "float32") == "float32"


def _rows(name: str, record: Mapping[str, Any], settings: list[Any]) -> Iterator[tuple[str, ...]]:
    entrants = record["entrants"]
    reference = next((one for one in entrants if one["plan"] == REFERENCE), None)
    where = f"{record['date']}, {record['repeats']} run{'s' * (record['repeats'] != 1)}" + (
        f" ({settings.index(record['setting']) + 1})" if len(settings) > 1 else ""
    )
    for one in entrants:
        start = (name if one is entrants[0] else "", one["plan"])
        if "failure" in one:
            yield (*start, f"failed: {cell(one['failure'])}", *[""] * (len(HEADER) - 4), where)
            continue
        ours = one is not reference
        yield (
            *start,
            f"{statistics.median(one['seconds']):.3f}",
            f"{min(one['seconds']):.3f}",
            f"{max(one['seconds']):.3f}",
            f"{one['megabytes']:.0f}",
            number(ratio(reference, one, "seconds") if ours else None, ".2f"),
            number(ratio(reference, one, "megabytes") if ours else None, ".2f"),
            number(one.get("difference"), ".1e") + (" **!**" if _apart(one) else ""),
            number(one.get("error"), ".1e"),
            number(one.get("gradient_difference"), ".1e"),
            where,
        )


def _setting(index: int, setting: Mapping[str, Any]) -> str:
    described = {
        name: ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else value
        for name, value in setting.items()
    }
    lines = [f"{name}: {', '.join(value) if isinstance(value, list) else value}" for name, value in described.items()]
    return f"{index}. " + "; ".join(lines)
