"""The trials of a search: their architecture and training, and their errors."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from gemnet_blocks.ablation.learner import Learner
from gemnet_blocks.ablation.options import COSTS
from gemnet_blocks.ablation.results import RunResult
from gemnet_blocks.ablation.runs.plan import PlannedRun, make_plan
from gemnet_blocks.ablation.runs.run_folder import RunFolder
from gemnet_blocks.ablation.search_space import Parameter, Suggested, changes, nested, parameters
from gemnet_blocks.ablation.study_file import GIVEN_BY_STUDY, TRAINED, StudyDocument
from gemnet_blocks.ablation.training_learner import NAMES, TrainingLearner
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import resolve
from gemnet_blocks.spec.catalog import did_you_mean
from gemnet_blocks.spec.difference import value_at
from gemnet_blocks.spec.document import Document, Problem
from gemnet_blocks.training import config_file as reading
from gemnet_blocks.training.logs import FILE
from gemnet_blocks.training.losses import LOG_NAMES
from gemnet_blocks.training.losses import METRICS as VALIDATED
from gemnet_blocks.training.options import TrainingConfig

_OF_TRAINING = ("training", "data", "execution")
"""The sections of a study, besides the base, whose fields can be searched."""


def space_of(study: StudyDocument) -> dict[str, Parameter]:
    """Read and check the search space of a study.

    Raises:
        SpecError: an entry is wrong, or none of the values of a field makes a valid study.
    """
    space, problems = parameters(study.options.search or {}, _values(study))
    for path, one in space.items():
        errors = []
        for suggested in one.examples():
            try:
                with_changes(study, changes(space, {path: suggested}))
                break
            except SpecError as error:
                errors.append(str(error).splitlines()[0])
        else:  # another field may be needed for some of the values, but not for all
            problems.append(f"search.{path}: {errors[-1].removeprefix('patch: ').removeprefix(f'{path}: ')}")
    if not problems and not space:
        problems.append("search: must have at least one field, such as {sizes.edge: {log: [32, 256]}}")
    if problems:
        document = Document({}, study.places)
        raise SpecError("\n".join(document.located(_problem(line)) for line in problems))
    return space


def first_values(study: StudyDocument, space: Mapping[str, Parameter]) -> dict[str, Suggested] | None:
    """Return the values of the base; None if some of them are not in the space."""
    base = _values(study)
    found = {path: one.suggested(value_at(base, path)) for path, one in space.items()}
    known = {path: value for path, value in found.items() if value is not None}
    return known if len(known) == len(space) else None


def with_changes(study: StudyDocument, changed: Mapping[str, Any]) -> StudyDocument:
    """Return a study of a changed base alone.

    Args:
        study: the study of the search.
        changed: values by path, outer sections first.

    Raises:
        SpecError: the changes do not make a valid spec and training config.
    """
    of_training = {path: value for path, value in changed.items() if path.partition(".")[0] in _OF_TRAINING}
    of_spec = {path: value for path, value in changed.items() if path not in of_training}
    base, config = study.base, study.config
    if of_spec:
        base = base.patch(nested(of_spec))
        resolve.check_known(base, base.catalog)
    if of_training:
        if config is None:
            raise SpecError(f"{next(iter(of_training))}: the study has no sections data and training")
        config = _trained(config, {_place_in_config(path): value for path, value in of_training.items()})
    if config is not None:
        config = config.model_copy(update={"model": base})
    return replace(study, base=base, config=config, patches={}, levels={})


def runs_of(
    study: StudyDocument, learner: Learner, folder: Path, name: str, changed: Mapping[str, Any]
) -> tuple[PlannedRun, ...]:
    """Plan the runs of a trial, one for each seed.

    Args:
        study: the study of the search.
        learner: does the runs.
        folder: folder of the study.
        name: name of the trial.
        changed: values by path, outer sections first.

    Raises:
        SpecError: the trial cannot be built or trained.
    """
    plan = make_plan(with_changes(study, changed), learner, folder, thorough=False)
    if problems := learner.check(plan.runs[0].task, None):
        raise SpecError("\n".join(problems))
    return tuple(
        PlannedRun(replace(one.task, variant=name), RunFolder.of(folder, name, one.task.seed, one.task.key))
        for one in plan.runs
    )


def unmeasured(study: StudyDocument, learner: Learner) -> list[str]:
    """Return problems with objectives that validations do not measure."""
    config = study.config
    if config is None or not isinstance(learner, TrainingLearner):
        return []
    measured = [*VALIDATED, *(f"{name}_mae" for name in config.model.heads.properties)]
    known = [NAMES.get(name, name) for name in measured]
    return [
        f"metric: validations do not measure {name}: choose from {', '.join((*known, *COSTS))}"
        for name in study.options.objectives
        if name not in (*known, *COSTS)
    ]


def objective(name: str, results: Sequence[RunResult]) -> float:
    """Return the mean of an objective over the runs of a trial.

    Errors are those of the validation with the lowest loss, or those of the run if it has no learning curve.

    Raises:
        SpecError: a run did not measure it.
    """
    return fmean(_measured(name, one) for one in results)


def _measured(name: str, run: RunResult) -> float:
    points = [one for one in run.curve if name in one]
    if name in COSTS:
        value = run.cost.get(name)
    elif points:
        value = min(points, key=lambda one: one.get("loss", one[name]))[name]
    elif run.environment.get("evaluated_on") == "test":
        raise SpecError("data: a search needs a validation set: set data.validation or data.split")
    else:
        value = run.metrics.get(name)
    if value is None:
        raise SpecError(f"metric: {name} was not measured; known: {', '.join((*run.metrics, *run.cost))}")
    return float(value)


def validations(name: str, runs: Sequence[PlannedRun], results: Sequence[RunResult | None]) -> tuple[float, ...]:
    """Return the mean of an error over the runs of a trial at each validation that all of them have reached.

    Args:
        name: the error.
        runs: the runs.
        results: their final results; None for runs that have not ended.
    """
    reached = [_logged(name, run.folder.path) for run in runs]
    if not any(reached):  # learners without a log
        reached = [[one[name] for one in result.curve if name in one] if result else [] for result in results]
    return tuple(map(fmean, zip(*reached, strict=False)))


def _logged(name: str, folder: Path) -> list[float]:
    """Read an error at every validation from the log of a run, in the units of results."""
    own = next((short for short, long in NAMES.items() if long == name), name)
    column = f"validation_{LOG_NAMES.get(own, own)}"
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines(keepends=True)
        rows = list(csv.DictReader(line for line in lines if line.endswith("\n")))
        return [float(row[column]) / (1000 if own in LOG_NAMES else 1) for row in rows if row.get(column)]
    except (OSError, ValueError):
        return []


def _values(study: StudyDocument) -> dict[str, Any]:
    """Return base, data and training as plain data in the layout of the paths of a search."""
    values = study.base.to_dict()
    if study.config is not None:
        config = study.config.to_dict()
        trained = {name: config[name] for name in TRAINED}
        short = {field: value for one in trained.values() if isinstance(one, Mapping) for field, value in one.items()}
        values |= {"data": config["data"], "training": {**short, **trained}}
        values["execution"] = config["training"]["execution"]
    return values


def _place_in_config(path: str) -> str:
    """Return the path in a training config of a field of a study.

    The section of training may be left out where it is clear: `training.learning_rate` is that of the optimizer.

    Raises:
        SpecError: the field is unknown, or the study sets it elsewhere.
    """
    section, _, rest = path.partition(".")
    if section != "training":
        return path if section == "data" else f"training.{path}"
    field = rest.partition(".")[0]
    if field not in TRAINED:
        owners = [one for one in TRAINED if field in reading.OPTIONS.fields((one,), {})]
        if len(owners) != 1:
            known = [name for one in TRAINED for name in reading.OPTIONS.fields((one,), {})]
            more = f": write {' or '.join(f'training.{one}.{rest}' for one in owners)}" if owners else ""
            raise SpecError(f"{path}: unknown field{more or did_you_mean(field, known)}")
        rest = f"{owners[0]}.{rest}"
    if rest.startswith("training.") and rest.split(".")[1] in GIVEN_BY_STUDY:
        raise SpecError(f"{path}: is set by {GIVEN_BY_STUDY[rest.split('.')[1]]}")
    return rest


def _trained(config: TrainingConfig, changed: Mapping[str, Any]) -> TrainingConfig:
    """Return a training config with other values."""
    # fields that the study does not set keep the defaults of studies
    before = Document(config.model_dump(mode="json", exclude_unset=True, exclude={"model"}))
    overlaid = reading.overlaid(before, resolve.as_document(nested(changed)))
    found, problems = reading.validated(overlaid, config.model)
    if problems or found is None:
        raise SpecError("\n".join(f"{'.'.join(one.route)}: {one.message}" for one in problems))
    return found.in_folder(config.folder)


def _problem(line: str) -> Problem:
    """Turn a line such as `search.sizes.edge: ...` into a problem at this entry."""
    route, _, message = line.partition(": ")
    return Problem(tuple(route.split(".", 1)), message)
