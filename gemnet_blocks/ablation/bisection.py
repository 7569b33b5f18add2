"""Bisection: the smallest set of changes that explains why one architecture has another error than the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from gemnet_blocks.ablation.options import BASE, LEVEL, MINIMUM_PAIRS
from gemnet_blocks.ablation.report.statistics import sign_flip_test
from gemnet_blocks.ablation.results import StudyResults
from gemnet_blocks.ablation.runs.executors import Executor
from gemnet_blocks.ablation.study import ExecutorName, Study
from gemnet_blocks.ablation.variants import candidates
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.difference import MISSING, Differing, differing, value_at
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.util.files import write_json

Outcome = Literal["explains", "does not explain", "undecided", "invalid", "failed"]
"""The outcome of a trial. undecided: the seeds do not suffice. invalid: the changes do not make a valid spec without
the others. failed: runs failed."""

RESULT = "bisection.json"
"""The file of the result in the folder of the study."""

OTHER = "all changes"
"""The name of the variant with all changes."""


@dataclass(frozen=True, slots=True)
class SpecChange:
    """A change that can be applied on its own: a field, or a whole section whose type changes.

    Attributes:
        path: dotted path of the field.
        value: its new value; None removes an interaction or edge set.
    """

    path: str
    value: Any


@dataclass(frozen=True, slots=True)
class Trial:
    """The base with some of the changes.

    Attributes:
        changes: paths of the changes.
        outcome: whether they explain the difference.
        share: mean error of the trial minus that of the base, divided by the difference to explain; None if unknown.
        p_value: p-value of the decision; None without enough pairs.
    """

    changes: tuple[str, ...]
    outcome: Outcome
    share: float | None = None
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class Bisection:
    """The result of a bisection.

    Attributes:
        metric: the error that is explained.
        difference: mean error of the other architecture minus that of the base, paired by seed.
        p_value: p-value of this difference.
        changes: all changes by path.
        smallest: paths of the smallest set of changes found that explains the difference: without any one of them, the
            others do not explain it. None if the difference is not significant.
        trials: all trials in order.
    """

    metric: str
    difference: float
    p_value: float
    changes: Mapping[str, Any]
    smallest: tuple[str, ...] | None
    trials: tuple[Trial, ...]

    def to_dict(self) -> dict[str, Any]:
        """Convert the result to plain data."""
        return json.loads(json.dumps(asdict(self)))


def bisect(
    study: Study,
    other: Spec,
    *,
    share: float = 0.5,
    executor: ExecutorName | Executor = "local",
    processes: int | None = None,
    progress: bool | None = None,
    cluster: Mapping[str, Any] | None = None,
    tell: Callable[[Trial], None] | None = None,
) -> Bisection:
    """Find the smallest set of changes that explains the difference in error between a base and another spec.

    Delta debugging (Zeller and Hildebrandt, IEEE Trans. Softw. Eng. 28, 183 (2002)): halves of the changes are applied
    to the base and trained with all seeds, then quarters, and so on, until no change can be left out. A set explains
    the difference if it makes up more than a given share of it: the sign-flip test of the values

        e_set - e_base - share·(e_other - e_base),

    paired by seed, decides with an error rate of 5 %. A set that is undecided counts as one that does not explain, so
    that the result may contain changes that are not needed, but misses none with this error rate.

    Runs are kept in the folder of the study: a bisection that was interrupted is repeated without training them again.

    Args:
        study: the base, with data, training, budget and seeds, at least 6; its variants are not trained.
        other: the other spec.
        share: the share of the difference that has to be explained, typically 0.5; more for the last few percent.
        executor: where runs are executed; see `Study.run`.
        processes: number of runs at once.
        progress: False to show nothing; see `Study.run`.
        cluster: parameters for Slurm.
        tell: is called after every trial.

    Raises:
        SpecError: the specs are equal, the study is wrong or sequential, there are fewer than 6 seeds, or runs of one
            of the two specs failed.
    """
    if not 0 < share < 1:
        raise ValueError(f"share: expected a number between 0 and 1, got {share}")
    changes = changes_between(study.base, other)
    if not changes:
        raise SpecError("the two specs are equal: expected two that differ")
    if study.document.options.sequential is not None:
        raise SpecError(
            "seeds: a bisection needs a fixed number of seeds, got a sequential study: give a number such as 8"
        )
    if len(study.seeds) < MINIMUM_PAIRS:
        raise SpecError(f"seeds: a bisection needs at least {MINIMUM_PAIRS} seeds, got {len(study.seeds)}")

    def run(patches: Mapping[str, Mapping[str, Any]]) -> StudyResults:
        return study.with_variants(patches).run(executor, processes, progress, cluster)

    found = run({OTHER: patch_of(changes)})
    judge = _Judge(found, share)
    trials: dict[frozenset[str], Trial] = {}

    def try_all(sets: Sequence[Sequence[SpecChange]]) -> list[Outcome]:
        new = {name_of(one): one for one in sets if key_of(one) not in trials}
        valid = _valid(study, {name: patch_of(one) for name, one in new.items()})
        results = run(valid) if valid else None
        for name, one in new.items():
            paths = tuple(change.path for change in one)
            trial = (
                Trial(paths, "invalid") if results is None or name not in valid else judge.trial(paths, name, results)
            )
            trials[key_of(one)] = trial
            if tell is not None:
                tell(trial)
        return [trials[key_of(one)].outcome for one in sets]

    smallest = delta_debugging(changes, try_all) if judge.p_value <= LEVEL else None
    result = Bisection(
        metric=found.primary_metric,
        difference=judge.difference,
        p_value=judge.p_value,
        changes={one.path: one.value for one in changes},
        smallest=None if smallest is None else tuple(one.path for one in smallest),
        trials=tuple(trials.values()),
    )
    write_json(study.folder / RESULT, result.to_dict())
    return result


def delta_debugging(
    changes: Sequence[SpecChange], try_all: Callable[[Sequence[Sequence[SpecChange]]], Sequence[Outcome]]
) -> list[SpecChange]:
    """Reduce changes that explain a difference to a smallest set, from which no change can be left out.

    Args:
        changes: changes that together explain the difference.
        try_all: tries several sets of changes, which do not depend on each other.
    """
    current, parts = list(changes), 2
    while len(current) > 1:
        subsets = [list(part) for part in np.array_split(np.array(current, dtype=object), parts)]
        rest = [[one for one in current if one not in subset] for subset in subsets]
        # complements of halves are the halves themselves
        for sets, next_parts in ((subsets, 2), (rest if parts > 2 else [], max(parts - 1, 2))):
            outcomes = try_all(sets)
            if "explains" in outcomes:
                current, parts = sets[outcomes.index("explains")], next_parts
                break
        else:
            if parts >= len(current):
                return current
            parts = min(2 * parts, len(current))
    return current


def changes_between(base: Spec, other: Spec) -> list[SpecChange]:
    """List the changes that turn one spec into another, each of which can be applied on its own.

    Raises:
        SpecError: the changes cannot be expressed as changes of the base.
    """
    before, after = base.to_dict(), other.to_dict()
    found = list(differing(before, after))
    sections = [one.path.removesuffix(".type") for one in found if one.path.endswith(".type")]
    paths = dict.fromkeys(_within(sections, one) for one in found)
    values = {path: value_at(after, path) for path in paths}
    changes = [SpecChange(path, None if value is MISSING else value) for path, value in values.items()]
    if changes and base.patch(patch_of(changes)).content_hash != other.content_hash:
        raise SpecError("the difference between the two specs cannot be divided into changes of single fields")
    return changes


def _within(sections: Sequence[str], difference: Differing) -> str:
    """Return the outermost section whose type changes and that contains a difference, or the path of the difference."""
    around = [one for one in sections if difference.path.startswith(f"{one}.")]
    return min(around, key=len, default=difference.path)


def patch_of(changes: Sequence[SpecChange]) -> dict[str, Any]:
    """Return changes as a patch with dotted paths."""
    return {one.path: one.value for one in changes}


def name_of(changes: Sequence[SpecChange]) -> str:
    """Return the name of the variant with some changes."""
    return " + ".join(one.path for one in changes)


def key_of(changes: Sequence[SpecChange]) -> frozenset[str]:
    """Return a value that is equal for equal sets of changes."""
    return frozenset(one.path for one in changes)


def _valid(study: Study, patches: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the patches that make specs whose models can be built."""

    def fit(some: Mapping[str, Mapping[str, Any]]) -> bool:
        return not some or not candidates(study.document.with_variants(some))[1]

    return dict(patches) if fit(patches) else {name: one for name, one in patches.items() if fit({name: one})}


