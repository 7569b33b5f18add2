"""The training step as a Lightning module."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, final

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.structures import Prediction
from gemnet_blocks.training.data_stream import PositionedBatch
from gemnet_blocks.training.failures import NonFiniteError
from gemnet_blocks.training.losses import Loss, Totals
from gemnet_blocks.training.optimizer import divide_gradients, make_optimizer, shared_weights
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.state import StepReport


@final
class PotentialModule(LightningModule):
    """The loss of a batch, its gradient and the step of the optimizer.

    Processes exchange numbers of atoms, errors, the time and requests to stop once per step, and read the result from
    the device once.

    Args:
        potential: the trained potential.
        config: the config of the run.
        loss: the loss.
        errors: mean absolute errors, for logs.

    Attributes:
        report: numbers of the last step.
        seconds: duration of training so far.
        learning_rate: the learning rate of the next step, without the factors of groups of weights.
        fraction: the used fraction of the budget before the next step, which the weights of the loss depend on.
        stop_requested: whether this process received a signal to stop.
        skipped: the number of steps that were skipped because a gradient in half precision overflowed.
    """

    def __init__(self, potential: Potential, config: TrainingConfig, loss: Loss, errors: Loss) -> None:
        super().__init__()
        self.potential = potential
        self.config = config
        self.loss = loss
        self.errors = errors
        self.report: StepReport | None = None
        self.seconds = 0.0
        self.learning_rate = config.optimizer.learning_rate
        self.fraction = 0.0
        self.stop_requested = False
        self._exchanged: Tensor | None = None
        self._last_batch: PositionedBatch | None = None
        self.skipped = 0
        self._scaled = config.training.precision == "16-mixed"

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return make_optimizer(self.potential.model, self.config.optimizer, scaled_gradients=self._scaled)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> PositionedBatch:
        # positions stay in float64, in which distances are computed
        placed: PositionedBatch = batch.to(device)
        return placed

    def predict(self, batch: LabelledStructures, potential: Potential | None = None) -> Prediction:
        """Predict a batch, by default with the last weights."""
        potential = potential or self.potential
        return potential(batch.structures, stress=self.config.loss.stress is not None, given=batch.pairs)

    def training_step(self, placed: PositionedBatch, batch_idx: int) -> Tensor:
        self._last_batch = placed
        batch = placed.batch
        prediction = self.predict(batch)
        own = self.loss.totals(prediction, batch)
        with torch.no_grad():
            errors = self.errors.totals(prediction, batch)
        everything, self._exchanged = self._exchange(own, errors)
        loss = self.loss.local(own, everything, self.trainer.world_size, self.fraction)
        if not loss.requires_grad:  # on this process, no atom is free or has neighbors
            loss = loss + 0.0 * prediction.energy.sum()
        return loss

    def _exchange(self, own: Totals, errors: Totals) -> tuple[Totals, Tensor]:
        """Sum over all processes; returns the sums of the loss, and everything that the processes exchange."""
        terms = len(self.loss.terms)
        seconds = self.seconds if self.trainer.is_global_zero else 0.0
        mine = torch.tensor([seconds, float(self.stop_requested)], dtype=torch.float64, device=own.sums.device)
        exchanged = torch.cat([own.sums.detach(), own.counts, errors.sums, errors.counts, mine])
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(exchanged)
        return Totals(exchanged[:terms], exchanged[terms : 2 * terms]), exchanged

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Divide shared gradients, clip all gradients to a norm, and check that everything is finite.

        Raises:
            NonFiniteError: the loss or a gradient is infinite or NaN; contains the batch.
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
        exchanged = torch.cat([self._exchanged, norm.double().reshape(1)]).tolist()
        self.report = self._read(exchanged, self.learning_rate, self._last_batch)
        if not self.report.finite:
            if not self._overflowed(self.report):
                raise NonFiniteError(self.report, self._last_batch.batch, self.global_step + 1 - self.skipped)
            self.report = replace(self.report, skipped=True)
            self.skipped += 1

    def _overflowed(self, report: StepReport) -> bool:
        """Return True if a gradient overflowed because its scale in half precision is too large.

        The scaler then skips the step and halves the scale. At a scale below 1, the gradient itself is not finite.
        """
        scaler = getattr(self.trainer.precision_plugin, "scaler", None) if self._scaled else None
        return scaler is not None and report.loss_finite and scaler.get_scale() >= 1

    def _read(self, exchanged: list[float], learning_rate: float, placed: PositionedBatch) -> StepReport:
        losses, errors = len(self.loss.terms), len(self.errors.terms)
        parts = torch.tensor(exchanged[: 2 * losses], dtype=torch.float64, device="cpu")
        totals = Totals(parts[:losses], parts[losses:])
        rest = exchanged[2 * losses :]
        return StepReport(
            place=placed.place,
            loss=float(self.loss.value(totals, self.fraction)),
            error_sums=tuple(rest[:errors]),
            error_counts=tuple(rest[errors : 2 * errors]),
            seconds=rest[-3],
            stop_requested=rest[-2] > 0,
            gradient_norm=rest[-1],
            learning_rate=learning_rate,
        )


def ours(module: LightningModule) -> PotentialModule:
    """Return Lightning's module as the module of a training run."""
    assert isinstance(module, PotentialModule)
    return module
