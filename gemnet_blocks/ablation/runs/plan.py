"""The plan of a study: all runs, checked before any of them starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemnet_blocks.ablation.learner import Learner, Task
from gemnet_blocks.ablation.options import BASE, pairs_needed
from gemnet_blocks.ablation.results import Variant
from gemnet_blocks.ablation.runs.configs import config_of, with_seed
from gemnet_blocks.ablation.runs.matching import MATCHED, Sizes, with_controls
from gemnet_blocks.ablation.runs.run_folder import RunFolder
from gemnet_blocks.ablation.runs.run_key import Fingerprints, run_key
from gemnet_blocks.ablation.study_file import StudyDocument
from gemnet_blocks.ablation.variants import Candidate, candidates
from gemnet_blocks.data.opening import DataSplits
from gemnet_blocks.errors import SpecError, StructureError
from gemnet_blocks.training.data_stream import open_parts
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.util.files import check_folder


def first_tasks(
    study: StudyDocument, learner: Learner, variants: Sequence[Candidate], data: DataSplits | None, thorough: bool
) -> tuple[list[Task], list[str]]:
    """Return the tasks of all variants, checked with the first seed, and all problems with them."""
    tasks: list[Task] = []
    problems: list[str] = []
    reported: set[str] = set()
    budget, seed = study.options.budget, study.options.all_seeds[0]
    for one in variants:
        name, config = one.variant.name, study.config
        own = None if config is None else config_of(one, config, budget, 1)
        task = Task(name, seed, "", one.spec, own and with_seed(own, seed))
        wrong = [*learner.check(task, data), *_without_primary(study, learner, task, data)] if thorough else []
        whose = BASE if name == BASE else f"variants.{name}"
        problems += [study.located(line, whose) for line in wrong if line not in reported]
        reported |= set(wrong) if name == BASE else set()  # a problem of the base concerns all variants
        if budget.flops is not None and own is not None and config is not None and not wrong:
            steps, more = _affordable(learner, task, data, budget.flops)
            problems += map(study.located, more)
            own = config_of(one, config, budget, steps)
        tasks.append(Task(name, seed, "", one.spec, own))
    return tasks, problems


def _affordable(learner: Learner, task: Task, data: DataSplits | None, flops: float) -> tuple[int, list[str]]:
    """Return the number of steps, at least 1, that a budget of FLOPs allows, and problems with the budget."""
    try:
        each = learner.training_flops(task, data)
    except Exception as error:  # a custom component may raise anything
        reason = f"{type(error).__name__}: {error}"
        return 1, [
            f"budget.flops: the FLOPs of a training step of {task.variant!r} are unknown ({reason}): give steps instead"
        ]
    if each > flops:
        return 1, [f"budget.flops: a training step of {task.variant!r} takes {each:.3g}: give more than {flops:.3g}"]
    return max(1, int(flops / max(each, 1.0))), []


def _without_primary(study: StudyDocument, learner: Learner, task: Task, data: DataSplits | None) -> list[str]:
    known, primary = learner.metrics(task, data), study.options.primary
    if known is None or primary in known:
        return []
    return [
        f"primary: {primary} is not available: choose from {', '.join(known)}, or add the head that predicts it and "
        "its labels"
    ]


FINGERPRINTS = "fingerprints.json"
"""The file in the folder of a study that caches hashes of data files."""


@dataclass(frozen=True, slots=True, eq=False)
class PlannedRun:
    """A run of one variant with one seed, and its folder."""

    task: Task
    folder: RunFolder

    @property
    def name(self) -> str:
        """The name of the run in messages."""
        return f"{self.task.variant}, seed {self.task.seed}"


@dataclass(frozen=True, slots=True, eq=False)
class StudyPlan:
    """All runs of a study.

    Attributes:
        variants: the base first; each control after its variant.
        runs: all variants with the first seed, then with the next one, so that early results can be compared. A
            sequential study may not need all of them.
        data: description of the data; empty if they were not opened.
        thorough: whether data, folder and learner were checked.
        files: sizes and hashes of all data files, which are part of the run keys.
    """

    variants: tuple[Variant, ...]
    runs: tuple[PlannedRun, ...]
    data: str = ""
    thorough: bool = True
    files: Mapping[str, Any] = field(default_factory=dict)


def make_plan(study: StudyDocument, learner: Learner, folder: Path, thorough: bool = True) -> StudyPlan:
    """Check a study and list all runs.

    Args:
        study: the study.
        learner: does the runs.
        folder: folder of the study.
        thorough: False skips the checks of data, folder and learner, which a report does not need.

    Raises:
        SpecError: one error with every problem.
    """
    found, problems = candidates(study)
    problems += _without_training(study, learner)
    data: DataSplits | None = None
    match = study.options.match
    unknown = match is not None and match.quantity != "parameters" and not (folder / MATCHED).exists()
    needed = thorough or unknown or study.options.budget.flops is not None
    of_data: list[str] = []
    if study.config is not None and learner.needs_data and needed:
        data, of_data = _opened(study.config)
    files = {} if of_data or problems else data_files(study, learner, folder)
    sizes = Sizes(study, learner, data, files, folder)
    controls, more = ([*found], []) if problems or of_data else with_controls(study, found, sizes)
    problems += map(study.located, more)
    if study.config is not None and not problems:
        problems += map(study.located, _unpaired(study.config, controls))
    problems += map(study.located, _too_few_seeds(study, len(controls) - 1))
    if thorough:
        problems += map(study.located, _unwritable(folder))
    problems += map(study.located, of_data)
    if problems:
        raise SpecError("\n".join(dict.fromkeys(problems)))
    sizes.save()
    tasks, problems = first_tasks(study, learner, controls, data, thorough)
    if problems:
        raise SpecError("\n".join(dict.fromkeys(problems)))
    runs = []
    for seed in study.options.all_seeds:
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
    """Return sizes and hashes of the data files of a study.

    Raises:
        SpecError: a file cannot be read.
    """
    if study.config is None or not learner.needs_data:
        return {}
    return Fingerprints(folder / FINGERPRINTS).of(study.config.data, study.folder)


def _without_training(study: StudyDocument, learner: Learner) -> list[str]:
    if not learner.needs_data or study.config is not None:
        return []
    return ["data and training: are missing: name the data files and the loss"]


def _unpaired(config: TrainingConfig, variants: Sequence[Candidate]) -> list[str]:
    """Return a problem if batches are limited by edges and variants have different graphs, hence different batches."""
    if config.data.batch.edges is None:
        return []

    def edges(one: Candidate) -> object:
        return one.spec.graphs["main"].model_dump(), one.spec.neighbors.periodic

    differing = [one.variant.name for one in variants if edges(one) != edges(variants[0])]
    if not differing:
        return []
    return [
        f"data.batch.edges: {', '.join(map(repr, differing))} would get other batches than the base, because their "
        "edges differ: limit batches by structures or atoms"
    ]


def _too_few_seeds(study: StudyDocument, comparisons: int) -> list[str]:
    """Return a problem if a sequential study could never decide on its variants."""
    options = study.options.sequential
    needed = 0 if options is None else pairs_needed(comparisons, options.alpha)
    if options is None or options.at_most >= needed:
        return []
    return [
        f"seeds.at_most: {options.at_most} seeds cannot show any difference among {comparisons} variants at the level "
        f"{options.alpha:g}: give at least {needed}"
    ]


def _opened(config: TrainingConfig) -> tuple[DataSplits | None, list[str]]:
    try:
        data = open_parts(config)
    except (SpecError, StructureError, ImportError) as error:
        return None, [line if line.startswith("data.") else f"data: {line}" for line in str(error).splitlines()]
    if data.test is None and data.validation is None:
        return data, ["data: has neither a test set nor a validation set: set data.test or data.split"]
    return data, []


def _unwritable(folder: Path) -> list[str]:
    try:
        check_folder(folder, "output")
    except SpecError as error:
        return [str(error)]
    return []
