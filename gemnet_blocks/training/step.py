"""What one training step found, the same on all processes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gemnet_blocks.training.stream import Place


@dataclass(frozen=True, slots=True)
class StepReport:
    """Numbers of one step, over all processes.

    Attributes:
        place: where its batch was.
        loss: before the step.
        error_sums: sums of absolute errors.
        error_counts: how many were added up.
        seconds: of training before the step, by the clock of the first process.
        stop_wished: whether a process was told to stop.
        gradient_norm: before clipping.
        learning_rate: of the step.
    """

    place: Place
    loss: float
    error_sums: tuple[float, ...]
    error_counts: tuple[float, ...]
    seconds: float
    stop_wished: bool
    gradient_norm: float
    learning_rate: float

    @property
    def loss_finite(self) -> bool:
        """Whether the loss is a number."""
        return math.isfinite(self.loss)

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are numbers."""
        return self.loss_finite and math.isfinite(self.gradient_norm)
