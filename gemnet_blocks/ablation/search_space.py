"""The search space of a study: fields of the base and of its training with the values that they may take."""

from __future__ import annotations

import itertools
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gemnet_blocks.ablation.factors import SWITCH
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.difference import MISSING, value_at
from gemnet_blocks.spec.document import shown

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Suggested = bool | int | float | str
"""A value that a sampler suggests: a number of a range, or the name of a choice."""

_KINDS = ("choice", "log", "range")
_FORMS = "{choice: [a, b]}, {log: [low, high]} or {range: [low, high]}"


@dataclass(frozen=True, slots=True)
class Parameter(ABC):
    """A field whose value is searched.

    Attributes:
        path: dotted path of the field in the study: of the base, or in its sections data, training and execution.
    """

    path: str

    @abstractmethod
    def distribution(self) -> BaseDistribution:
        """Return the distribution that samplers of optuna draw from."""

    @abstractmethod
    def values(self) -> Sequence[Suggested] | None:
        """List all values; None if they are infinitely many, or too many to list."""

    @abstractmethod
    def suggested(self, value: Any) -> Suggested | None:
        """Return what a sampler would suggest for a value of the field; None if it is not in the space."""

    @abstractmethod
    def examples(self) -> Sequence[Suggested]:
        """List values that show problems with the field."""

    @abstractmethod
    def value(self, suggested: Suggested) -> Any:
        """Return the value of the field for a suggestion; `MISSING` leaves the field as in the base."""

    @abstractmethod
    def in_words(self) -> str:
        """Describe the values."""


@dataclass(frozen=True, slots=True)
class Choice(Parameter):
    """One of several values.

    Attributes:
        choices: the values by name.
    """

    choices: Mapping[str, Any]

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(tuple(self.choices))

    def values(self) -> Sequence[Suggested]:
        return tuple(self.choices)

    examples = values

    def suggested(self, value: Any) -> str | None:
        same = (name for name, one in self.choices.items() if one is MISSING or (one == value and value is not MISSING))
        return next(same, None)

    def value(self, suggested: Suggested) -> Any:
        return self.choices[str(suggested)]

    def in_words(self) -> str:
        return f"one of {', '.join(self.choices)}"


@dataclass(frozen=True, slots=True)
class Range(Parameter):
    """A number between two bounds, which are included.

    Attributes:
        low: the lower bound.
        high: the upper bound; if both are integers, so are all values.
        log: whether the logarithm is distributed evenly instead of the number.
        step: distance between values; None for all integers or real numbers.
    """

    MOST_LISTED: ClassVar[int] = 10_000

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        """Whether all values are integers."""
        return all(isinstance(one, int) for one in (self.low, self.high, self.step or 1))

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=self.step)

    def values(self) -> Sequence[Suggested] | None:
        step = self.step or (1 if self.whole and not self.log else None)
        if step is None or (count := 1 + round((self.high - self.low) / step)) > self.MOST_LISTED:
            return None
        return tuple(self.low + index * step for index in range(count))

    def suggested(self, value: Any) -> Suggested | None:
        number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        if not number or not self.low <= value <= self.high:
            return None
        steps = (value - self.low) / (self.step or 1)
        return value if self.step is None or math.isclose(steps, round(steps)) else None

    def examples(self) -> Sequence[Suggested]:
        return self.low, self.high

    def value(self, suggested: Suggested) -> Suggested:
        return suggested

    def in_words(self) -> str:
        kind = "integers" if self.whole else "numbers"
        more = ", log-uniform" if self.log else f", in steps of {self.step:g}" if self.step else ""
        return f"{kind} from {self.low:g} to {self.high:g}{more}"


def parameters(search: Mapping[str, Any], base: Mapping[str, Any]) -> tuple[dict[str, Parameter], list[str]]:
    """Read a search space.

    Args:
        search: the values of each field as in a study file, by dotted path.
        base: the base and its training as plain data, by path.

    Returns:
        The parameters by path, and problems with the entries.
    """
    found: dict[str, Parameter] = {}
    problems = []
    for path, given in flattened(search).items():
        try:
            found[path] = _parameter(path, given, value_at(base, path))
        except SpecError as error:
            problems.append(f"search.{path}: {error}")
    return found, problems


