"""Types for the cost of a model: operations and memory of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gemnet_blocks.util.html import upper_layer

Task = Literal["energy", "predict", "train"]
"""energy: energies alone. predict: energies and forces; gradient forces need one backward pass. train: energies, forces
and the gradient of a loss with respect to the weights, without the step of the optimizer."""


@dataclass(frozen=True, slots=True)
class PartCost:
    """The cost of one part of a model.

    Attributes:
        name: the part.
        flops: floating-point operations of its matrix products; a multiplication and an addition count as two.
        peak_bytes: the peak memory of the whole model while this part is computed.
        held_bytes: memory of this part at the time of the model's peak.
    """

    name: str
    flops: int
    peak_bytes: int
    held_bytes: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated cost of a model. Memory does not include the weights and the structures.

    Attributes:
        task: the task that was estimated.
        counts: the numbers of edges, triplets and quadruplets.
        parts: the parts with any cost, in the order of computation.
        peak_bytes: the peak memory in bytes.
        weight_bytes: the memory of the weights in bytes.
    """

    task: Task
    counts: Mapping[str, int]
    parts: tuple[PartCost, ...]
    peak_bytes: int
    weight_bytes: int

    @property
    def flops(self) -> int:
        """Floating-point operations of all matrix products; a multiplication and an addition count as two."""
        return sum(part.flops for part in self.parts)

    def __repr__(self) -> str:
        return f"Estimate({self.task}: {self.flops / 1e9:,.3g} GFLOP, {self.peak_bytes / 1e6:,.3g} MB)"

    def _repr_html_(self) -> str:
        return upper_layer("plotting.notebook").html(self)
