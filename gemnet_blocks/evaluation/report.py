"""Reports of an evaluation: files with summary, predictions and plot, and tables for the terminal."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gemnet_blocks.errors import SpecError, StructureError
from gemnet_blocks.evaluation.evaluate import Evaluation
from gemnet_blocks.evaluation.metrics import ENERGY_THRESHOLD, FORCE_THRESHOLD
from gemnet_blocks.evaluation.predictions import Array
from gemnet_blocks.plotting.picture import require_matplotlib
from gemnet_blocks.structures import PropertyKind
from gemnet_blocks.util.files import replacing

SUMMARY, PREDICTIONS, ATOMS, PLOT = "summary.json", "predictions.csv", "atoms.csv", "parity.png"
"""The files of a report."""


def write_report(
    evaluation: Evaluation,
    folder: Path,
    about: Mapping[str, Any] | None = None,
    plot: bool = False,
    atoms: bool = False,
) -> list[Path]:
    """Write summary.json and predictions.csv, and on request parity.png and atoms.csv.

    All files are completed first and then moved: a new folder appears as a whole; existing files are replaced one by
    one, the summary last.

    Args:
        evaluation: the evaluation.
        folder: the folder of the files, which is created if it does not exist.
        about: further entries of the summary, such as names of model and data.
        plot: whether parity.png is drawn.
        atoms: whether atoms.csv, the forces of every atom, is written; needs `keep_atoms`.

    Returns:
        The paths of the files.

    Raises:
        StructureError: the folder cannot be written.
        SpecError: nothing can be drawn, since no prediction has a label.
        ImportError: a plot needs matplotlib.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise StructureError(f"{folder}: cannot be written: {error.strerror or error}") from error
    try:
        names = _write(evaluation, made, about or {}, plot, atoms)
        made.chmod(0o755)  # temporary folders are private
        if folder.exists():
            for name in names:
                os.replace(made / name, folder / name)
        else:
            os.replace(made, folder)
    except OSError as error:
        name = Path(error.filename).name if error.filename else ""
        raise StructureError(f"{folder / name}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return [folder / name for name in names]


def _write(evaluation: Evaluation, folder: Path, about: Mapping[str, Any], plot: bool, atoms: bool) -> list[str]:
    """Write the files and return their names, the summary last."""
    names = [PREDICTIONS]
    evaluation.predictions.write_csv(folder / PREDICTIONS)
    if atoms:
        evaluation.predictions.write_atoms_csv(folder / ATOMS)
        names.append(ATOMS)
    if plot:
        plot_parity(evaluation, folder / PLOT)
        names.append(PLOT)
    summary = {**about, **evaluation.to_dict()}
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(folder / SUMMARY) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    return [*names, SUMMARY]


MANY = 2000
"""The number of points from which on their density is drawn."""


def plot_parity(evaluation: Evaluation, path: Path) -> None:
    """Draw predictions against labels and histograms of the errors, of energies per atom and components of others.

    Energies are drawn relative to the mean label per atom. Quantities without labels are omitted.

    Args:
        evaluation: the evaluation, with `keep_atoms` for forces and other values of atoms.
        path: the path of the picture, whose ending determines the format.

    Raises:
        ImportError: matplotlib is not installed.
        SpecError: nothing can be drawn, since no prediction has a label.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = [quantity(evaluation) for quantity in (_energies, _forces, _stresses)]
    found += [_property(evaluation, name, kind) for name, kind in evaluation.predictions.properties.items()]
    quantities = [one for one in found if one is not None]
    if not quantities:
        raise SpecError(
            "nothing to draw: expected labels of a predicted quantity, found none (forces need keep_atoms=True)"
        )
    figure = Figure(figsize=(9, 4 * len(quantities)), layout="constrained")
    FigureCanvasAgg(figure)  # needs no screen
    axes = figure.subplots(len(quantities), 2, squeeze=False)
    for (left, right), (name, unit, label, predicted) in zip(axes, quantities, strict=True):
        _parity(left, label, predicted, f"{name} ({unit or 'unit of the labels'})")
        _histogram(right, (1e3 if unit else 1) * (predicted - label), f"m{unit}" if unit else "unit of the labels")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _energies(evaluation: Evaluation) -> tuple[str, str, Array, Array] | None:
    columns = evaluation.predictions.structures
    if "energy_label" not in columns:
        return None
    known = np.isfinite(columns["energy_label"]) & (columns["atoms"] > 0)
    label, predicted = (columns[name][known] / columns["atoms"][known] for name in ("energy_label", "energy_predicted"))
    if not len(label):
        return None
    mean = label.mean()
    name = f"{evaluation.meaning} energy per atom, without the mean of {mean:.4g}"
    return name, "eV", label - mean, predicted - mean


def _forces(evaluation: Evaluation) -> tuple[str, str, Array, Array] | None:
    columns = evaluation.predictions.atoms
    if columns is None or not {"forces_label", "forces_predicted"} <= columns.keys():
        return None
    known = columns["counted"] & np.isfinite(columns["forces_label"]).all(axis=1)
    label, predicted = (columns[name][known].ravel() for name in ("forces_label", "forces_predicted"))
    return ("force components", "eV/Å", label, predicted) if len(label) else None


def _stresses(evaluation: Evaluation) -> tuple[str, str, Array, Array] | None:
    columns = evaluation.predictions.structures
    if "stress_label" not in columns:
        return None
    rows, below = np.tril_indices(3)  # the matrix is symmetric
    known = np.isfinite(columns["stress_label"]).all(axis=(1, 2))
    label, predicted = (columns[name][known][:, rows, below].ravel() for name in ("stress_label", "stress_predicted"))
    return ("stress components", "eV/Å³", label, predicted) if len(label) else None


def _property(evaluation: Evaluation, name: str, kind: PropertyKind) -> tuple[str, str, Array, Array] | None:
    columns = (evaluation.predictions.structures if kind.per == "structure" else evaluation.predictions.atoms) or {}
    if f"{name}_label" not in columns:
        return None
    label, predicted = (columns[f"{name}_{part}"].ravel() for part in ("label", "predicted"))
    known = np.isfinite(label)
    title = name if kind.shape == "scalar" else f"{name} components"
    return (title, "", label[known], predicted[known]) if known.any() else None


def _parity(axes: Any, label: Array, predicted: Array, name: str) -> None:
    least, most = min(label.min(), predicted.min()), max(label.max(), predicted.max())
    margin = 0.03 * (most - least) or 1.0
    limits = (least - margin, most + margin)
    axes.plot(limits, limits, color="0.6", linewidth=1, zorder=0)
    if len(label) < MANY:
        axes.scatter(label, predicted, s=10, alpha=0.6, linewidths=0, color="tab:blue")
    else:
        shown = axes.hexbin(label, predicted, gridsize=80, bins="log", mincnt=1, extent=limits * 2, cmap="viridis")
        axes.figure.colorbar(shown, ax=axes, label="count", shrink=0.8)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_aspect("equal")
    axes.set_title(name, fontsize=10)
    axes.set_xlabel("label")
    axes.set_ylabel("prediction")


def _histogram(axes: Any, errors: Array, unit: str) -> None:
    # without the largest errors, which the title gives, so that the distribution of the others is visible
    reach = float(np.quantile(np.abs(errors), 0.99)) or 1.0
    axes.hist(errors, bins=60, range=(-1.5 * reach, 1.5 * reach), color="tab:orange")
    axes.axvline(0, color="0.3", linewidth=1)
    mae, rmse, largest = np.abs(errors).mean(), np.sqrt(np.square(errors).mean()), np.abs(errors).max()
    shown = (f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in (mae, rmse, largest))
    axes.set_title("MAE {}, RMSE {}, largest {} {}".format(*shown, unit), fontsize=10)
    axes.set_xlabel(f"prediction - label ({unit})")
    axes.set_ylabel("count")
    axes.spines[["top", "right"]].set_visible(False)


NONE = "–"
"""The entry of missing numbers."""

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
    """A table of all errors, with the meaning of energies and the counted atoms in its title."""
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
    for key, value in errors.properties.items():
        name, _, metric = key.rpartition("_")
        components = " of components" if evaluation.predictions.properties[name].shape != "scalar" else ""
        table.add_row(Text(f"{name}, {metric.upper()}{components}"), f"{value:.4g}", "unit of the labels")
    return table


def uncertainty_table(evaluation: Evaluation) -> Table | None:
    """A table of the uncertainty that an ensemble predicts beside its errors; None for single potentials."""
    if not evaluation.uncertainties:
        return None
    table = Table(box=SIMPLE_HEAD, title="uncertainty", title_justify="left", min_width=90)
    for heading in (
        "quantity",
        "mean std",
        "RMSE",
        "unit",
        "rank correlation\nof error and std",
        "labels within\ninterval",
    ):
        table.add_column(heading, justify="left" if heading in ("quantity", "unit") else "right")
    for name, one in evaluation.uncertainties.items():
        rank = NONE if one.rank_correlation is None else f"{one.rank_correlation:.2f}"
        coverage = NONE if one.coverage is None else f"{one.coverage:.1%}"
        quantity, unit = ("energy per atom", "meV") if name == "energy" else ("force components", "meV/Å")
        table.add_row(quantity, f"{1e3 * one.mean_std:.4g}", f"{1e3 * one.rmse:.4g}", unit, rank, coverage)
    return table


def parts_table(evaluation: Evaluation, part: Literal["group", "element"]) -> Table:
    """A table of the errors of each group or element."""
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
        # as text, so that no console interprets it as markup
        table.add_row(Text(name), f"{count:,}", *(_shown(getattr(errors, key), key) for key in columns.values()))
    return table


def _shown(value: float | None, key: str) -> str:
    if value is None:
        return NONE
    return f"{value:.3f}" if key == "forces_cosine" else f"{1e3 * value:.4g}"
