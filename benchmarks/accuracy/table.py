"""Write RESULTS.md from the results that `run.py`, `mace.py` and `reference.py` recorded.

python benchmarks/accuracy/table.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from markdown_tables import number, table  # noqa: E402

ORDER = (
    "ethanol-950",
    "ethanol-950-short",
    "ethanol-950-recipe",
    "ethanol-950-30",
    "ethanol-50",
    "aspirin-950",
    "aspirin-950-30",
    "acac",
    "mlearn-si",
    "mlearn-si-30",
    "mlearn-cu",
    "cu3x-direct",
    "cu3x-gradient",
    "cu3x-direct-formulas",
    "cu3x-gradient-formulas",
    "cu3x-direct-compositions",
    "cu3x-gradient-compositions",
)

PUBLISHED: Mapping[str, str] = {
    "ethanol-950": "force MAE: GemNet-T/Q 3.6, MACE 2.1, NequIP 2.8, PaiNN 10.0, GAP 18.1",
    "ethanol-50": "force MAE: MACE 32.6, NequIP 40.2",
    "aspirin-950": "force MAE: GemNet-T/Q 9.5, MACE 6.6, NequIP 8.2, PaiNN 16.1, GAP 44.9",
    "acac": "RMSE: MACE 0.9 meV, 5.1 meV/Å; predicting the mean 156 meV, 1041 meV/Å",
    "mlearn-si": "MAE: GAP 2.91 meV/atom, 70 meV/Å; MTP 2.21 meV/atom, 60 meV/Å",
    "mlearn-cu": "MAE: GAP 0.46 meV/atom, 10 meV/Å; MTP 0.41 meV/atom, 10 meV/Å",
}
"""Published errors on the same test sets, with forces in meV/Å."""

TARGETS: Mapping[str, tuple[tuple[str, str, float], ...]] = {
    "ethanol-950": (("forces_mae", "force MAE ≤ 6 meV/Å", 6e-3),),
    "ethanol-50": (("forces_mae", "force MAE ≤ 45 meV/Å", 45e-3),),
    "acac": (("forces_rmse", "force RMSE ≤ 15 meV/Å", 15e-3),),
    "mlearn-si": (
        ("forces_mae", "force MAE ≤ 100 meV/Å", 0.1),
        ("energy_mae_per_atom", "energy MAE ≤ 6 meV/atom", 6e-3),
    ),
    "mlearn-cu": (("forces_mae", "force MAE ≤ 20 meV/Å", 0.02),),
}
"""Targets of each run: key of the error, description, and largest accepted value in eV and Å."""

FACTOR = 3.0
"""Target for slabs: ratio of the MAE of zero forces to the force MAE."""

HEADER = (
    "run", "test frames", "energy MAE meV", "energy RMSE meV", "energy MAE meV/atom", "force MAE meV/Å",
    "force RMSE meV/Å", "mean force error meV/Å", "cosine", "zero forces, MAE meV/Å", "EFwT %", "stress MAE GPa",
)  # fmt: skip

GPA_PER_EV_PER_CUBIC_ANGSTROM = 160.21766208

INTRODUCTION = """\
# Accuracy on real data

