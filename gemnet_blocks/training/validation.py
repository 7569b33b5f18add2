"""Loss and errors on the validation set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import torch

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.structures import Prediction
from gemnet_blocks.training.losses import Loss, Totals

Metric = Literal["loss", "energy_mae", "forces_mae", "stress_mae"]
"""A result of validation: the loss, or a mean absolute error (of energies, per atom)."""


@torch.no_grad()
def validate(
    predict: Callable[[LabelledStructures], Prediction],
    batches: Iterable[LabelledStructures],
    loss: Loss,
    errors: Loss,
    device: torch.device,
    processes: int = 1,
) -> dict[str, float]:
    """Means over all structures, each counted once however they are batched.

    Args:
        predict: from structures to a prediction.
        batches: the share of this process.
        loss: what is minimised.
        errors: what else is measured, a mean for each term.
        device: what is computed on.
        processes: between how many the validation set is shared.

    Returns:
        `loss`, and `energy_mae` and so on for the terms of `errors`, in eV and Å.
    """
    both = Loss((*loss.terms, *errors.terms))
    told = torch.zeros(2, len(both.terms), dtype=torch.float64, device=device)
    for batch in batches:
        batch = batch.to(device)
        totals = both.totals(predict(batch), batch)
        told += torch.stack([totals.sums, totals.counts])
    if processes > 1:
        torch.distributed.all_reduce(told)
    sums, counts = told.cpu()
    split = len(loss.terms)
    value = float(loss.value(Totals(sums[:split], counts[:split])))
    means = errors.means(Totals(sums[split:], counts[split:])).tolist()
    return {"loss": value, **named_errors(errors, means)}


def named_errors(errors: Loss, means: Iterable[float]) -> dict[str, float]:
    """Mean absolute errors by the names that logs and options give them."""
    return {f"{name}_mae": mean for name, mean in zip(errors.names, means, strict=True)}


def in_log_units(metrics: Mapping[str, float]) -> dict[str, float]:
    """The same with errors of energies per atom, forces and stresses in meV, meV/Å and meV/Å³, units in the names."""
    return {LOG_NAMES.get(name, name): value * (1000 if name in LOG_NAMES else 1) for name, value in metrics.items()}


LOG_NAMES: Mapping[str, str] = {
    "energy_mae": "energy_mae_mev_per_atom",
    "forces_mae": "forces_mae_mev_per_angstrom",
    "stress_mae": "stress_mae_mev_per_cubic_angstrom",
}
"""Names in logs, with units."""
