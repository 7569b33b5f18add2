"""Train the published implementation and this library from the same weights on the same batches; record both curves.

    python benchmarks/accuracy/reference.py ethanol --data ../shared/data --reference PYTHON [--steps 200]

`--reference` is a Python interpreter with the published implementation (fairchem-core 1.10.0). Both implementations
perform the same AdamW steps in fresh processes, ten steps at a time. In single precision, the losses agree at first and
then diverge slowly, because rounding errors grow with every step. A third curve, this library in double precision,
shows how much of the difference is due to rounding. Writes results/reference-NAME.json and .png.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms, units

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from cases import published_arguments  # noqa: E402
from processes import Process  # noqa: E402
from results import machine  # noqa: E402

from gemnet_blocks import Structures  # noqa: E402
from gemnet_blocks.checkpoints import fairchem_state  # noqa: E402
from gemnet_blocks.model.scale_fitting import fit_scales  # noqa: E402
from gemnet_blocks.spec import build  # noqa: E402
from gemnet_blocks.spec.published import from_published  # noqa: E402

EXACT = "here, float64"
"""Name of the curve with which the others are compared."""

CHUNK = 10
"""Number of steps that one implementation performs before the next takes its turn."""

SMALL = {
    "graphs.main": {"cutoff": 6.0, "max_neighbors": 20},
    "graphs.atom": {"cutoff": 6.0, "max_neighbors": 100},
    "graphs.atom_edge": {"cutoff": 6.0, "max_neighbors": 20},
    "graphs.quad": {"cutoff": 4.0, "max_neighbors": 8},
    "blocks.count": 2,
}
"""Patch for molecules, in which no atom has max_neighbors neighbors."""

SMALL_CRYSTAL = {
    "graphs.main": {"cutoff": 4.0, "max_neighbors": 50},
    "graphs.atom": {"cutoff": 6.0, "max_neighbors": 200},
    "graphs.atom_edge": {"cutoff": 4.0, "max_neighbors": 50},
    "graphs.quad": {"cutoff": 3.2, "max_neighbors": 50},
    "blocks.count": 2,
}
"""Patch for crystals: no atom has max_neighbors neighbors, since the selection among ties depends on rounding."""


@dataclass(frozen=True)
class Comparison:
    """Learning curve to compare.

    Attributes:
        file: file of labeled frames, relative to the data folder.
        forces: direct forces or gradient forces.
        frames: number of frames, from the beginning of the file.
        batch: frames per step.
        learning_rate: learning rate of AdamW.
        force_weight: weight of the forces in the loss.
        changes: patch of the spec.
    """

    file: str
    forces: str
    frames: int
    batch: int
    learning_rate: float = 5e-4
    force_weight: float = 10.0
    changes: Mapping[str, Any] = field(default_factory=lambda: SMALL)


COMPARISONS: Mapping[str, Comparison] = {
    "ethanol": Comparison("rmd17/rmd17_ethanol_train_01.npz", "gradient", 950, 5),
    "cu3x": Comparison("cu3x/cu3x_clean_a.extxyz", "direct", 200, 2, changes=SMALL_CRYSTAL),
}


@dataclass(frozen=True)
class LabeledFrames:
    """Frames with labels in eV and eV/Å."""

    frames: list[Atoms]
    energies: np.ndarray
    forces: list[np.ndarray]


def read(path: Path, count: int) -> LabeledFrames:
    """Read the first frames of a file. Molecules get the tag of adsorbates, so that they have quadruplets."""
    if path.suffix == ".npz":
        with np.load(path) as stored:
            unit = units.kcal / units.mol
            frames = [Atoms(stored["nuclear_charges"], positions) for positions in stored["coords"][:count]]
            energies, forces = stored["energies"][:count] * unit, list(stored["forces"][:count] * unit)
        for atoms in frames:
            atoms.set_tags(2)
            # the published implementation searches for neighbors in a cell
            atoms.cell = [50.0] * 3
        return LabeledFrames(frames, energies, forces)
    frames = ase.io.read(path, index=f":{count}")
    energies = np.array([atoms.get_potential_energy() for atoms in frames])
    return LabeledFrames(frames, energies, [atoms.get_forces(apply_constraint=False) for atoms in frames])


def order(count: int, batch: int, steps: int, seed: int = 0) -> list[list[int]]:
    """Return the frame indices of each step, taken from consecutive random permutations."""
    random = np.random.default_rng(seed)
    epochs = -(-batch * steps // count)
    drawn = np.concatenate([random.permutation(count) for _ in range(epochs)])
    return drawn[: batch * steps].reshape(steps, batch).tolist()


def prepare(comparison: Comparison, data: Path, steps: int, folder: Path) -> dict[str, Any]:
    """Write frames, labels in units of the model's outputs, and initial weights; return the request of the workers."""
    labeled = read(data / comparison.file, comparison.frames)
    counts = np.array([len(atoms) for atoms in labeled.frames])
    scale = float(np.sqrt(np.mean(np.concatenate(labeled.forces) ** 2)))
    # subtract the same energy per atom everywhere: the curves need to be comparable, the models need not be accurate
    energies = (labeled.energies - counts * np.mean(labeled.energies / counts)) / scale
    np.savez(folder / "labels.npz", energies=energies, forces=np.concatenate(labeled.forces) / scale, counts=counts)
    frames = [Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc, tags=a.get_tags()) for a in labeled.frames]
    ase.io.write(folder / "frames.extxyz", frames, columns=["symbols", "positions", "tags"])
    arguments = published_arguments("small", comparison.forces, comparison.changes)
    arguments["use_pbc"] = bool(frames[0].pbc.any())
    batches = order(len(frames), comparison.batch, steps)
    model = build(from_published(arguments), seed=0)
    fit_scales(model, [Structures.from_ase([frames[i] for i in chosen], dtype=torch.float32) for chosen in batches[:4]])
    torch.save(fairchem_state(model), folder / "weights.pt")
    return {
        "file": str(folder / "frames.extxyz"),
        "labels": str(folder / "labels.npz"),
        "weights": str(folder / "weights.pt"),
        "arguments": arguments,
        "batches": batches,
        "chunk": CHUNK,
        "learning_rate": comparison.learning_rate,
        "force_weight": comparison.force_weight,
    }


