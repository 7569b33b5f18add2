"""Conformal calibration of ensembles on labelled structures that the members were not trained on."""

from __future__ import annotations

from typing import Literal

from gemnet_blocks.data.batching import BatchOptions
from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.errors import SpecError
from gemnet_blocks.evaluation.evaluate import DEFAULT_BATCH, evaluate
from gemnet_blocks.potential.calibration import Calibration
from gemnet_blocks.potential.ensemble import Ensemble


def calibrate(
    ensemble: Ensemble,
    dataset: LabelledDataset,
    level: float = 0.9,
    batch: BatchOptions = DEFAULT_BATCH,
    progress: bool = False,
    allow_overlap: bool | Literal["validation"] = "validation",
) -> Ensemble:
    """Choose the widths of an ensemble's intervals so that they contain labels with a given probability.

    Split conformal prediction: the intervals are q·(σ + σ₀) wide on each side, with q from the errors of `dataset`; see
    `gemnet_blocks.potential.calibration.Width`. The probability holds for structures of the same distribution as
    `dataset`. If the members were chosen by these structures, as the best models of a training are by its validation
    set, errors on them are somewhat too low, and so is the coverage of new structures.

    Args:
        ensemble: the ensemble, which is not modified.
        dataset: labelled structures; at least level/(1 - level) of them, 9 for a level of 0.9. A few hundred make the
            coverage of one calibration precise to about 2 %.
        level: the probability, typically 0.9 or 0.95.
        batch: the size of a batch, in structures or atoms.
        progress: whether the number of predicted structures is printed to log files.
        allow_overlap: whether members may have been trained on the structures; `validation`: only validated on them.

    Returns:
        An ensemble of the same members with intervals of the quantities that have labels.

    Raises:
        SpecError: there are too few labels, or the level is not between 0 and 1.
        StructureError: a member was trained on a structure, or a structure cannot be computed.
    """
    found = evaluate(ensemble, dataset, batch, progress=progress, allow_overlap=allow_overlap).deviations
    if not found:
        raise SpecError("expected labels of energy or forces to calibrate with, found none")
    try:
        widths = {name: deviations.width(level) for name, deviations in found.items()}
    except ValueError as error:
        raise SpecError(f"cannot calibrate: {error}") from error
    return Ensemble(ensemble.potentials, Calibration(level, len(dataset), **widths)).train(ensemble.training)
