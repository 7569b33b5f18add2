"""Factorial studies: the variants are the combinations of the levels of several factors."""

from __future__ import annotations

import itertools
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import resolve
from gemnet_blocks.spec.catalog import did_you_mean
from gemnet_blocks.spec.difference import MISSING, value_at
from gemnet_blocks.spec.document import shown
from gemnet_blocks.spec.resolve import Spec

SWITCH = ("on", "off")
"""The levels of a factor that is a part of the base: as in the base, and removed."""


@dataclass(frozen=True, slots=True)
class Level:
    """A level of a factor.

    Attributes:
        name: name of the level.
        patch: its changes of the base as nested mappings; empty for the first level, which is that of the base.
    """

    name: str
    patch: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """A combination of levels.

    Attributes:
        levels: name of the level by factor.
        patch: the changes of the base.
    """

    levels: Mapping[str, str]
    patch: Mapping[str, Any]


def cells(factors: Mapping[str, Any], base: Spec, resolution: int | None = None) -> tuple[dict[str, Cell], list[str]]:
    """Return the combinations of the levels of all factors by name, the base first, and problems with the factors.

    A factor is one of

    - `quadruplet: [on, off]`: an interaction, or a dotted path, as in the base or removed;
    - `radial: [gaussian, spherical_bessel]`: the types of a basis, or the values at a dotted path, that of the base
      first;
    - `depth: {shallow: {}, deep: {blocks.count: 6}}`: changes of the base by the name of the level, of which the first
      is empty.

    Args:
        factors: the levels of each factor as in a study file.
        base: the base.
        resolution: resolution of a two-level fractional design; None: all combinations.
    """
    levels: dict[str, tuple[Level, ...]] = {}
    problems: list[str] = []
    for name, given in factors.items():
        try:
            levels[name] = _levels(name, given, base)
        except SpecError as error:
            problems.append(f"factors.{name}: {error}")
    if problems:
        return {}, problems
    try:
        chosen = design({name: len(own) for name, own in levels.items()}, resolution)
        return {_name(one): _cell(one) for one in (_combined(levels, places) for places in chosen)}, []
    except SpecError as error:
        return {}, [str(error)]


def design(counts: Mapping[str, int], resolution: int | None = None) -> list[tuple[int, ...]]:
    """Choose combinations of levels by their numbers, that of the base first.

    Args:
        counts: number of levels of each factor.
        resolution: None: all combinations. 3, 4 or 5: a regular two-level fraction with this resolution: 3 confounds
            effects of single factors with synergies of pairs, 4 confounds synergies of pairs with each other, and 5
            confounds neither.

    Raises:
        SpecError: a fraction of factors with more than two levels, or the package pyDOE3 is missing.
    """
    if resolution is None:
        return list(itertools.product(*map(range, counts.values())))
    if many := [name for name, count in counts.items() if count != 2]:
        raise SpecError(
            f"resolution: fractional designs need factors with two levels, but {many[0]} has {counts[many[0]]}: remove "
            "resolution, or levels"
        )
    if len(counts) < resolution:
        raise SpecError(
            f"resolution: a design of resolution {resolution} needs at least {resolution} factors, got {len(counts)}: "
            "remove resolution for all combinations"
        )
    try:
        from pyDOE3 import fracfact, fracfact_by_res
    except ImportError:
        raise SpecError(
            "resolution: fractional designs need the package pyDOE3: pip install 'gemnet_blocks[train]'; or remove "
            "resolution for all combinations"
        ) from None
    if len(counts) == resolution:  # the half fraction, which fracfact_by_res does not find
        letters = string.ascii_lowercase[: len(counts) - 1]
        signs = fracfact(" ".join([*letters, letters]))
    else:
        signs = fracfact_by_res(len(counts), resolution)
    # the products with the signs of one row form a design with the same resolution that contains the base
    rows = {tuple(int(sign < 0) for sign in row) for row in signs * signs[0]}
    return sorted(rows)


