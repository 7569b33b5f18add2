"""One training step, as Lightning takes it."""

from __future__ import annotations

from typing import Any, final

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.structures import Prediction
from gemnet_blocks.training.data_stream import PlacedBatch
from gemnet_blocks.training.failures import NonFiniteError
from gemnet_blocks.training.losses import Loss, Totals
from gemnet_blocks.training.optimizer import divide_gradients, make_optimizer, shared_weights
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.state import StepReport


@final
class PotentialModule(LightningModule):
    """The loss of a batch, its gradient and the optimizer's step.

    What all processes must know of each other, numbers of atoms, errors, the time and wishes to stop, is exchanged
    once per step, and read from the device once.

    Args:
        potential: what is trained.
        config: the whole run.
        loss: what is minimised.
        errors: mean absolute errors, for logs.
    """

    def __init__(self, potential: Potential, config: TrainingConfig, loss: Loss, errors: Loss) -> None:
        super().__init__()
        self.potential = potential
        self.config = config
        self.loss = loss
        self.errors = errors
        self.report: StepReport | None = None
        self.seconds = 0.0
        self.stop_wished = False
        self._exchanged: Tensor | None = None
        self._last_batch: PlacedBatch | None = None
        self._scaled = config.training.precision == "16-mixed"

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; the learning rate is set before each step by whoever counts the steps."""
        return make_optimizer(self.potential, self.config.optimizer, scaled_gradients=self._scaled)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> PlacedBatch:
        """The batch on the device; positions stay in float64, in which distances are computed."""
        placed: PlacedBatch = batch.to(device)
        return placed

    def predict(self, batch: LabelledStructures, potential: Potential | None = None) -> Prediction:
        """What the loss compares."""
        potential = potential or self.potential
        return potential(batch.structures, stress=self.config.loss.stress is not None, given=batch.pairs)

    def training_step(self, placed: PlacedBatch, batch_idx: int) -> Tensor:
        """The loss of a batch, for its gradient."""
        self._last_batch = placed
        batch = placed.batch
        prediction = self.predict(batch)
        own = self.loss.totals(prediction, batch)
        with torch.no_grad():
            errors = self.errors.totals(prediction, batch)
        everything, self._exchanged = self._exchange(own, errors)
        loss = self.loss.local(own, everything, self.trainer.world_size)
        if not loss.requires_grad:  # nothing to compare, on this process at least: no atom is free or has neighbors
            loss = loss + 0.0 * prediction.energy.sum()
        return loss

    def _exchange(self, own: Totals, errors: Totals) -> tuple[Totals, Tensor]:
        """Sums and counts over all processes, and everything else that they tell each other."""
        terms = len(self.loss.terms)
        seconds = self.seconds if self.trainer.is_global_zero else 0.0
        mine = torch.tensor([seconds, float(self.stop_wished)], dtype=torch.float64, device=own.sums.device)
        told = torch.cat([own.sums.detach(), own.counts, errors.sums, errors.counts, mine])
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(told)
        return Totals(told[:terms], told[terms : 2 * terms]), told

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Divide shared gradients, clip all to a norm, and see that everything is finite before weights change.

        Raises:
            NonFiniteError: the loss or a gradient is infinite or NaN; holds the batch.
        """
        assert self._exchanged is not None
        assert self._last_batch is not None
        if self.config.optimizer.divide_shared_gradients:
            divide_gradients(shared_weights(self.potential.model))
        gradients = [
            weight.grad for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None
        ]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.config.training.clip is not None and gradients:
            limit = self.config.training.clip
            torch._foreach_mul_(gradients, (limit / norm.clamp(min=limit)).to(gradients[0].dtype))
        told = torch.cat([self._exchanged, norm.double().reshape(1)]).tolist()
        self.report = self._read(told, optimizer.param_groups[0]["lr"], self._last_batch)
        if not self.report.finite and not (self._scaled and self.report.loss_finite):
            # half-precision gradients overflow now and then; Lightning skips these steps
            raise NonFiniteError(self.report, self._last_batch.batch, self.global_step + 1)

    def _read(self, told: list[float], learning_rate: float, placed: PlacedBatch) -> StepReport:
        losses, errors = len(self.loss.terms), len(self.errors.terms)
        parts = torch.tensor(told[: 2 * losses], dtype=torch.float64, device="cpu")
        totals = Totals(parts[:losses], parts[losses:])
        rest = told[2 * losses :]
        return StepReport(
            place=placed.place,
            loss=float(self.loss.value(totals)),
            error_sums=tuple(rest[:errors]),
            error_counts=tuple(rest[errors : 2 * errors]),
            seconds=rest[-3],
            stop_wished=rest[-2] > 0,
            gradient_norm=rest[-1],
            learning_rate=learning_rate,
        )
