"""The training configs of the runs of a study."""

from __future__ import annotations

from typing import Any

from gemnet_blocks.ablation.options import BudgetOptions
from gemnet_blocks.ablation.variants import Candidate
from gemnet_blocks.training.options import TrainingConfig

CURVE_POINTS = 20
"""The number of points of learning curves, unless the study sets it or the interval between validations."""


def config_of(one: Candidate, config: TrainingConfig, budget: BudgetOptions, steps: int | None) -> TrainingConfig:
    """Return the training config of a variant, without labels and losses of heads that the variant removes.

    Args:
        one: the variant.
        config: the training config of the study.
        budget: the budget of each variant.
        steps: number of steps that a budget of FLOPs allows.
    """
    log = config.training.log
    quiet: dict[str, Any] = {
        "progress": False,
        "tensorboard": log.tensorboard and "tensorboard" in log.model_fields_set,
    }
    if "curve_points" not in log.model_fields_set and "validate_every" not in config.training.model_fields_set:
        quiet["curve_points"] = CURVE_POINTS
    training = config.training.model_copy(
        update={
            "steps": steps if budget.flops is not None else budget.steps,
            "minutes": budget.minutes,
            "epochs": None,
            "initial_weights": "by_name",
            "execution": one.execution,
            "start_from": one.start_from,
            "log": log.model_copy(update=quiet),
        }
    )
    return config.model_copy(update={"training": training, "output": None}).for_model(one.spec)


def with_seed(config: TrainingConfig, seed: int) -> TrainingConfig:
    """Return a copy of a training config with another seed, which `{seed}` in the path of `start_from` stands for."""
    start = config.training.start_from
    changes = {"seed": seed, "start_from": start and start.replace("{seed}", str(seed))}
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})
