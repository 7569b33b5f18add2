"""The samplers and pruners of a search, which are optuna's."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

from gemnet_blocks.ablation.options import PruningOptions, StudyOptions
from gemnet_blocks.ablation.search_results import SearchTrial
from gemnet_blocks.ablation.search_space import Parameter, Suggested, combinations

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial


def require_optuna() -> None:
    """Check that optuna is installed.

    Raises:
        ImportError: it is not; the message says how to install it.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "searches need optuna, which is not installed: pip install 'gemnet_blocks[search]'"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the messages of optuna."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", module=r"optuna\..*")
            yield
    finally:
        optuna.logging.set_verbosity(before)


@final
class Judge:
    """Decides at each validation whether a trial is stopped, from the trials that were told when it was asked for.

    Args:
        known: these trials.
        pruner: the rule.
    """

    def __init__(self, known: Sequence[FrozenTrial], pruner: BasePruner) -> None:
        import optuna

        study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(0))
        study.add_trials(known)
        self._study, self._trial = study, study.ask()
        self._seen = 0
        self._stop: int | None = None

    def stops_at(self, validations: Sequence[float]) -> int | None:
        """Return the number of validations after which the trial is stopped; None if it is not.

        Args:
            validations: all errors so far; the first ones are those of earlier calls.
        """
        for value in validations[self._seen :]:
            if self._stop is not None:
                break
            self._seen += 1
            self._trial.report(value, self._seen)
            if self._trial.should_prune():
                self._stop = self._seen
        return self._stop

    @property
    def memory(self) -> dict[str, Any]:
        """Return what the pruner has to know of the trial in later decisions."""
        return self._study.trials[-1].system_attrs


@final
class Sampler:
    """Chooses the values of trials. Equal results, told in the same order, lead to equal values.

    Args:
        space: the fields with their values.
        options: trials, sampler, pruning and objectives.
        first: the values of the first trial; None: those that the sampler chooses.

    Attributes:
        planned: the number of trials.
    """

    def __init__(
        self, space: Mapping[str, Parameter], options: StudyOptions, first: Mapping[str, Suggested] | None
    ) -> None:
        import optuna

        self._options = options
        directions = [optuna.study.StudyDirection.MINIMIZE] * len(options.objectives)
        self._study = optuna.create_study(directions=directions, sampler=_sampler(options))
        self._distributions = {path: one.distribution() for path, one in space.items()}
        self._open: dict[int, optuna.Trial] = {}
        self._judges: dict[int, Judge] = {}
        self._known: list[FrozenTrial] = []
        given = [] if first is None else [dict(first)]
        if options.sampler.type == "grid":
            given = list(itertools.islice(combinations(space), options.trials))
        for one in given:
            self._study.enqueue_trial(one)
        self.planned = len(given) if options.sampler.type == "grid" else options.trials or 0

    def ask(self) -> tuple[int, dict[str, Suggested]]:
        """Return number and values of the next trial."""
        trial = self._study.ask(self._distributions)
        self._open[trial.number] = trial
        if (pruning := self._options.pruning) is not None:
            self._judges[trial.number] = Judge(self._known, _pruner(pruning))
        return trial.number, dict(trial.params)

    def judge(self, number: int) -> Judge | None:
        """Return the judge of a trial; None if trials are not pruned."""
        return self._judges.get(number)

    def tell(self, trial: SearchTrial) -> None:
        """Take note of the result of a trial."""
        from optuna.trial import TrialState, create_trial

        states = {
            "done": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
            "invalid": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }
        own, judge = self._open.pop(trial.number), self._judges.pop(trial.number, None)
        for step, value in enumerate(trial.validations, start=1):
            own.report(value, step)
        told = self._study.tell(own, list(trial.values) or None, states[trial.outcome])
        if judge is None:
            return
        judge.stops_at(trial.validations)
        self._known.append(
            create_trial(
                state=told.state,
                values=told.values,
                params=told.params,
                distributions=told.distributions,
                intermediate_values=told.intermediate_values,
                system_attrs=judge.memory,
            )
        )

    def importances(self) -> dict[str, float]:
        """Estimate the part of each field in the variation of the first objective; empty with too few trials."""
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        try:
            evaluator = PedAnovaImportanceEvaluator()
            found = get_param_importances(self._study, evaluator=evaluator, target=lambda one: one.values[0])
        except (ValueError, RuntimeError):  # fewer than two trials, or fields without variation
            return {}
        return {name: float(value) for name, value in found.items()}


def _sampler(options: StudyOptions) -> BaseSampler:
    from optuna import samplers

    seed = options.sampler.seed
    match options.sampler.type:
        case "tpe":
            return samplers.TPESampler(seed=seed)
        case "qmc":
            return samplers.QMCSampler(
                seed=seed, scramble=True, warn_independent_sampling=False, warn_asynchronous_seeding=False
            )
        case _:  # the values of a grid are given
            return samplers.RandomSampler(seed=seed)


def _pruner(options: PruningOptions) -> BasePruner:
    from optuna import pruners

    if options.type == "median":
        return pruners.MedianPruner(n_startup_trials=options.startup, n_warmup_steps=options.warmup)
    return pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=options.reduction)
