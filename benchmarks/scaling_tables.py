"""What RESULTS.md says of scaling.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cases import BUDGET
from markdown_tables import NONE, cell, number, table

DEFAULT = "default"
"""The plan that the library takes by itself."""

ATOMS, QUAD_NEIGHBORS, ANGULAR = "atoms", "quad_neighbors", "angular"
"""The names of the sweeps."""

TITLES = {
    ATOMS: "Small model, energy and gradient forces, bare Pt(111) slabs",
    QUAD_NEIGHBORS: "Quadruplet interaction alone, small model, 1 x 106 atoms: neighbors that its graph admits",
    ANGULAR: "Quadruplet interaction alone, small model, 1 x 106 atoms: angular functions per angle, L",
}
LEAST_ATOMS, MOST_ATOMS = 484, 10_000
MEMORY_LIMIT, COST_LIMIT = 8.0, 1.2
"""GB for the greatest slab, and its cost per atom over that of the smallest."""


def section(scaling: Mapping[str, Any]) -> str:
    """A table for each sweep."""
    parts = (
        ["## Scaling\n\nThis library alone. Seconds are the least of several runs.\n\n![scaling](scaling.png)\n"]
        if scaling
        else []
    )
    for name, sweep in scaling.items():
        parts += [f"### {TITLES[name]}\n", _table(name, sweep)]
    return "\n".join(parts)


def target_rows(scaling: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The targets that sweeps are held against."""
    return [_quadruplets(scaling), _many_atoms(scaling)]


def points(sweep: Mapping[str, Any], plan: str) -> dict[int, dict[str, Any]]:
    """The points of one plan that were measured, by what is varied."""
    return {one["value"]: one for one in sweep.get("points", ()) if one["plan"] == plan and one["seconds"]}


def least(point: Mapping[str, Any], part: str = "seconds") -> float:
    """The least of its seconds: what is compared comes from different times, and other load only adds."""
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