def flattened(search: Mapping[str, Any], route: str = "") -> dict[str, Any]:
    """Return the entries of a search space by dotted path; nested mappings are allowed."""
    found: dict[str, Any] = {}
    for key, value in search.items():
        path = f"{route}.{key}" if route else str(key)
        inner = isinstance(value, Mapping) and value and not any(kind in value for kind in (*_KINDS, "step"))
        found |= flattened(value, path) if inner else {path: value}
    return found


def combinations(space: Mapping[str, Parameter]) -> Iterator[dict[str, Suggested]]:
    """Yield all combinations of the values of parameters.

    Raises:
        SpecError: a parameter has infinitely many values.
    """
    listed = {path: one.values() for path, one in space.items()}
    if endless := [path for path, values in listed.items() if values is None]:
        raise SpecError(
            f"search.{endless[0]}: a grid needs choices or a step, such as {{range: [0.1, 0.5], step: 0.1}}"
        )
    for values in itertools.product(*(one or () for one in listed.values())):
        yield dict(zip(listed, values, strict=True))


def changes(space: Mapping[str, Parameter], suggested: Mapping[str, Suggested]) -> dict[str, Any]:
    """Return the changes of a trial by path, outer sections first.

    Fields of a part that the trial removes have no effect.
    """
    values = {path: space[path].value(one) for path, one in suggested.items()}
    removed = [path for path, value in values.items() if value is None]
    return {
        path: value
        for path, value in sorted(values.items(), key=lambda one: one[0].count("."))
        if value is not MISSING and not any(path.startswith(f"{one}.") for one in removed)
    }


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn values by dotted path, outer sections first, into nested mappings."""
    found: dict[str, Any] = {}
    for path, value in flat.items():
        *sections, field = path.split(".")
        inner = found
        for key in sections:
            here = inner.get(key)
            inner[key] = dict(here) if isinstance(here, Mapping) else {}
            inner = inner[key]
        inner[field] = value
    return found


def _parameter(path: str, given: Any, before: Any) -> Parameter:
    if isinstance(given, list | tuple):
        given = {"choice": given}
    kinds = [kind for kind in _KINDS if isinstance(given, Mapping) and kind in given]
    if len(kinds) != 1:
        raise SpecError(f"must be {_FORMS}, got {shown(given)}")
    (kind,) = kinds
    if unknown := [key for key in given if key != kind and (key != "step" or kind != "range")]:
        raise SpecError(f"must be {_FORMS}, and only a range has a step; got {unknown[0]!r} beside {kind!r}")
    if kind == "choice":
        return Choice(path, _choices(given["choice"], before))
    return _range(path, given[kind], kind == "log", given.get("step"))


def _choices(given: Any, before: Any) -> dict[str, Any]:
    if not isinstance(given, list | tuple) or not given:
        raise SpecError(f"choice must be a list of values, got {shown(given)}")
    named = {_name(one): one for one in given}
    if len(named) < len(given):
        raise SpecError(f"choices must be different, got {shown(list(given))}")
    if isinstance(before, bool) or not named.keys() & set(SWITCH):
        return named
    if before in (MISSING, None):  # YAML reads on and off as booleans
        raise SpecError("on and off are for parts of the base, which has none here: give the part as a mapping")
    return {name: {SWITCH[0]: MISSING, SWITCH[1]: None}.get(name, value) for name, value in named.items()}


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return SWITCH[0] if value else SWITCH[1]
    if value is None:
        return "null"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _range(path: str, given: Any, log: bool, step: Any) -> Range:
    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

    name = "log" if log else "range"
    if not isinstance(given, list | tuple) or len(given) != 2 or not all(map(is_number, given)):
        raise SpecError(f"{name} must have a lower and an upper number, such as [1.0e-4, 1.0e-2], got {shown(given)}")
    low, high = given
    if not low < high:
        raise SpecError(f"the lower bound must be below the upper one, got {shown(list(given))}")
    if log and low <= 0:
        raise SpecError(f"log needs positive bounds, got {shown(list(given))}")
    if step is None:
        return Range(path, low, high, log)
    if not is_number(step) or not 0 < step <= high - low:
        raise SpecError(f"step must be a positive number of at most {high - low:g}, got {shown(step)}")
    top = low + math.floor((high - low) / step + 1e-9) * step
    return Range(path, low, top if all(isinstance(one, int) for one in (low, step)) else min(top, high), False, step)