def measure(request: Mapping[str, Any], sides: Mapping[str, tuple[str, str, str]]) -> dict[str, Any]:
    """Train all sides, given as interpreter, script and floating-point type; return losses, seconds and versions."""
    processes = {name: Process(interpreter, f"accuracy/{script}") for name, (interpreter, script, _) in sides.items()}
    curves: dict[str, Any] = {name: {"losses": [], "seconds": []} for name in sides}
    try:
        for name, process in processes.items():
            curves[name]["versions"] = process.ask("versions")
            curves[name] |= process.ask("prepare", **request, dtype=sides[name][2])
        for start in range(0, len(request["batches"]), CHUNK):
            for name, process in processes.items():
                for key, values in process.ask("run").items():
                    curves[name][key] += values
            print(start + CHUNK, *(f"{name} {curve['losses'][-1]:.4f}" for name, curve in curves.items()), flush=True)
    finally:
        for process in processes.values():
            process.close()
    return curves


def summary(curves: Mapping[str, Any], window: int = 50) -> dict[str, Any]:
    """Return the differences from the exact curve, and the median seconds per step without the first turn.

    Args:
        curves: curve of each side.
        window: number of last losses to average, which reduces the influence of single batches.
    """
    exact = np.array(curves[EXACT]["losses"])
    found: dict[str, Any] = {}
    for name, curve in curves.items():
        losses = np.array(curve["losses"])
        apart = np.abs(losses - exact) / exact
        found[name] = {
            "first_loss": losses[0],
            "last_losses_mean": float(losses[-window:].mean()),
            "difference_first_step": float(apart[0]),
            "difference_first_10": float(apart[:10].max()),
            "difference_last_mean": float(abs(losses[-window:].mean() / exact[-window:].mean() - 1)),
            "seconds_per_step": statistics.median(curve["seconds"][CHUNK:] or curve["seconds"]),
        }
    return found


def plot(name: str, curves: Mapping[str, Any], path: Path) -> None:
    """Plot the losses and their differences from this library in double precision."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    exact = np.array(curves[EXACT]["losses"])
    thick, thin = {"color": "tab:orange", "linewidth": 3, "alpha": 0.5}, {"color": "tab:blue", "linewidth": 1}
    for style, label in zip((thick, thin, {"color": "0.3", "linestyle": ":"}), curves, strict=True):
        losses = np.array(curves[label]["losses"])
        above.plot(losses, label=label, **style)
        if label != EXACT:
            below.semilogy(np.abs(losses - exact) / exact, label=label, **style)
    above.set_yscale("log")
    above.set_ylabel("loss")
    above.set_title(f"{name}: same weights, same batches")
    below.set_ylabel(f"relative difference\nfrom {EXACT}")
    below.set_xlabel("step")
    for axes in (above, below):
        axes.legend()
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure one comparison and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=COMPARISONS)
    parser.add_argument("--data", type=Path, required=True, help="data folder")
    parser.add_argument("--reference", required=True, help="a Python interpreter with fairchem-core 1.10.0")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output", type=Path, default=FOLDER / "results")
    arguments = parser.parse_args()
    comparison = COMPARISONS[arguments.name]
    sides = {
        "reference": (arguments.reference, "curve_reference.py", "float32"),
        "here": (sys.executable, "curve_here.py", "float32"),
        EXACT: (sys.executable, "curve_here.py", "float64"),
    }
    with tempfile.TemporaryDirectory() as folder:
        request = prepare(comparison, arguments.data, arguments.steps, Path(folder))
        curves = measure(request, sides)
    record = {
        "name": arguments.name,
        "date": time.strftime("%Y-%m-%d"),
        "setting": machine(),
        "steps": arguments.steps,
        "batch": comparison.batch,
        "learning_rate": comparison.learning_rate,
        "force_weight": comparison.force_weight,
        "arguments": request["arguments"],
        "summary": summary(curves),
        "curves": curves,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / f"reference-{arguments.name}.json"
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    plot(arguments.name, curves, path.with_suffix(".png"))
    print(json.dumps(record["summary"], indent=1))


if __name__ == "__main__":
    main()
