"""Extending a run: a run whose budget was changed goes on from its checkpoint."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.document import shown
from gemnet_blocks.training.options import TrainingConfig, TrainingOptions
from gemnet_blocks.training.state import RunState

ENDS = ("steps", "epochs", "minutes", "stop_early")
"""Fields of `training` that say when a run ends and may differ when it goes on."""


def extend(state: RunState, before: Mapping[str, Any], config: TrainingConfig) -> None:
    """Let a run end where a changed budget or rule of early stopping says.

    The learning rate follows the schedule of the new budget from the next step on: after s steps it is that of a run
    which had this budget from the beginning. The patience of early stopping starts again.

    Args:
        state: of the run; it is changed if the end has changed.
        before: the complete config that the run was stopped with.
        config: the config to go on with.

    Raises:
        SpecError: the new budget was already used up.
    """
    old, new = TrainingOptions.model_validate(before["training"]), config.training
    changed = [name for name in ENDS if getattr(old, name) != getattr(new, name)]
    if not changed:
        return
    described = "; ".join(f"training.{name} was {_shown(old, name)}, is {_shown(new, name)}" for name in changed)
    if state.fraction(new) >= 1:
        epochs = state.place.epoch + state.place.index / state.place.count
        raise SpecError(
            f"{described}: expected a larger budget, as the run has taken {state.step} steps ({epochs:.4g} epochs, "
            f"{state.seconds / 60:.3g} minutes)"
        )
    state.finished, state.stop_waited = False, 0
    if new.stop_early is None or old.stop_early is None or new.stop_early.metric != old.stop_early.metric:
        state.stop_best = math.inf
    rates = [
        config.optimizer.learning_rate * config.schedule.factor(state.step, state.fraction(one)) for one in (old, new)
    ]
    if rates[0] != rates[1]:
        warnings.warn(
            f"{described}: the schedule follows the new budget, so that the learning rate after step {state.step} is "
            f"{rates[1]:.3g} instead of {rates[0]:.3g}",
            stacklevel=2,
        )


def _shown(options: TrainingOptions, name: str) -> str:
    return shown(options.model_dump(mode="json")[name])
