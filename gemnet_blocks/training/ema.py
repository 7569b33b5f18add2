"""Exponential moving average of the weights, which is validated and saved instead of the last weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.training.module import ours

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


@final
class MeanWeights(WeightAveraging):
    """Exponential moving average of the weights.

        θ̄ ← θ̄ + (1 - d)·(θ - θ̄) after each step n = 1, 2, ..., with d = min(decay, (1 + n)/(10 + n)).

    The decay is smaller in the first steps, so that the mean soon forgets the initial weights. Lightning copies the
    weights, saves and restores the mean with checkpoints, and leaves it in the model at the end. Skipped steps
    do not count.

    Args:
        decay: the fraction of the mean that each step keeps, such as 0.999.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False)
        self.decay = decay
        self._means: list[Tensor] = []
        self._weights: list[Tensor] = []

    @property
    def potential(self) -> Potential:
        """The potential with mean weights."""
        assert self._average_model is not None
        potential = self._average_model.module.potential
        assert isinstance(potential, Potential)
        return potential

    def kept(self, step: int) -> float:
        """The fraction of the mean that a step keeps, counted from 1."""
        return min(self.decay, (1 + step) / (10 + step))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # listing the weights takes longer than averaging those of a small model
        assert self._average_model is not None
        self._means = [weight.detach() for weight in self._average_model.module.parameters()]
        self._weights = [weight.detach() for weight in pl_module.parameters()]

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module = ours(pl_module)
        assert module.report is not None
        step = trainer.global_step
        if step > self._latest_update_step and not module.report.skipped:
            torch._foreach_lerp_(self._means, self._weights, 1 - self.kept(step - module.skipped))
            self._latest_update_step = step
