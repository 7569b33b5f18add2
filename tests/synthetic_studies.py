"""Studies of a learner that takes a fraction of a millisecond: a pair potential from a linear combination of bumps."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence

import numpy as np

from gemnet_blocks.ablation.results import Difference, Parity, RunResult, StudyResults, Variant

BROKEN = "broken basis"
CENTERS, WIDTH = np.linspace(0.8, 3.0, 12), 0.2


@functools.cache
def learned_error(name: str, seed: int, study: int) -> float:
    """The test error of a pair potential learned from 40 noisy values.

    The seed chooses the training data, the same for all variants; initial weights, which the ridge pulls towards, are
    the variant's own, so that variants of the same architecture differ by luck. The broken basis cannot see
    beyond 1.8 Å.
    """
    data = np.random.default_rng([study, seed])
    own = np.random.default_rng([study, seed, zlib.crc32(name.encode())])
    distances = data.uniform(0.9, 2.9, 40)
    labels = potential(distances) + data.normal(0, 0.02, 40)
    start = own.normal(0, 0.3, len(CENTERS))
    features = basis(distances, name)
    normal = features.T @ features + 0.05 * np.eye(len(CENTERS))
    weights = np.linalg.solve(normal, features.T @ labels + 0.05 * start)
    grid = np.linspace(0.9, 2.9, 60)
    return float(np.abs(basis(grid, name) @ weights - potential(grid)).mean())


def potential(distances: np.ndarray) -> np.ndarray:
    return (1 - np.exp(-1.7 * (distances - 1.2))) ** 2


def basis(distances: np.ndarray, name: str) -> np.ndarray:
    bumps = np.exp(-(((distances[:, None] - CENTERS) / WIDTH) ** 2) / 2)
    return bumps * (distances < 1.8)[:, None] if name == BROKEN else bumps


def learned_study(variants: Sequence[str], seeds: int, study: int) -> StudyResults:
    """A study of that learner: the base and variants, all the same but for `BROKEN`."""
    names = ["base", *variants]
    return study_of({name: [learned_error(name, seed, study) for seed in range(seeds)] for name in names})


def study_of(errors: dict[str, Sequence[float | None]]) -> StudyResults:
    """A study with these errors, by variant and seed, the base first; None: the run failed."""
    runs = [
        RunResult(name, seed, f"{name}-{seed}", "failed", error="it exploded")
        if value is None
        else RunResult(name, seed, f"{name}-{seed}", "done", metrics={"forces_mae": value})
        for name, values in errors.items()
        for seed, value in enumerate(values)
    ]
    names = list(errors)
    return StudyResults(
        names[0], tuple(Variant(name) for name in names), tuple(runs), seeds=tuple(range(len(errors[names[0]])))
    )


def full_study(variants: Sequence[str] = ("no quadruplets",), seeds: int = 8, failures: int = 0) -> StudyResults:
    """A study with everything that a report can show; the first variant is worse, the second better, others equal.

    Args:
        variants: names.
        seeds: how many.
        failures: how many runs of the last variant failed.
    """
    random = np.random.default_rng(7)
    luck = random.normal(0, 0.001, seeds)
    names = ["base", *variants]
    effects = [0.0, 0.006, -0.005, *np.zeros(len(names))]
    runs = []
    for place, (name, effect) in enumerate(zip(names, effects, strict=False)):
        for seed in range(seeds):
            if name == names[-1] and seed < failures:
                runs.append(failed_run(name, seed))
                continue
            error = float(0.045 + luck[seed] + effect + random.normal(0, 0.0006))
            runs.append(done_run(name, seed, error, 1 - 0.3 * (place / len(names)), random))
    described = tuple(
        Variant(
            name,
            {"interactions.quadruplet": None} if place else {},
            (Difference("interactions.quadruplet", {"graph": "quad", "down": 32}, None),) if place else (),
            f"{place:02d}" * 32,
            note="" if place < 3 else "widened until it has the base's parameters",
        )
        for place, name in enumerate(names)
    )
    return StudyResults(
        *("base", described, tuple(runs)),
        seeds=tuple(range(seeds)),
        title="What the interactions bring on Cu₃X slabs",
        budget="2,000 steps of 8 structures",
        data="400 training structures, 100 test structures of held-out compositions",
        settings={"seeds": seeds, "training": {"steps": 2000, "optimizer": {"learning_rate": 0.001}}},
    )


def done_run(name: str, seed: int, error: float, size: float, random: np.random.Generator) -> RunResult:
    steps = np.arange(1, 21) * 100
    curve = [
        {
            "step": int(step),
            "seconds": 0.1 * float(step),
            "loss": float(error * 40),
            "forces_mae": float(error * (1 + 8 * np.exp(-step / 300)) * np.exp(random.normal(0, 0.02))),
        }
        for step in steps
    ]
    return RunResult(
        *(name, seed, f"{zlib.crc32(ascii((name, seed)).encode()):08x}" * 8, "done"),
        metrics={"forces_mae": error, "energy_mae_per_atom": error / 9, "forces_cosine": 1 - error},
        curve=tuple(curve),
        cost={
            "parameters": round(234_567 * size),
            "matmul_flops_inference": 3.2e9 * size,
            "matmul_flops_training": 2.9e10 * size,
            "training_seconds": 212.0 * size * random.uniform(0.95, 1.05),
            "steps": 2000,
            "inference_seconds": 0.0213 * size * random.uniform(0.97, 1.03),
            "inference_spread": 0.0004,
            "peak_memory_bytes": 7.3e8 * size,
            "edges": 1234.5,
            "triplets": 30_000.0,
            "quadruplets": 1.2e6 if size == 1 else 0.0,
            "symmetry_error": 3.1e-7 * random.uniform(0.5, 2),
        },
        environment={
            "versions": {"gemnet_blocks": "0.1.0", "torch": "2.13.0+cpu", "python": "3.11.2"},
            "processor": "some processor with 2 cores",
            "threads": 1,
        },
        attempts=1,
        baseline={"forces_mae": 0.06, "energy_mae_per_atom": 0.02},
        elements={
            "Cu": {"atoms": 60, "forces_mae": 0.8 * error, "forces_rmse": error, "zero_forces_mae": 0.05},
            "O": {"atoms": 12, "forces_mae": 1.9 * error * size, "forces_rmse": 2 * error, "zero_forces_mae": 0.11},
        },
        parity={"forces": parity_of(error, seed), "energy": parity_of(error / 9, seed)},
    )


def parity_of(error: float, seed: int) -> Parity:
    random = np.random.default_rng(seed)
    label = np.linspace(-1, 1, 60)
    return Parity(tuple(label.tolist()), tuple((label + error * random.normal(size=60)).tolist()))


def failed_run(name: str, seed: int) -> RunResult:
    error = (
        "TrainingError: step 1,234: the loss is not finite\nTraceback (most recent call last):\n"
        '  File "engine.py", line 12, in step\n    raise TrainingError("<script>alert(1)</script>")\n'
    )
    return RunResult(name, seed, "0" * 64, "failed", error=error, attempts=2)
