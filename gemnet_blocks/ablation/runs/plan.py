"""All runs of a study, checked before any of them starts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemnet_blocks.ablation.learner import Learner, Task
from gemnet_blocks.ablation.options import BASE, BudgetOptions
from gemnet_blocks.ablation.results import Variant
from gemnet_blocks.ablation.runs.run_folder import RunFolder
from gemnet_blocks.ablation.runs.run_key import Fingerprints, run_key
from gemnet_blocks.ablation.study_file import TRAINED, StudyDocument
from gemnet_blocks.ablation.variants import Candidate, candidates, control, width_at
from gemnet_blocks.data.opening import DataSplits
from gemnet_blocks.errors import SpecError, StructureError
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.util.files import check_folder


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
    return re.sub(rf"^({'|'.join(TRAINED)})(?=[.:])", r"training.\1", line)


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


FINGERPRINTS = "fingerprints.json"
"""The file in a study's folder that remembers hashes of data files."""


@dataclass(frozen=True, slots=True, eq=False)
class PlannedRun:
    """One variant with one seed.

    Attributes:
        task: what to do.
        folder: where.
    """

    task: Task
    folder: RunFolder

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.task.variant}, seed {self.task.seed}"


@dataclass(frozen=True, slots=True, eq=False)
class StudyPlan:
    """All runs of a study.

    Attributes:
        variants: the base first; controls after what they are of.
        runs: one seed of all variants after another, so that what is done early can be compared.
        data: what was found in the data; empty where nobody looked.
        thorough: whether everything was checked.
        files: the content of all data files, as runs are known by it.
    """

    variants: tuple[Variant, ...]
    runs: tuple[PlannedRun, ...]
    data: str = ""
    thorough: bool = True
    files: Mapping[str, Any] = field(default_factory=dict)


def make_plan(study: StudyDocument, learner: Learner, folder: Path, thorough: bool = True) -> StudyPlan:
    """Check everything and list all runs.

    Args:
        study: what was read.
        learner: what does the runs.
        folder: for everything that the study writes.
        thorough: whether data and folder are checked too; for a report, they need not be.

    Raises:
        SpecError: one error with every problem.
    """
    found, problems = candidates(study)
    problems += _without_training(study, learner)
    controls, more = _controls(study, found)
    problems += more
    if study.config is not None and not problems:
        problems += _unpaired(study.config, controls)
    data: DataSplits | None = None
    if thorough:
        problems += _unwritable(folder)
    if study.config is not None and learner.needs_data and (thorough or study.options.budget.flops is not None):
        data, more = _opened(study.config)
        problems += more
    if problems:
        raise SpecError("\n".join(dict.fromkeys(problems)))
    tasks, problems = first_tasks(study, learner, controls, data, thorough)
    if problems:
        raise SpecError("\n".join(dict.fromkeys(problems)))
    files = data_files(study, learner, folder)
    runs = []
    for seed in study.options.seeds:
        for one, task in zip(controls, tasks, strict=True):
            config = None if task.config is None else with_seed(task.config, seed)
            key = run_key(one.spec, config, files, seed, learner.settings())
            runs.append(
                PlannedRun(
                    Task(one.variant.name, seed, key, one.spec, config),
                    RunFolder.of(folder, one.variant.name, seed, key),
                )
            )
    report = "" if data is None else data.report
    return StudyPlan(tuple(one.variant for one in controls), tuple(runs), report, thorough, files)


def data_files(study: StudyDocument, learner: Learner, folder: Path) -> Mapping[str, Any]:
    """The content of the data files that runs read.

    Raises:
        SpecError: one cannot be read.
    """
    if study.config is None or not learner.needs_data:
        return {}
    return Fingerprints(folder / FINGERPRINTS).of(study.config.data, study.folder)


def _controls(study: StudyDocument, found: Sequence[Candidate]) -> tuple[list[Candidate], list[str]]:
    """The variants with their controls."""
    options = study.options.match
    if options is None or not found or found[0].variant.name != BASE:
        return list(found), []
    try:
        width_at(found[0].spec.to_dict(), options.parameters)
    except SpecError:
        return list(found), [
            f"match.parameters: {options.parameters} is no width of the base: name one, such as sizes.edge"
        ]
    all_of_them, problems = [found[0]], []
    for one in found[1:]:
        all_of_them.append(one)
        try:
            matched = control(found[0], one, options)
        except SpecError as error:
            problems.append(f"variants.{one.variant.name}: {error}")
            continue
        if matched is not None:
            all_of_them.append(matched)
    names = [one.variant.name for one in all_of_them]
    problems += [
        f"variants.{name}: is the name of a control: choose another" for name in {*names} if names.count(name) > 1
    ]
    return all_of_them, problems


def _without_training(study: StudyDocument, learner: Learner) -> list[str]:
    if not learner.needs_data or study.config is not None:
        return []
    return ["data and training: are missing: say what to learn from, and what is minimised"]


def _unpaired(config: TrainingConfig, variants: Sequence[Candidate]) -> list[str]:
    """Budgets of edges make batches that depend on the model: then no two variants see the same data."""
    if config.data.batch.edges is None:
        return []

    def edges(one: Candidate) -> object:
        return one.spec.graphs["main"].model_dump(), one.spec.neighbors.periodic

    differing = [one.variant.name for one in variants if edges(one) != edges(variants[0])]
    if not differing:
        return []
    return [
        f"data.batch.edges: {', '.join(map(repr, differing))} would see other batches than the base, as their edges "
        "differ: use structures or atoms"
    ]


def _opened(config: TrainingConfig) -> tuple[DataSplits | None, list[str]]:
    from gemnet_blocks.training.data_stream import open_parts

    try:
        data = open_parts(config)
    except (SpecError, StructureError, ImportError) as error:
        return None, [f"data: {line}" for line in str(error).splitlines()]
    if data.test is None and data.validation is None:
        return data, ["data: there is neither a test set nor a validation set: set data.test, or data.split"]
    return data, []


def _unwritable(folder: Path) -> list[str]:
    try:
        check_folder(folder, "output")
    except SpecError as error:
        return [str(error)]
    return []
