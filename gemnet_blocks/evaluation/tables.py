"""An evaluation as tables for people."""

from __future__ import annotations

from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gemnet_blocks.evaluation.evaluate import Evaluation
from gemnet_blocks.evaluation.metrics import ENERGY_THRESHOLD, FORCE_THRESHOLD

NONE = "–"
"""Where there is no number."""

_ROWS = (
    ("energy, MAE", "energy_mae", "meV"),
    ("energy, RMSE", "energy_rmse", "meV"),
    ("energy per atom, MAE", "energy_mae_per_atom", "meV"),
    ("energy per atom, RMSE", "energy_rmse_per_atom", "meV"),
    ("forces, MAE of components", "forces_mae", "meV/Å"),
    ("forces, RMSE of components", "forces_rmse", "meV/Å"),
    ("forces, mean length of errors", "forces_l2_mae", "meV/Å"),
    ("forces, MAE of magnitudes", "forces_magnitude_mae", "meV/Å"),
    ("forces, mean cosine", "forces_cosine", ""),
    ("forces, MAE if zero were predicted", "zero_forces_mae", "meV/Å"),
    ("energy and forces within threshold", "within_threshold", "%"),
    ("stress, MAE of components", "stress_mae", "meV/Å³"),
    ("stress, RMSE of components", "stress_rmse", "meV/Å³"),
)
_FACTORS = {"": 1.0, "%": 100.0}
_COLUMNS = {
    "{meaning} energy,\nMAE meV/atom": "energy_mae_per_atom",
    "forces,\nMAE meV/Å": "forces_mae",
    "forces,\nRMSE meV/Å": "forces_rmse",
    "forces,\ncosine": "forces_cosine",
    "zero forces,\nMAE meV/Å": "zero_forces_mae",
}


def summary_table(evaluation: Evaluation) -> Table:
    """All errors, a row each; its title says what energies mean, and which atoms' forces count."""
    errors = evaluation.errors
    counted = "atoms" if evaluation.atoms == "all" else "free atoms"
    table = Table(
        title=f"{errors.structures:,} structures, {evaluation.meaning} energies, forces on {errors.atoms:,} {counted}",
        caption=f"threshold: |ΔE| < {ENERGY_THRESHOLD} eV, every |ΔF| component on free atoms < {FORCE_THRESHOLD} eV/Å",
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        min_width=90,
    )
    table.add_column("error")
    table.add_column("value", justify="right")
    table.add_column("unit")
    for name, key, unit in _ROWS:
        value = getattr(errors, key)
        if value is not None:
            table.add_row(name, f"{value * _FACTORS.get(unit, 1e3):.4g}", unit)
    return table


def parts_table(evaluation: Evaluation, part: Literal["group", "element"]) -> Table:
    """Errors of each group or element, a row each."""
    parts = evaluation.groups if part == "group" else evaluation.elements
    columns = {
        heading.format(meaning=evaluation.meaning): key
        for heading, key in _COLUMNS.items()
        if any(getattr(errors, key) is not None for errors in parts.values())
    }
    table = Table(box=SIMPLE_HEAD)
    table.add_column(part)
    table.add_column("structures" if part == "group" else "atoms", justify="right")
    for heading in columns:
        table.add_column(heading, justify="right")
    for name, errors in parts.items():
        count = errors.structures if part == "group" else errors.atoms
        # as text, which no console takes for markup
        table.add_row(Text(name), f"{count:,}", *(_shown(getattr(errors, key), key) for key in columns.values()))
    return table


def _shown(value: float | None, key: str) -> str:
    if value is None:
        return NONE
    return f"{value:.3f}" if key == "forces_cosine" else f"{1e3 * value:.4g}"
