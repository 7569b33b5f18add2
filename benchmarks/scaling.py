"""Measure how time and memory of this library scale with atoms, quad neighbors and angular functions.

    python benchmarks/scaling.py [--only atoms|quad_neighbors|angular] [--most-atoms N] [--execution JSON]

Writes scaling.json, scaling.png and the scaling section of RESULTS.md. Results of other sweeps are kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cases import LIMITED, published_arguments, slab, write
from compare import SCRIPTS, SEED, Entrant
from processes import FOLDER, memory_limit
from results import machine, update_page
from scaling_tables import ANGULAR, ATOMS, DEFAULT, QUAD_NEIGHBORS, TITLES, least, points

PLANS: Mapping[str, Mapping[str, Any]] = {
    DEFAULT: {},
    "explicit": {"angular": "explicit"},
    "factorized": {"angular": "factorized"},
}
"""Execution options by name: algorithms of angular sums."""

SIDES = {484: 11, 1024: 16, 1936: 22, 10_000: 50}
"""Number of atoms along each side of a slab, by its number of atoms."""

LONG = 5000
"""Number of atoms from which a run takes minutes and does not need a warm-up run."""

QUADRUPLET_SIDE = 5


@dataclass(frozen=True)
class Sweep:
    """Measurements in which one parameter is varied.

    Attributes:
        name: name of the sweep.
        values: values of the parameter.
        task: the measured computation.
        plans: execution options by name.
        alternate: measure all values in turns, each in its own process, instead of one after another.
    """

    name: str
    values: Sequence[int]
    task: Literal["forward", "quadruplet"]
    plans: Mapping[str, Mapping[str, Any]]
    alternate: bool

    def request(self, value: int, folder: Path) -> dict[str, Any]:
        """Return the request that prepares a worker."""
        path = folder / f"{self.name}-{value}.extxyz"
        if self.name == ATOMS:
            write([slab(SIDES[value], adsorbate=False)], path)
        else:
            write([slab(QUADRUPLET_SIDE)], path)
        changes = {
            ATOMS: {},
            QUAD_NEIGHBORS: {"graphs.quad.max_neighbors": value},
            ANGULAR: {"bases.circular.count": value, "bases.spherical.count": value},
        }[self.name]
        # one block is sufficient for the interaction alone
        blocks = {} if self.name == ATOMS else {"blocks.count": 1}
        forces = "gradient" if self.name == ATOMS else "direct"
        arguments = published_arguments("small", forces, {**changes, **blocks})
        return {"task": self.task, "file": str(path), "seed": SEED, "arguments": arguments}


def sweeps(most_atoms: int, extra: Mapping[str, Mapping[str, Any]]) -> tuple[Sweep, ...]:
    """Return all sweeps."""
    atoms = [count for count in SIDES if count <= most_atoms]
    plans = {**PLANS, **extra}
    return (
        Sweep(ATOMS, atoms, "forward", {DEFAULT: {}, **LIMITED, **extra}, alternate=False),
        Sweep(QUAD_NEIGHBORS, (8, 12, 18, 24, 30), "quadruplet", plans, alternate=True),
        Sweep(ANGULAR, tuple(range(1, 9)), "quadruplet", plans, alternate=True),
    )


def measured(sweep: Sweep, repeats: int) -> Iterator[dict[str, Any]]:
    """Measure the points of a sweep."""
    with tempfile.TemporaryDirectory() as name:
        for plan, execution in sweep.plans.items():
            groups = [sweep.values] if sweep.alternate else [[value] for value in sweep.values]
            for values in groups:
                requests = [sweep.request(value, Path(name)) for value in values]
                yield from together(values, requests, plan, execution, repeats)


def together(
    values: Sequence[int],
    requests: Sequence[Mapping[str, Any]],
    plan: str,
    execution: Mapping[str, Any],
    repeats: int,
) -> list[dict[str, Any]]:
    """Measure points whose runs take turns."""
    limit = memory_limit()
    entrants = [Entrant(plan, sys.executable, SCRIPTS[False], execution) for _ in values]
    try:
        for value, request, entrant in zip(values, requests, entrants, strict=True):
            entrant.record["value"] = value
            if limit:
                entrant.ask("limit", bytes=limit)
            entrant.ask("prepare", **request, execution=execution)
            if request["task"] == "quadruplet":
                entrant.record["counts"] = entrant.ask("outputs")
            entrant.ask("reset_memory")
            if value < LONG:
                entrant.ask("run")  # warm-up
        for _ in range(repeats):
            for entrant in entrants:
                for part, seconds in entrant.ask("run").items():
                    entrant.record.setdefault(part, []).append(seconds)
        for entrant in entrants:
            entrant.record.update(entrant.ask("memory"))
    finally:
        for entrant in entrants:
            entrant.close()
    return [entrant.record for entrant in entrants]


def plot(scaling: Mapping[str, Any], path: Path) -> None:
    """Plot time and memory of every sweep on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    labels = {ATOMS: "atoms", QUAD_NEIGHBORS: "quad neighbors", ANGULAR: "angular functions per angle, L"}
    figure, axes = plt.subplots(2, len(labels), figsize=(4 * len(labels), 6), layout="constrained", squeeze=False)
    for column, (name, label) in zip(axes.T, labels.items(), strict=True):
        column[0].set_title(TITLES[name].split(",")[0] + (", energy and forces" if name == ATOMS else ""), fontsize=9)
        sweep = scaling.get(name, {})
        for plan in dict.fromkeys(one["plan"] for one in sweep.get("points", ())):
            found = points(sweep, plan)
            column[0].plot(list(found), [least(one) for one in found.values()], "o-", label=plan)
            column[1].plot(list(found), [one["megabytes"] for one in found.values()], "o-", label=plan)
        for axis, quantity in zip(column, ("seconds", "memory above import, MB"), strict=True):
            axis.set(xscale="log", yscale="log", xlabel=label, ylabel=quantity)
            sizes = sorted({one["value"] for one in sweep.get("points", ())})
            axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axis.xaxis.minorticks_off()  # minor labels would overlap the major ones
            if axis.lines:
                axis.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Measure the sweeps, record each when it is finished, and write tables and plots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[ATOMS, QUAD_NEIGHBORS, ANGULAR], help="measure only this sweep")
    parser.add_argument("--most-atoms", type=int, default=max(SIDES), help="skip larger slabs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--execution", type=json.loads, help="options of Execution as JSON, measured as an additional plan"
    )
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the results")
    arguments = parser.parse_args()
    extra = {json.dumps(arguments.execution): arguments.execution} if arguments.execution else {}
    path = arguments.output / "scaling.json"
    for sweep in sweeps(arguments.most_atoms, extra):
        if arguments.only not in (None, sweep.name):
            continue
        found = []
        for point in measured(sweep, arguments.repeats):
            found.append(point)
            seconds = point.get("failure") or f"{least(point):.4f} s, {point['megabytes']:.0f} MB"
            print(f"{sweep.name:15s} {point['value']:6d} {point['plan']:12s} {seconds}", flush=True)
        scaling = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        scaling[sweep.name] = {"setting": machine(), "date": time.strftime("%Y-%m-%d"), "points": found}
        path.write_text(json.dumps(scaling, indent=1) + "\n", encoding="utf-8")
    scaling = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    plot(scaling, arguments.output / "scaling.png")
    update_page(arguments.output)


if __name__ == "__main__":
    main()
