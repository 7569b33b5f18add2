"""The costs of a model: operations and memory of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Task = Literal["energy", "predict", "train"]
"""energy: energies alone. predict: energies and forces, for which gradient forces need one backward pass. train: the
same, and the gradient of a loss to the weights; without the optimiser's own step."""


@dataclass(frozen=True, slots=True)
class PartCost:
    """What one part of a model costs.

    Attributes:
        name: the part.
        flops: of its products of matrices; a multiplication and an addition are two.
        peak_bytes: the most memory in use while it is computed, by whatever part.
        held_bytes: how much of the whole's peak is memory that this part asked for.
    """

    name: str
    flops: int
    peak_bytes: int
    held_bytes: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a model will cost; memory is counted on top of that of the weights and structures.

    Attributes:
        task: what for.
        counts: edges, triplets and quadruplets.
        parts: in the order of computation; those that do nothing are left out.
        peak_bytes: the most memory in use at any time.
        weight_bytes: memory of the weights.
    """

    task: Task
    counts: Mapping[str, int]
    parts: tuple[PartCost, ...]
    peak_bytes: int
    weight_bytes: int

    @property
    def flops(self) -> int:
        """Of all products of matrices; a multiplication and an addition are two."""
        return sum(part.flops for part in self.parts)
