"""The results of a search as plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gemnet_blocks.util.files import write_json

if TYPE_CHECKING:
    from os import PathLike

FORMAT = 1
"""Version of the files that `SearchResults.save` writes."""

RESULT = "search.json"
"""The file of the results in the folder of a study."""

Outcome = Literal["done", "pruned", "invalid", "failed"]
"""The end of a trial. pruned: stopped early because of its validation error. invalid: its values do not make a model
that can be built and trained. failed: a run failed."""


@dataclass(frozen=True, slots=True)
class SearchTrial:
    """A trial: a combination of values.

    Attributes:
        number: its number, from 0.
        parameters: the value of each field by path: a number, or the name of a choice.
        outcome: how it ended.
        values: the objectives, means over the seeds; empty unless it is done.
        validations: the first objective at each validation until it ended, if trials may be pruned.
        reason: why it is invalid or failed.
        metrics: errors on the test set (without one, on the validation set), means over the seeds.
        cost: costs by the names of `RunResult.cost`, means over the seeds.
        keys: the keys of its runs.
    """

    number: int
    parameters: Mapping[str, bool | int | float | str]
    outcome: Outcome
    values: tuple[float, ...] = ()
    validations: tuple[float, ...] = ()
    reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResults:
    """All results of a search, and the source of its report.

    Attributes:
        title: title of the study.
        objectives: what is minimized.
        space: the values of each field in words, by path.
        log: the fields whose values are log-uniform.
        sampler: the choice of values in words.
        pruning: the early stopping of trials in words; empty without it.
        parallel: number of trials at the same time.
        planned: number of trials of the complete search.
        seeds: the seeds of every trial.
        budget: the training budget of a trial in words.
        data: description of the data.
        trials: the finished trials in order.
        importances: the part of each field in the variation of the first objective, as estimated from the trials.
        settings: the study as plain data.
    """

    title: str
    objectives: tuple[str, ...]
    space: Mapping[str, str]
    log: tuple[str, ...] = ()
    sampler: str = ""
    pruning: str = ""
    parallel: int = 1
    planned: int = 0
    seeds: tuple[int, ...] = ()
    budget: str = ""
    data: str = ""
    trials: tuple[SearchTrial, ...] = ()
    importances: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def of(self, outcome: Outcome) -> tuple[SearchTrial, ...]:
        """Return the trials with an outcome."""
        return tuple(one for one in self.trials if one.outcome == outcome)

    @property
    def complete(self) -> bool:
        """True if all trials are finished."""
        return len(self.trials) == self.planned

    @property
    def best(self) -> tuple[SearchTrial, ...]:
        """The best trial; for several objectives, the Pareto front in the order of the first one."""
        done = self.of("done")
        kept = [one for one in done if not any(_dominates(other, one) for other in done)]
        kept.sort(key=lambda one: (one.values, one.number))
        return tuple(kept[:1] if len(self.objectives) == 1 else kept)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a JSON file."""
        write_json(Path(path), {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> SearchResults:
        """Read a JSON file that `save` wrote.

        Raises:
            ValueError: the file does not contain results of a search.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT:
                raise ValueError(f"expected format {FORMAT}")
            lists = {name: tuple(content.pop(name)) for name in ("objectives", "log", "seeds")}
            return cls(**content | lists | {"trials": tuple(map(_trial, content["trials"]))})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: expected results of a search: {error}") from error


def _trial(content: Mapping[str, Any]) -> SearchTrial:
    return SearchTrial(**{**content, **{name: tuple(content[name]) for name in ("values", "validations", "keys")}})


def _dominates(one: SearchTrial, other: SearchTrial) -> bool:
    """Tell whether a trial is at least as good in all objectives and better in one."""
    pairs = list(zip(one.values, other.values, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
