"""What is measured: models, structures, cases, and the targets that they are held against."""

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
"""The plan that every case is measured with: what the library does by default."""

BFLOAT16 = {"bfloat16": {"matmul": "bfloat16"}}
BUDGET = "memory budget"
"""The plan with the least memory, as where a budget is too small for anything else."""

LIMITED: Mapping[str, Mapping[str, Any]] = {BUDGET: {"memory_budget": 0}}
TOLERANCE = 1e-5
"""How far outputs in float32 may be apart, relative to the greatest."""

ROUNDING = 3.0
"""Where outputs are further apart: how many times farther than the reference's they may be from double precision.

Two right results in single precision, rounded in other orders, are not equally far off.
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
"""Changes to the published base model: none, and the widths of a model for workstations."""

FORCES: Mapping[str, Mapping[str, Any]] = {"direct": {"type": "direct"}, "gradient": {"type": "gradient"}}

Task = Literal["forward", "training", "graphs"]


@dataclass(frozen=True)
class Case:
    """Something that both sides do.

    Attributes:
        size: the model, of `SIZES`.
        task: a prediction without gradients of the weights, a training step, or graphs and index lists alone.
        side: atoms along each side of the Pt(111) slab, of four layers with methanol.
        copies: structures in the batch.
        forces: kind of forces.
        adsorbate: whether there is methanol.
        plans: more ways to execute it here, besides the default: options of `Execution` by name.
        reference: whether the published implementation is measured too.
        changes: to the spec.
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
        """What it is called in tables and after `--only`."""
        atoms = 4 * self.side**2 + 6 * self.adsorbate
        task = {
            "forward": "forward",
            "training": f"training step, {self.forces} forces",
            "graphs": "graphs and indices",
        }[self.task]
        return f"{self.size}, {task}, {self.copies} x {atoms} atoms"

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of the published class; the spec here is made from them too."""
        return published_arguments(self.size, self.forces, self.changes)

    def write(self, path: Path) -> None:
        """Write its structures, which both sides read."""
        write([slab(self.side, self.adsorbate)] * self.copies, path)


@dataclass(frozen=True)
class Target:
    """What a case is to reach.

    Attributes:
        case: its name.
        speed: how many times faster than the reference.
        memory: how many times less memory above the import.
        limit: greatest memory above the import, in GB.
        plan: how it is executed here.
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
    # the reference would need 23 GB
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
    """Keyword arguments of the published class for the base model, changed."""
    spec = load_spec(ROOT / "paper_configs/gemnet-oc.yaml", {**SIZES[size], "heads.forces": FORCES[forces]})
    return to_published(spec.patch(changes or {}))


def slab(side: int, adsorbate: bool = True) -> Atoms:
    """A rattled Pt(111) slab of side × side × 4 atoms, with or without methanol."""
    atoms = platinum_slab(side)
    atoms.info.clear()  # of what no file can hold
    if not adsorbate:
        del atoms[atoms.get_tags() == 2]
    return atoms


def write(frames: list[Atoms], path: Path) -> None:
    """Write structures with their tags."""
    ase.io.write(path, frames, columns=["symbols", "positions", "tags"])