Written by `python benchmarks/accuracy/table.py` from `results/`; [README.md](README.md) describes how to repeat the
training. All errors are test errors. The test sets were not used to select hyperparameters, with one exception: the
energy weight of mlearn-si (see README.md). Energies are total energies from density-functional theory. Force errors
include all atoms, except for slabs, where they include only free atoms. MAE and RMSE of forces are averages over
components; the mean force error is the mean of ‖ΔF‖. EFwT: share of frames with an energy error within 0.02 eV
and errors of all force components within 0.03 eV/Å.
"""


def shown(value: float) -> str:
    """Format an error with three digits, and without decimals from 100."""
    return number(value, ",.0f" if abs(value) >= 100 else "#.3g")


def errors_row(name: str, errors: Mapping[str, Any]) -> list[str]:
    """Return a row of the table of errors."""

    def of(key: str, factor: float = 1e3, form: str | None = None) -> str:
        value = errors[key]
        if value is None:
            return number(None, "")
        return number(value * factor, form) if form else shown(value * factor)

    return [
        name,
        str(errors["structures"]),
        of("energy_mae"),
        of("energy_rmse"),
        of("energy_mae_per_atom"),
        of("forces_mae"),
        of("forces_rmse"),
        of("forces_l2_mae"),
        of("forces_cosine", 1.0, ".4f"),
        of("zero_forces_mae"),
        of("within_threshold", 100.0, ".1f"),
        of("stress_mae", GPA_PER_EV_PER_CUBIC_ANGSTROM),
    ]


def target(run: Mapping[str, Any]) -> str:
    """Return the targets of a run and if they were reached."""
    errors = run["evaluations"]["test"]["errors"]
    found = [
        f"{text}: {'reached' if errors[key] is not None and errors[key] <= most else 'missed'}"
        for key, text, most in TARGETS.get(run["name"], ())
    ]
    if run["name"].startswith("cu3x"):
        factor = errors["zero_forces_mae"] / errors["forces_mae"]
        found.append(f"{FACTOR:g} times better than zero forces: {'reached' if factor >= FACTOR else 'missed'}")
        found.append(f"{factor:.2g} times")
    return "; ".join(found)


def training_row(run: Mapping[str, Any]) -> list[str]:
    """Return a row of the table of training."""
    training = run["training"]
    versions = training["versions"]
    return [
        run["name"],
        f"{run['parameters']:,}",
        f"{training['step']:,}",
        f"{training['epochs']:,.0f}",
        f"{training['seconds'] / 60:,.0f}",
        str(run["threads"]),
        f"{versions['gemnet_blocks']}, torch {versions['torch']}",
        run["date"],
    ]


def reference_section(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the section on the learning curves of the published implementation."""
    header = ("data", "curve", "steps", "first loss", "mean of last losses", "first difference", "s per step")
    rows = [
        [
            found["name"], side, str(found["steps"]), f"{one['first_loss']:.5g}", f"{one['last_losses_mean']:.5g}",
            f"{one['difference_first_step']:.1e}", f"{one['seconds_per_step']:.3g}",
        ]
        for found in records
        for side, one in found["summary"].items()
    ]  # fmt: skip
    pictures = "\n".join(f"![{found['name']}](results/reference-{found['name']}.png)\n" for found in records)
    return (
        "\n## The published implementation's learning curve\n\n"
        "All curves have the same initial weights, batches, loss and optimizer (AdamW), and were computed on the same "
        "machine in turns of ten steps. Differences are relative to this library in double precision and show the "
        "effect of rounding in single precision.\n\n"
        f"{table(header, rows)}\n{pictures}"
    )


def mace_section(runs: Sequence[Mapping[str, Any]], peers: Sequence[Mapping[str, Any]]) -> str:
    """Return the section on trainings of MACE with the same data and processor time."""
    header = (
        "run", "model", "processor minutes", "epochs", "force MAE meV/Å", "force RMSE meV/Å", "energy MAE meV",
        "energy MAE meV/atom",
    )  # fmt: skip

    def row(name: str, model: str, seconds: float, epochs: float, errors: Mapping[str, float]) -> list[str]:
        keys = ("forces_mae", "forces_rmse", "energy_mae", "energy_mae_per_atom")
        return [name, model, f"{seconds / 60:.0f}", f"{epochs:,.0f}", *(shown(1e3 * errors[key]) for key in keys)]

    rows, by_name = [], {run["name"]: run for run in runs}
    for peer in peers:
        name = peer["name"]
        if run := by_name.get(name):
            training, errors = run["training"], run["evaluations"]["test"]["errors"]
            rows.append(row(name, "recipe", 60 * peer["minutes"], training["epochs"], errors))
        for stage, errors in peer["errors"].items():
            rows.append(row(name, f"MACE, {stage}", peer["processor_seconds"], peer["epochs"], errors))
    return (
        "\n## Beside MACE\n\n"
        "The same data, and the same processor time on one core, with the recipe of this library and with the settings "
        "of MACE's README (`mace.py` lists them). Stage one is the model with the smallest validation error before "
        "energy weights rise, stage two the one after that.\n\n"
        f"{table(header, rows)}"
    )


def page(
    runs: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]], peers: Sequence[Mapping[str, Any]]
) -> str:
    """Return the text of the page."""
    errors, goals, training = [], [], []
    for run in runs:
        for kind, evaluation in run["evaluations"].items():
            name = run["name"] if kind == "test" else f"{run['name']}, {kind.removeprefix('test ')}"
            errors.append(errors_row(name, evaluation["errors"]))
        goals.append([run["name"], target(run) or "–", PUBLISHED.get(run["name"], "–")])
        training.append(training_row(run))
    sections = [
        INTRODUCTION,
        table(HEADER, errors),
        "## Targets and published errors\n\n" + table(("run", "target", "published"), goals),
        "## Training\n\n"
        + table(("run", "parameters", "steps", "epochs", "minutes", "threads", "versions", "date"), training),
    ]
    if peers:
        sections.append(mace_section(runs, peers))
    return "\n".join(sections) + (reference_section(references) if references else "")


def recorded_page() -> str:
    """Return the text of the page for the recorded results."""
    results = FOLDER / "results"
    runs = [json.loads(path.read_text()) for name in ORDER if (path := results / f"{name}.json").exists()]
    references, peers = (
        [json.loads(path.read_text()) for path in sorted(results.glob(f"{kind}-*.json"))]
        for kind in ("reference", "mace")
    )
    return page(runs, references, peers)


def main() -> None:
    """Write the page."""
    (FOLDER / "RESULTS.md").write_text(recorded_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
