"""The scaling section of RESULTS.md, written from scaling.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cases import BUDGET
from markdown_tables import NONE, cell, number, table

DEFAULT = "default"
"""Name of the plan with default execution options."""

ATOMS, QUAD_NEIGHBORS, ANGULAR = "atoms", "quad_neighbors", "angular"
"""Names of the sweeps."""

TITLES = {
    ATOMS: "Small model, energy and gradient forces, bare Pt(111) slabs",
    QUAD_NEIGHBORS: "Quadruplet interaction alone, small model, 1 x 106 atoms: max_neighbors of its graph",
    ANGULAR: "Quadruplet interaction alone, small model, 1 x 106 atoms: angular functions per angle, L",
}
INTRODUCTION = """\
## Scaling

Only this library is measured. Times are the minimum of several runs.

![scaling](scaling.png)
"""
LEAST_ATOMS, MOST_ATOMS = 484, 10_000
MEMORY_LIMIT, COST_LIMIT = 8.0, 1.2
"""Limits of the memory in GB for the largest slab, and of the ratio of its time per atom to that of the smallest."""


def section(scaling: Mapping[str, Any]) -> str:
    """Return the section with one table per sweep."""
    parts = [INTRODUCTION] if scaling else []
    for name, sweep in scaling.items():
        parts += [f"### {TITLES[name]}\n", _table(name, sweep)]
    return "\n".join(parts)


def target_rows(scaling: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table rows of the targets for sweeps."""
    return [_quadruplets(scaling), _many_atoms(scaling)]


def points(sweep: Mapping[str, Any], plan: str) -> dict[int, dict[str, Any]]:
    """Return the measured points of one plan by the value of the varied parameter."""
    return {one["value"]: one for one in sweep.get("points", ()) if one["plan"] == plan and one["seconds"]}


def least(point: Mapping[str, Any], part: str = "seconds") -> float:
    """Return the minimum time, since other load on the machine can only increase the times."""
    return float(min(point[part]))


def _quadruplets(scaling: Mapping[str, Any]) -> tuple[str, ...]:
    start = ("small, quadruplet interaction alone, 8 to 30 quad neighbors", DEFAULT)
    wanted = "time grows no faster than the number of edges to quad neighbors"
    found = points(scaling.get(QUAD_NEIGHBORS, {}), DEFAULT)
    if not {8, 30} <= set(found):
        return (*start, wanted, NONE, "not measured")
    time = least(found[30]) / least(found[8])
    edges = found[30]["counts"]["edges of quad"] / found[8]["counts"]["edges of quad"]
    reached = f"{time:.2f} times the time for {edges:.2f} times the edges"
    return (*start, wanted, reached, "passed" if time <= edges else "missed")


def _many_atoms(scaling: Mapping[str, Any]) -> tuple[str, ...]:
    start = (f"small, energy and gradient forces, {MOST_ATOMS:,} atoms", BUDGET)
    wanted = f"under {MEMORY_LIMIT:g} GB, at most {COST_LIMIT:g} times the time per atom of {LEAST_ATOMS} atoms"
    sweep = scaling.get(ATOMS, {})
    great, small = points(sweep, BUDGET), points(sweep, DEFAULT)
    if MOST_ATOMS not in great or LEAST_ATOMS not in small:
        failures = [one["failure"] for one in sweep.get("points", ()) if one["plan"] == BUDGET and "failure" in one]
        return (*start, wanted, NONE, f"missed: {cell(failures[-1])}" if failures else "not measured")
    most, fewest = great[MOST_ATOMS], small[LEAST_ATOMS]
    cost = least(most) / least(fewest) * LEAST_ATOMS / MOST_ATOMS
    memory = most["megabytes"] / 1e3
    verdict = "passed" if cost <= COST_LIMIT and memory < MEMORY_LIMIT else "missed"
    return (*start, wanted, f"{memory:.1f} GB, {cost:.2f} times", verdict)


def _table(name: str, sweep: Mapping[str, Any]) -> str:
    header = [{ATOMS: "atoms", QUAD_NEIGHBORS: "quad neighbors", ANGULAR: "L"}[name], "executed", "seconds"]
    header += ["ms per atom"] if name == ATOMS else ["shared by blocks", "each block", "quadruplets"]
    rows = []
    for one in sweep["points"]:
        start = (f"{one['value']:,}", cell(one["plan"]))
        if "failure" in one:
            rows.append((*start, f"failed: {cell(one['failure'])}", *[""] * (len(header) - 2)))
            continue
        if name == ATOMS:
            more = [f"{least(one) / one['value'] * 1e3:.2f}"]
        else:
            count = sum(many for what, many in one["counts"].items() if what.startswith("quadruplets"))
            more = [*(f"{least(one, part):.4f}" for part in ("shared", "message")), number(count or None, ",")]
        rows.append((*start, f"{least(one):.4f}", *more, f"{one['megabytes']:.0f}"))
    return table([*header, "memory MB"], rows)
