"""Labelled structures with random numbers, and predictions for them."""

from __future__ import annotations

import torch

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.structures import Prediction, Structures


def labelled(counts: list[int], fixed: list[int] | None = None) -> LabelledStructures:
    """Structures with so many atoms each, of which those numbered are fixed."""
    atoms, count = sum(counts), len(counts)
    structures = Structures(
        positions=torch.randn(atoms, 3, dtype=torch.float64),
        numbers=torch.ones(atoms, dtype=torch.long),
        structure=torch.repeat_interleave(torch.arange(count), torch.tensor(counts)),
        cells=2.0 * torch.eye(3, dtype=torch.float64).repeat(count, 1, 1),
        periodic=torch.ones(count, 3, dtype=torch.bool),
        tags=torch.zeros(atoms, dtype=torch.long),
        fixed=torch.zeros(atoms, dtype=torch.bool),
    )
    structures.fixed[fixed or []] = True
    return LabelledStructures(
        structures=structures,
        energy=torch.randn(count, dtype=torch.float64),
        forces=torch.randn(atoms, 3, dtype=torch.float64),
        stress=torch.randn(count, 3, 3, dtype=torch.float64),
        frame=torch.arange(count),
    )


def predicted(batch: LabelledStructures) -> Prediction:
    """Random numbers that gradients can be computed for."""
    atoms, count = batch.structures.atom_count, len(batch)
    return Prediction(
        torch.randn(count, dtype=torch.float64, requires_grad=True),
        torch.randn(atoms, 3, dtype=torch.float64, requires_grad=True),
        torch.randn(count, 3, 3, dtype=torch.float64, requires_grad=True),
    )
