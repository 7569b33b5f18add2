"""Actions around the steps of a run: learning rate, log, validation, stopping and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, final

from lightning.pytorch import Callback, LightningModule, Trainer

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.model.heads import GradientForces
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.training.checkpoints import FILE, KEY
from gemnet_blocks.training.distributed import stop_signals
from gemnet_blocks.training.ema import MeanWeights
from gemnet_blocks.training.loggers import RunLoggers
from gemnet_blocks.training.logs import Display, TrainingLog
from gemnet_blocks.training.losses import in_log_units, named_errors, validate
from gemnet_blocks.training.module import PotentialModule, ours
from gemnet_blocks.training.optimizer import Plateau, PlateauWatch, set_learning_rate
from gemnet_blocks.training.options import EveryOptions
from gemnet_blocks.training.results import Results
from gemnet_blocks.training.state import Means, RunState, StepReport, extend, random_state, restore_random_state


@final
class TrainingCallback(Callback):
    """Sets learning rates, logs, validates, saves models and checkpoints, and stops a run.

    A checkpoint is written after all other actions of its step, so that a resumed run repeats and omits nothing.

    Args:
        results: the folder of the run and the record of the model.
        validation: opens the batches that this process validates; None: there is no validation set.
        mean: the running mean of the weights; None: the last weights are validated and saved.
        saved: this library's part of the checkpoint to resume from; None: a new run.

    Attributes:
        loggers: the loggers of the run, which get the numbers of its log.
    """

    def __init__(
        self,
        results: Results,
        validation: Callable[[], Iterable[LabelledStructures]] | None,
        mean: MeanWeights | None,
        saved: dict[str, Any] | None = None,
    ) -> None:
        self.results = results
        self.config = results.config
        self.state = RunState.from_dict(saved["state"]) if saved else RunState()
        if saved:
            extend(self.state, saved["config"], self.config)
        self.signal: int | None = None
        self._validation = validation
        self.mean = mean
        self._saved = saved
        schedule = self.config.schedule
        self._plateau = PlateauWatch(schedule) if isinstance(schedule, Plateau) else None
        if self._plateau is not None and saved:
            self._plateau.load_state_dict(saved["plateau"])
        self.loggers = RunLoggers()
        self._log: TrainingLog | None = None
        self._display = Display()
        self._open = ExitStack()
        self._clock = time.process_time if self.config.training.clock == "processor" else time.monotonic
        self._started = self._clock()
        self._seconds_before = self._saved_at = self.state.seconds

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = ours(pl_module)
        if self._saved:
            restore_random_state(self._saved["random"])
            module.skipped = trainer.global_step - self.state.step
            _loss_scale(module, self._saved["gradient_scale"])
        if trainer.is_global_zero:
            names = ("loss", *named_errors(module.errors, (0.0 for _ in module.errors.terms)))
            columns = self.results.columns(list(names), self._validation is not None)
            self.loggers.start(self.results.hyperparameters(columns))
            self._log = self.results.open_log(columns, self.state.step)
            self._display = self._open.enter_context(Display.opened(self.config, self.fraction))

        def request_stop(number: int) -> None:
            self.signal, module.stop_requested = number, True

        self._open.enter_context(stop_signals(request_stop))
        self._started = self._clock()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        reductions = self._plateau.reductions if self._plateau is not None else 0
        module = ours(pl_module)
        module.fraction = self.fraction
        factor = self.config.schedule.factor(self.state.step, module.fraction, reductions)
        module.learning_rate = self.config.optimizer.learning_rate * factor
        set_learning_rate(trainer.optimizers[0], module.learning_rate)
        module.seconds = self._seconds()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module, report = ours(pl_module), ours(pl_module).report
        assert report is not None
        before = self.fraction
        self._advance(report)
        self.state.finished = self.fraction >= 1
        row = self._training_row(module, report)
        if self._validation is not None and self._due(self.config.training.validate_every, report):
            row |= self._validate(trainer, module)
        elif self._validation is not None and self._on_curve(before):
            self._add_to_curve(trainer, module)
        if row and self._log is not None:
            numbers = {"epoch": report.place.epochs_done, "seconds": self._seconds(), **row}
            self.loggers.write(self.state.step, numbers)
            self._log.write(self.state.step, numbers)
        self._display.show(self.fraction, self.state.step, row, self._seconds())
        if self.state.finished and trainer.is_global_zero:  # before the checkpoint that records it
            self.results.save("last", self._potential(module), self.state)
        if self.state.finished or report.stop_requested or self._checkpoint_due(report):
            self.save(trainer)
        trainer.should_stop = self.state.finished or report.stop_requested

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = {
            "config": self.config.to_dict(),
            "processes": trainer.world_size,
            "data": self.results.data_digest,
            "references": self.results.references.to_dict(),
            "start_from": self.results.source and asdict(self.results.source),
            "state": {**self.state.to_dict(), "seconds": self._seconds()},
            "plateau": self._plateau.state_dict() if self._plateau is not None else {},
            "random": random_state(),
            "gradient_scale": _loss_scale(ours(pl_module)),
        }

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.close()

    @property
    def fraction(self) -> float:
        """The used fraction of the budget, from 0 to 1; the same on all processes."""
        return self.state.fraction(self.config.training)

    def close(self) -> None:
        """Close the log and restore the signal handlers."""
        self._open.close()
        log, self._log = self._log, None
        if log is not None:
            log.close()

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint."""
        if self._log is not None:
            self.loggers.secure()
            self._log.secure()
        trainer.save_checkpoint(self.results.folder / FILE, weights_only=False)
        self._saved_at = self.state.seconds

    def _seconds(self) -> float:
        return self._seconds_before + self._clock() - self._started

    def _advance(self, report: StepReport) -> None:
        self.state.place = report.place.next
        self.state.seconds = report.seconds
        if not report.skipped:
            self.state.step += 1
            self.state.means.add(report)

    def _training_row(self, module: PotentialModule, report: StepReport) -> dict[str, float]:
        """Means over the steps since the last row of the log; empty unless a row is due."""
        due = not report.skipped and self.state.step % self.config.training.log.every == 0
        if not self.state.means.steps or not (due or self.state.finished):
            return {}
        means, self.state.means = self.state.means, Means()
        errors = in_log_units(named_errors(module.errors, means.errors))
        return {
            "learning_rate": report.learning_rate,
            "gradient_norm": report.gradient_norm,
            "loss": means.loss / means.steps,
            **errors,
        }

    def _due(self, every: EveryOptions, report: StepReport) -> bool:
        place = report.place
        at_step = every.steps is not None and self.state.step % every.steps == 0 and not report.skipped
        at_epoch = every.epochs is not None and place.last and (place.epoch + 1) % every.epochs == 0
        return at_step or at_epoch or self.state.finished

    def _checkpoint_due(self, report: StepReport) -> bool:
        rule = self.config.training.checkpoint
        at_step = rule.steps is not None and self.state.step % rule.steps == 0
        # all processes use the clock of the first one
        at_time = rule.minutes is not None and report.seconds - self._saved_at >= 60 * rule.minutes
        return at_step or at_time

    def _validate(self, trainer: Trainer, module: PotentialModule) -> dict[str, float]:
        """Validate, save the best model, and check whether to stop."""
        state, potential = self.state, self._potential(module)
        metrics = self._validated(trainer, module, potential)
        state.validations.append({"step": state.step, "seconds": self._seconds(), **metrics})
        if metrics["loss"] < state.best_loss:
            state.best_loss, state.best_step = metrics["loss"], state.step
            if trainer.is_global_zero:
                self.results.save("best", potential, state)
        if isinstance(self.config.schedule, Plateau) and self._plateau is not None:
            self._plateau.observe(metrics[self.config.schedule.metric])
        state.finished |= self._stops_early(metrics)
        return {f"validation_{name}": value for name, value in in_log_units(metrics).items()}

    def _validated(self, trainer: Trainer, module: PotentialModule, potential: Potential) -> dict[str, float]:
        assert self._validation is not None
        return validate(
            lambda batch: module.predict(batch, potential),
            self._validation(),
            module.loss,
            module.errors,
            module.device,
            trainer.world_size,
        )

    def _on_curve(self, before: float) -> bool:
        """Tell whether a step has reached the next point of the learning curve from a fraction of the budget."""
        points = self.config.training.log.curve_points
        return int(points * self.fraction) > int(points * before)

    def _add_to_curve(self, trainer: Trainer, module: PotentialModule) -> None:
        """Validate without any effect on the run; the clock of the budget stands still meanwhile."""
        seconds, began = self._seconds(), self._clock()
        metrics = self._validated(trainer, module, self._potential(module))
        self.state.curve.append({"step": self.state.step, "seconds": seconds, **metrics})
        self._started += self._clock() - began

    def _potential(self, module: PotentialModule) -> Potential:
        """The potential that is validated and saved."""
        return self.mean.potential if self.mean is not None else module.potential

    def _stops_early(self, metrics: dict[str, float]) -> bool:
        rule, state = self.config.training.stop_early, self.state
        if rule is None:
            return False
        if metrics[rule.metric] < state.stop_best - rule.least_gain:
            state.stop_best, state.stop_waited = metrics[rule.metric], 0
            return False
        state.stop_waited += 1
        return state.stop_waited > rule.patience


def _loss_scale(module: PotentialModule, state: list[float] | None = None) -> list[float]:
    """Return the state of the scale of gradient forces in half precision, empty without one; or set it."""
    forces = module.potential.model.forces
    scale = forces.scale if isinstance(forces, GradientForces) else None
    if scale is None:
        return []
    if state:
        scale.value, scale._good_steps = state[0], int(state[1])
    return [scale.value, float(scale._good_steps)]
