"""Predictions against labels, and how errors are distributed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gemnet_blocks.errors import SpecError
from gemnet_blocks.evaluation.evaluate import Evaluation
from gemnet_blocks.evaluation.predictions import Array
from gemnet_blocks.profile_plot import require_matplotlib
from gemnet_blocks.util.files import replacing

MANY = 2000
"""From so many points on, their density is drawn instead of each."""


def plot_parity(evaluation: Evaluation, path: Path) -> None:
    """Draw predictions against labels and histograms of the errors: energies per atom, components of forces, stresses.

    Energies are drawn without what the labels have in common, their mean per atom. A row for which there are no labels
    is left out.

    Args:
        evaluation: with `keep_atoms` for forces.
        path: the picture to write; its ending says the format.

    Raises:
        ImportError: matplotlib is not installed.
        SpecError: there is nothing to draw.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = [quantity(evaluation) for quantity in (_energies, _forces, _stresses)]
    quantities = [one for one in found if one is not None]
    if not quantities:
        raise SpecError(
            "nothing to draw: nothing was predicted that there are labels for (forces need keep_atoms=True)"
        )
    figure = Figure(figsize=(9, 4 * len(quantities)), layout="constrained")
    FigureCanvasAgg(figure)  # draws to files, whatever the screen
    axes = figure.subplots(len(quantities), 2, squeeze=False)
    for (left, right), (name, unit, label, predicted) in zip(axes, quantities, strict=True):
        _parity(left, label, predicted, f"{name} ({unit})")
        _histogram(right, 1e3 * (predicted - label), f"m{unit}")
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
    rows, below = np.tril_indices(3)  # what is above the diagonal is the same
    known = np.isfinite(columns["stress_label"]).all(axis=(1, 2))
    label, predicted = (columns[name][known][:, rows, below].ravel() for name in ("stress_label", "stress_predicted"))
    return ("stress components", "eV/Å³", label, predicted) if len(label) else None


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
    # the largest errors are named below, so that a few do not hide how the others are distributed
    reach = float(np.quantile(np.abs(errors), 0.99)) or 1.0
    axes.hist(errors, bins=60, range=(-1.5 * reach, 1.5 * reach), color="tab:orange")
    axes.axvline(0, color="0.3", linewidth=1)
    mae, rmse, largest = np.abs(errors).mean(), np.sqrt(np.square(errors).mean()), np.abs(errors).max()
    shown = (f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in (mae, rmse, largest))
    axes.set_title("MAE {}, RMSE {}, largest {} {}".format(*shown, unit), fontsize=10)
    axes.set_xlabel(f"prediction - label ({unit})")
    axes.set_ylabel("count")
    axes.spines[["top", "right"]].set_visible(False)