def _levels(name: str, given: Any, base: Spec) -> tuple[Level, ...]:
    if isinstance(given, Mapping):
        return _named_levels(given)
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) < 2:
        raise SpecError(
            f"must be a list of at least two levels, or a mapping from levels to changes, got {shown(given)}"
        )
    document = base.to_dict()
    words = [_word(one) for one in given]
    if twice := next((one for one in words if words.count(one) > 1), None):
        raise SpecError(f"levels must be different, got {twice} twice")
    if set(words) == set(SWITCH) and not isinstance(value_at(document, name), bool):
        return _switch(name, words, document)
    path = name if "." in name else f"bases.{name}.type"
    before = value_at(document, path)
    if before is MISSING:
        known = (
            *document["interactions"],
            *(key for key, value in document["bases"].items() if isinstance(value, dict)),
        )
        raise SpecError(
            f"expected an interaction with the levels [on, off], a basis with its types, or a dotted path of the "
            f"base{did_you_mean(name, known)}"
        )
    if given[0] != before:
        raise SpecError(
            f"the first level must be that of the base, which has {path} = {shown(before)}, got {shown(given[0])}"
        )
    return Level(words[0], {}), *(
        Level(word, _nested(path, value)) for word, value in zip(words[1:], given[1:], strict=True)
    )


def _named_levels(given: Mapping[str, Any]) -> tuple[Level, ...]:
    names = list(map(_word, given))
    if len(names) < 2:
        raise SpecError(f"needs at least two levels, got {len(names)}")
    if given[next(iter(given))]:
        raise SpecError(f"the first level, {names[0]}, must be the base: give it no changes ({{}})")
    found = [Level(names[0], {})]
    for name, patch in itertools.islice(given.items(), 1, None):
        if not isinstance(patch, Mapping) or not patch:
            raise SpecError(f"{name} must be a mapping of changes such as {{blocks.count: 6}}, got {shown(patch)}")
        document = resolve.as_document(patch)
        if document.problems:
            raise SpecError(f"{name}: {document.problems[0].message}")
        found.append(Level(_word(name), document.data))
    return tuple(found)


def _switch(name: str, words: Sequence[str], document: Mapping[str, Any]) -> tuple[Level, ...]:
    path = name if "." in name else f"interactions.{name}"
    if value_at(document, path) in (MISSING, None):
        known = [one for one, value in document["interactions"].items() if value is not None]
        raise SpecError(
            f"expected a part of the base that can be removed, but the base has no {path}{did_you_mean(name, known)}"
        )
    if words[0] != "on":
        raise SpecError("the first level must be that of the base: write [on, off]")
    return Level("on", {}), Level("off", _nested(path, None))


def _word(value: Any) -> str:
    """Return the name of a level; YAML reads on and off as booleans."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else "none" if value is None else str(value)


def _nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def _combined(levels: Mapping[str, Sequence[Level]], places: Sequence[int]) -> dict[str, tuple[Level, bool]]:
    """Return the level of each factor, and whether it is that of the base."""
    return {name: (own[place], place == 0) for (name, own), place in zip(levels.items(), places, strict=True)}


def _name(combined: Mapping[str, tuple[Level, bool]]) -> str:
    """Name a combination after the levels that differ from the base; the base has an empty name."""
    return ", ".join(f"{factor} {level.name}" for factor, (level, same) in combined.items() if not same)


def _cell(combined: Mapping[str, tuple[Level, bool]]) -> Cell:
    patch: dict[str, Any] = {}
    for factor, (level, _) in combined.items():
        patch = _merged(patch, level.patch, factor)
    return Cell({factor: level.name for factor, (level, _) in combined.items()}, patch)


def _merged(one: Mapping[str, Any], other: Mapping[str, Any], factor: str, route: str = "") -> dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        here = f"{route}.{key}" if route else key
        if key not in merged:
            merged[key] = value
        elif isinstance(merged[key], Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(merged[key], value, factor, here)
        else:
            raise SpecError(
                f"factors.{factor}: changes {here}, which another factor changes, too: combine the two factors"
            )
    return merged