class _Judge:
    """Decides whether trials explain the difference between a base and another spec."""

    def __init__(self, results: StudyResults, share: float) -> None:
        self.share = share
        self.base, self.other = results.values(BASE), results.values(OTHER)
        pairs = sorted(self.base.keys() & self.other.keys())
        if len(pairs) < MINIMUM_PAIRS:
            failed = "; ".join(dict.fromkeys(str(one.error) for one in results.failed()))
            raise SpecError(f"only {len(pairs)} of {len(results.seeds)} pairs of runs are complete: {failed}")
        differences = [self.other[seed] - self.base[seed] for seed in pairs]
        self.difference, self.p_value = float(np.mean(differences)), sign_flip_test(differences)

    def trial(self, paths: tuple[str, ...], name: str, results: StudyResults) -> Trial:
        """Judge a variant by its paired errors."""
        errors = results.values(name)
        pairs = sorted(errors.keys() & self.base.keys() & self.other.keys())
        if len(pairs) < MINIMUM_PAIRS:
            return Trial(paths, "failed")
        base, other, trial = (np.array([values[seed] for seed in pairs]) for values in (self.base, self.other, errors))
        excess = np.sign(self.difference) * (trial - base - self.share * (other - base))
        p_value = sign_flip_test(excess)
        decided: Outcome = "explains" if excess.mean() > 0 else "does not explain"
        share = float((trial - base).mean() / (other - base).mean())
        return Trial(paths, decided if p_value <= LEVEL else "undecided", share, p_value)
