"""Measured models, structures and cases, and their targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ase.io
from ase import Atoms

from gemnet_blocks.examples import platinum_slab
from gemnet_blocks.spec import load_spec
from gemnet_blocks.spec.published import to_published

ROOT = Path(__file__).parents[1]
MAIN_PLAN = "float32"
"""Name of the plan with default execution options, with which every case is measured."""

BFLOAT16 = {"bfloat16": {"matmul": "bfloat16"}}
BUDGET = "memory budget"
"""Name of the plan with the least memory: a budget of zero recomputes all that can be recomputed."""

LIMITED: Mapping[str, Mapping[str, Any]] = {BUDGET: {"memory_budget": 0}}
TOLERANCE = 1e-5
"""Largest accepted difference of outputs in float32, relative to the largest value."""

ROUNDING = 3.0
"""Largest accepted ratio of this library's error to the reference's, if outputs differ by more than `TOLERANCE`.

Errors are relative to double precision. Two correct results in single precision that are rounded in different orders
do not have the same error.
"""

_INTERACTIONS = ("triplet", "quadruplet", "atom_edge", "edge_atom", "atom_atom")
_SMALL_WIDTHS = {name: 16 if name == "quadruplet" else 32 for name in _INTERACTIONS}
SIZES: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "small": {
        "sizes": {"atom": 64, "edge": 64},
        "bases.radial.count": 32,
        "interactions": {name: {"down": width, "up": width} for name, width in _SMALL_WIDTHS.items()},
    },
}
"""Patches of the published base model by size: none, and the widths of a model for workstations."""

FORCES: Mapping[str, Mapping[str, Any]] = {"direct": {"type": "direct"}, "gradient": {"type": "gradient"}}

Task = Literal["forward", "training", "graphs"]


@dataclass(frozen=True)
class Case:
    """One computation that both implementations perform.

    Attributes:
        size: key of the model in `SIZES`.
        task: a prediction without gradients of the weights, a training step, or graphs and index lists only.
        side: number of atoms along each side of the Pt(111) slab, which has four layers.
        copies: number of structures in the batch.
        forces: direct forces or gradient forces.
        adsorbate: place a methanol molecule on the slab.
        plans: options of `Execution` by name, measured for this library in addition to the defaults.
        reference: measure the published implementation too.
        changes: patch of the spec.
    """

    size: str
    task: Task
    side: int
    copies: int = 1
    forces: Literal["direct", "gradient"] = "direct"
    adsorbate: bool = True
    plans: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reference: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name in tables and for the option `--only`."""
        atoms = 4 * self.side**2 + 6 * self.adsorbate
        task = {
            "forward": "forward",
            "training": f"training step, {self.forces} forces",
            "graphs": "graphs and indices",
        }[self.task]
        return f"{self.size}, {task}, {self.copies} x {atoms} atoms"

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the published class, from which the spec is created as well."""
        return published_arguments(self.size, self.forces, self.changes)

    def write(self, path: Path) -> None:
        """Write the structures, which both implementations read."""
        write([slab(self.side, self.adsorbate)] * self.copies, path)


@dataclass(frozen=True)
class Target:
    """Performance target of a case.

    Attributes:
        case: name of the case.
        speed: smallest ratio of the reference's time to this library's.
        memory: smallest ratio of the reference's memory to this library's, both above the memory after the imports.
        limit: largest memory above the memory after the imports, in GB.
        plan: execution plan of this library.
    """

    case: str
    speed: float | None = None
    memory: float | None = None
    limit: float | None = None
    plan: str = MAIN_PLAN


CASES: tuple[Case, ...] = (
    Case("small", "forward", 3),
    Case("small", "forward", 4),
    Case("small", "forward", 3, 4),
    Case("small", "training", 3, 4, "gradient"),
    Case("small", "training", 4, 1, "gradient"),
    Case("small", "training", 3, 4, "direct"),
    Case("paper", "forward", 4, plans=BFLOAT16),
    Case("paper", "forward", 3, 4, plans=BFLOAT16),
    Case("paper", "training", 4, 1, "gradient", plans={**BFLOAT16, **LIMITED}),
    # the reference needs 23 GB
    Case("paper", "training", 3, 4, "gradient", plans=LIMITED, reference=False),
    Case("paper", "training", 4, 1, "direct", plans=BFLOAT16),
    Case("small", "graphs", 4),
    Case("small", "graphs", 12, adsorbate=False),
)

TARGETS: tuple[Target, ...] = (
    Target("small, forward, 1 x 70 atoms", speed=6, memory=3),
    Target("small, training step, gradient forces, 4 x 42 atoms", speed=15, memory=5),
    Target("small, training step, direct forces, 4 x 42 atoms", speed=5),
    Target("paper, forward, 1 x 70 atoms", speed=1.8),
    Target("paper, forward, 1 x 70 atoms", speed=3, plan="bfloat16"),
    Target("paper, training step, gradient forces, 1 x 70 atoms", speed=3, memory=4),
    Target("paper, training step, gradient forces, 4 x 42 atoms", limit=6, plan=BUDGET),
    Target("small, graphs and indices, 1 x 576 atoms", speed=50),
)


def published_arguments(size: str, forces: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the keyword arguments of the published class for the patched base model."""
    spec = load_spec(ROOT / "paper_configs/gemnet-oc.yaml", {**SIZES[size], "heads.forces": FORCES[forces]})
    return to_published(spec.patch(changes or {}))


def slab(side: int, adsorbate: bool = True) -> Atoms:
    """Create a rattled Pt(111) slab of side × side × 4 atoms, with or without methanol."""
    atoms = platinum_slab(side)
    atoms.info.clear()  # entries that cannot be written to a file
    if not adsorbate:
        del atoms[atoms.get_tags() == 2]
    return atoms


def write(frames: list[Atoms], path: Path) -> None:
    """Write structures with their tags."""
    ase.io.write(path, frames, columns=["symbols", "positions", "tags"])
