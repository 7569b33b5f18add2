"""Learners that learn nothing, fast: for tests of everything around them."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gemnet_blocks.ablation import Fit, Learner, Study, Task
from gemnet_blocks.spec import load_spec
from gemnet_blocks.spec.resolve import Spec

ROOT = Path(__file__).parents[1]


def small_spec(**patches: Any) -> Spec:
    """A spec that takes no time to build."""
    tiny = {
        "sizes": {"atom": 8, "edge": 8, "radial": 4, "circular": 4, "spherical": 4},
        "blocks": {"count": 1, "update": 1, "before_skip": 1, "after_skip": 1},
        "bases.radial.count": 4,
        "bases.circular.count": 3,
        "bases.spherical.count": 2,
        "interactions": {
            "triplet": {"down": 4, "up": 4},
            "quadruplet": {"down": 4, "up": 4},
            "atom_edge": {"down": 4, "up": 4},
            "edge_atom": {"down": 4, "up": 4},
            "atom_atom": {"down": 4, "up": 4},
        },
        "graphs": {"main": {"cutoff": 3.5}, "atom": {"cutoff": 3.5}, "atom_edge": {"cutoff": 3.5}},
    }
    return load_spec(ROOT / "paper_configs/symmetric.yaml", tiny).patch(patches)


@dataclass(frozen=True)
class SyntheticLearner(Learner):
    """An error that a seed and a variant's name make, and what a Legendre basis is missing.

    Every fit adds its process to the file `done` of the study, so that tests can count them.

    Attributes:
        noise: how much seeds differ in a variant.
        effect: by how much every angular function fewer than 3 raises the error.
        seconds: how long it takes, in steps that it goes on from.
        fail: the names of variants that fail.
        die: how often the process kills itself, each in another step, before a fit ends.
    """

    noise: float = 0.01
    effect: float = 0.0
    seconds: float = 0.0
    fail: Sequence[str] = ()
    die: int = 0

    needs_data: ClassVar[bool] = False

    def fit(self, task: Task, folder: Path) -> Fit:
        if task.variant in self.fail:
            raise ValueError(f"{task.variant} cannot be learned")
        progress = folder / "progress"
        before = progress.read_text() if progress.exists() else ""
        for step in range(len(before), 10):
            time.sleep(self.seconds / 10)
            progress.write_text("." * (step + 1))
            deaths = folder / "deaths"
            died = len(deaths.read_text()) if deaths.exists() else 0
            if died < self.die and step >= 3 * (died + 1):
                deaths.write_text("x" * (died + 1))
                os.kill(os.getpid(), signal.SIGKILL)
        with (folder.parents[2] / "done").open("a") as file:
            file.write(f"{task.variant}/{task.seed} {os.getpid()}\n")
        shared = np.random.default_rng(task.seed).normal()
        own = np.random.default_rng([task.seed, _number(task.variant)]).normal()
        angular = task.spec.bases.circular.count  # type: ignore[attr-defined]
        error = 1 + 0.1 * shared + self.noise * own + self.effect * max(0, 3 - angular)
        curve = [{"step": float(step), "seconds": float(step), "forces_mae": 2 * error / step} for step in (1, 2)]
        return Fit({"forces_mae": error}, curve, {"steps": 10.0, "parameters": 1.0})


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


VARIANTS: dict[str, dict[str, Any]] = {
    "no quadruplets": {"interactions.quadruplet": None},
    "fewer functions": {"bases.circular.count": 2},
}


def synthetic_study(folder: Path, variants: Any = None, seeds: Any = 2, learner: Any = None, **options: Any) -> Study:
    """A study that takes no time."""
    return Study(
        small_spec(),
        VARIANTS if variants is None else variants,
        seeds,
        budget={"steps": 10},
        learner=learner or SyntheticLearner(),
        folder=folder,
        **options,
    )


def fits(folder: Path) -> list[str]:
    """The runs that were done in a folder, in order, as often as they were."""
    path = folder / "done"
    return [line.rsplit(" ", 1)[0] for line in path.read_text().splitlines()] if path.exists() else []
