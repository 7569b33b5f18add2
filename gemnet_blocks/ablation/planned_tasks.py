"""How each variant is trained, and what is wrong with that."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gemnet_blocks.ablation.learner import Learner, Task
from gemnet_blocks.ablation.options import BASE, BudgetOptions
from gemnet_blocks.ablation.study_file import StudyDocument
from gemnet_blocks.ablation.variants import Candidate
from gemnet_blocks.data.opening import DataSplits
from gemnet_blocks.training.options import TrainingConfig


def first_tasks(
    study: StudyDocument, learner: Learner, variants: Sequence[Candidate], data: DataSplits | None, thorough: bool
) -> tuple[list[Task], list[str]]:
    """How each variant is trained with the first seed, and what is wrong with that."""
    tasks: list[Task] = []
    problems: list[str] = []
    told: set[str] = set()
    budget, seed = study.options.budget, study.options.seeds[0]
    for one in variants:
        name, config = one.variant.name, study.config
        own = None if config is None else with_seed(config_of(one, config, budget, 1), seed)
        task = Task(name, seed, "", one.spec, own)
        wrong = [*learner.check(task, data), *_without_primary(study, learner, task, data)] if thorough else []
        problems += [_about(line, name) for line in wrong if line not in told]
        told |= set(wrong) if name == BASE else set()  # what is wrong with the base is wrong with all
        if budget.flops is not None and own is not None and config is not None and not wrong:
            steps, more = _affordable(learner, task, data, budget.flops)
            problems += more
            task = Task(name, seed, "", one.spec, config_of(one, config, budget, steps))
        tasks.append(task)
    return tasks, problems


def _affordable(learner: Learner, task: Task, data: DataSplits | None, flops: float) -> tuple[int, list[str]]:
    """How many steps a budget of FLOPs allows, at least one, and why there are none."""
    try:
        each = learner.training_flops(task, data)
    except Exception as error:  # a user's own part may raise anything
        reason = f"{type(error).__name__}: {error}"
        return 1, [f"budget.flops: what a step of {task.variant!r} takes is not known ({reason}): give steps instead"]
    if each > flops:
        return 1, [f"budget.flops: a step of {task.variant!r} takes {each:.3g}: give more than {flops:.3g}"]
    return max(1, int(flops / max(each, 1.0))), []


def _without_primary(study: StudyDocument, learner: Learner, task: Task, data: DataSplits | None) -> list[str]:
    known, primary = learner.metrics(task, data), study.options.primary
    if known is None or primary in known:
        return []
    return [f"primary: there will be no {primary}: choose from {', '.join(known)}, or add what predicts and labels it"]


def _about(line: str, variant: str) -> str:
    """A problem of a variant's training, in the words of the study."""
    return f"{BASE if variant == BASE else f'variants.{variant}'}: {in_study(line)}"


def in_study(line: str) -> str:
    """A problem of a training config, with the path that its field has in a study."""
    return re.sub(r"^(loss|training|schedule)\.", r"training.\1.", line)


def config_of(one: Candidate, config: TrainingConfig, budget: BudgetOptions, steps: int | None) -> TrainingConfig:
    """How a variant is trained.

    Args:
        one: the variant.
        config: how all are.
        budget: what each may spend.
        steps: as many steps as the budget allows, where it is one of FLOPs.
    """
    log = config.training.log
    quiet = {"progress": False, "tensorboard": log.tensorboard and "tensorboard" in log.model_fields_set}
    training = config.training.model_copy(
        update={
            "steps": steps if budget.flops is not None else budget.steps,
            "minutes": budget.minutes,
            "epochs": None,
            "initial_weights": "by_name",
            "execution": one.execution,
            "log": log.model_copy(update=quiet),
        }
    )
    return config.model_copy(update={"model": one.spec, "training": training, "output": None})


def with_seed(config: TrainingConfig, seed: int) -> TrainingConfig:
    """The same training with another seed."""
    return config.model_copy(update={"training": config.training.model_copy(update={"seed": seed})})
