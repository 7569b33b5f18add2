"""Searches: values of fields of a base and of its training that lower the validation error."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, final

from gemnet_blocks.ablation.learner import Learner
from gemnet_blocks.ablation.runs.executors import Executor
from gemnet_blocks.ablation.runs.plan import PlannedRun
from gemnet_blocks.ablation.runs.scheduler import Driver, Progress
from gemnet_blocks.ablation.search_results import RESULT, SearchResults, SearchTrial
from gemnet_blocks.ablation.search_sampler import Sampler, quiet, require_optuna
from gemnet_blocks.ablation.search_space import Parameter, Range, Suggested, changes
from gemnet_blocks.ablation.search_trials import (
    first_values,
    objective,
    runs_of,
    space_of,
    unmeasured,
    validations,
)
from gemnet_blocks.ablation.study import ExecutorName, Study
from gemnet_blocks.ablation.study_file import StudyDocument
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.document import dump
from gemnet_blocks.spec.versions import VERSION
from gemnet_blocks.util.files import replacing
from gemnet_blocks.util.locks import only_writer_to_folder

BEST = "best"
"""The folder of specs and training configs of the best trials in the folder of a study."""


def search(
    study: Study,
    *,
    executor: ExecutorName | Executor = "local",
    processes: int | None = None,
    progress: bool | None = None,
    cluster: Mapping[str, Any] | None = None,
    tell: Callable[[SearchTrial], None] | None = None,
) -> SearchResults:
    """Search for values that lower an error of the validation set.

    The first trial is the base, if its values are in the space. The sampler receives the results of trials in order,
    and a trial is chosen when the results of all but the last `parallel` trials are known: results do not depend on
    the speed of machines. If interrupted, call it again: finished trials are not repeated, and the end is the same.

    Spec and training config of the best trial (of several objectives, those of the Pareto front) are written to `best`.

    Args:
        study: a study with a search.
        executor: where runs are executed; see `Study.run`.
        processes: number of runs at once.
        progress: False to show nothing; see `Study.run`.
        cluster: parameters for Slurm.
        tell: is called after every trial.

    Raises:
        SpecError: the study has no search, or is wrong; or another process writes to its folder.
        ImportError: optuna is not installed.
    """
    options = study.document.options
    if options.search is None:
        raise SpecError("search: is missing: name the fields to search, such as {sizes.edge: {log: [32, 256]}}")
    require_optuna()
    space = space_of(study.document)
    if problems := unmeasured(study.document, study.learner):
        raise SpecError("\n".join(map(study.document.located, problems)))
    plan = study.check()
    with quiet(), only_writer_to_folder(study.folder, "output"):
        sampler = Sampler(space, options, first_values(study.document, space))
        slots = options.parallel * len(options.all_seeds)
        chosen, work = study.workers(executor, processes, cluster, slots)
        before = results_of(study)
        results = replace(described(study, space, sampler.planned), data=plan.data)
        with Progress([], options.title, options.primary, progress) as shown:
            driver = Driver([], chosen, work, options.retries, shown)
            trials = _Trials(study, space, sampler, driver, results, before, tell)
            try:
                driver.complete(trials.follow)
            finally:
                trials.save()
        write_best(study, space, trials.results)
    return trials.results


def results_of(study: Study) -> SearchResults | None:
    """Read the results of a search so far; None if there are none."""
    try:
        return SearchResults.load(study.folder / RESULT)
    except ValueError:
        return None


def described(study: Study, space: Mapping[str, Parameter], planned: int) -> SearchResults:
    """Return the results of a search before its first trial."""
    options = study.document.options
    pruning, sampler = options.pruning, options.sampler
    rule = ""
    if pruning is not None and pruning.type == "median":
        rule = f"median, after {pruning.startup} trials and {pruning.warmup} validations"
    elif pruning is not None:
        rule = f"successive halving, the best 1/{pruning.reduction} go on"
    return SearchResults(
        title=options.title,
        objectives=options.objectives,
        space={path: one.in_words() for path, one in space.items()},
        log=tuple(path for path, one in space.items() if isinstance(one, Range) and one.log),
        sampler=f"{sampler.type}, seed {sampler.seed}",
        pruning=rule,
        parallel=options.parallel,
        planned=planned,
        seeds=options.all_seeds,
        budget=str(options.budget),
        settings=study.settings(),
    )


def write_best(study: Study, space: Mapping[str, Parameter], results: SearchResults) -> None:
    """Write `spec.yaml` and `train.yaml` of the best trial, or of each trial of the Pareto front in a folder."""
    for trial in results.best:
        folder = study.folder / BEST
        if len(results.objectives) > 1:
            folder = folder / f"trial-{trial.number}"
        run = runs_of(study.document, study.learner, study.folder, "best", changes(space, trial.parameters))[0]
        folder.mkdir(parents=True, exist_ok=True)
        named = f"# Trial {trial.number} of the search {results.title!r}\n"
        _write(folder / "spec.yaml", named + run.task.spec.to_yaml())
        if run.task.config is None or study.document.config is None:
            continue
        log = study.document.config.training.log
        training = run.task.config.training.model_copy(update={"log": log})
        config = run.task.config.model_copy(update={"training": training}).moved_to(folder).to_dict()
        _write(
            folder / "train.yaml", named + dump({"version": VERSION, **config, "model": "spec.yaml", "output": "run"})
        )


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@dataclass(slots=True)
class _Pending:
    """A trial that has been asked for and not told."""

    number: int
    parameters: Mapping[str, Suggested]
    runs: tuple[PlannedRun, ...] = ()
    result: SearchTrial | None = None


@final
class _Trials:
    """Asks for trials, follows their runs and tells their results, in an order that depends on the results alone."""

    def __init__(
        self,
        study: Study,
        space: Mapping[str, Parameter],
        sampler: Sampler,
        driver: Driver,
        results: SearchResults,
        before: SearchResults | None,
        tell: Callable[[SearchTrial], None] | None,
    ) -> None:
        self.results = results
        self._study, self._space, self._sampler, self._driver = study, space, sampler, driver
        self._document: StudyDocument = study.document
        self._learner: Learner = study.learner
        same = before is not None and (before.objectives, before.pruning) == (results.objectives, results.pruning)
        self._before = {one.number: one for one in before.trials} if before is not None and same else {}
        self._keeps = before is not None and before.settings == results.settings
        self._tell = tell
        self._pending: deque[_Pending] = deque()
        self._asked = 0

    def follow(self) -> None:
        """Take note of runs that ended or are worse than others, and start further trials."""
        for one in self._pending:
            if one.result is None:
                one.result = self._outcome(one)
        while self._ask() or self._tell_first():
            pass

    def save(self) -> None:
        """Write the results so far, and later ones from before an interruption, which may be needed again."""
        self.results = replace(self.results, importances=self._sampler.importances())
        known = len(self.results.trials)
        later = [one for number, one in self._before.items() if number >= known and self._keeps]
        replace(self.results, trials=(*self.results.trials, *later)).save(self._study.folder / RESULT)

    def _ask(self) -> bool:
        """Ask for the next trial if not too many are open; return whether there is one."""
        if self._asked >= self.results.planned or len(self._pending) >= self.results.parallel:
            return False
        number, parameters = self._sampler.ask()
        self._asked += 1
        one = _Pending(number, parameters)
        self._pending.append(one)
        try:
            changed = changes(self._space, parameters)
            one.runs = runs_of(self._document, self._learner, self._study.folder, f"trial {number}", changed)
        except SpecError as error:
            reason = "; ".join(line.removeprefix("base: ") for line in str(error).splitlines())
            one.result = SearchTrial(number, parameters, "invalid", reason=reason)
            return True
        one.result = self._known(one)
        if one.result is None:
            self._driver.add(one.runs)
        return True

    def _known(self, one: _Pending) -> SearchTrial | None:
        """Return the result of an equal trial: this one before an interruption, or an earlier one."""
        keys = tuple(run.task.key for run in one.runs)
        known = [*self.results.trials, *filter(None, [self._before.get(one.number)])]
        equal = next((trial for trial in known if trial.keys == keys and trial.outcome in ("done", "pruned")), None)
        return None if equal is None else replace(equal, number=one.number, parameters=one.parameters)

    def _outcome(self, one: _Pending) -> SearchTrial | None:
        """Return the result of a trial; None while its runs may go on."""
        name = self.results.objectives[0]
        states = [self._driver.state(run.name) for run in one.runs]
        ended = [state for state in states if state is not None]
        seen: tuple[float, ...] = ()
        keys = tuple(run.task.key for run in one.runs)
        result = SearchTrial(one.number, one.parameters, "failed", keys=keys)
        if (judge := self._sampler.judge(one.number)) is not None:
            seen = validations(name, one.runs, states)
            if (stop := judge.stops_at(seen)) is not None:
                for run in one.runs:
                    self._driver.leave(run.name)
                return replace(result, outcome="pruned", validations=seen[:stop])
        if len(ended) < len(one.runs):
            return None
        result = replace(result, validations=seen)
        if failed := [state.error or "" for state in ended if state.status != "done"]:
            return replace(result, reason=failed[0])
        try:
            values = tuple(objective(name, ended) for name in self.results.objectives)
        except SpecError as error:
            return replace(result, reason=str(error))
        metrics = _means([state.metrics for state in ended])
        return replace(result, outcome="done", values=values, metrics=metrics, cost=_means([s.cost for s in ended]))

    def _tell_first(self) -> bool:
        """Tell the result of the first open trial; return whether it has one."""
        if not self._pending or self._pending[0].result is None:
            return False
        result = self._pending.popleft().result
        assert result is not None
        self._sampler.tell(result)
        self.results = replace(self.results, trials=(*self.results.trials, result))
        self.save()
        if self._tell is not None:
            self._tell(result)
        return True


def _means(many: list[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each number that all runs have."""
    return {name: fmean(one[name] for one in many) for name in many[0] if all(name in one for one in many)}
