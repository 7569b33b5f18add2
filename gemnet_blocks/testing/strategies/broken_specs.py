"""Documents that are no specs: each is a valid one with one planted mistake."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from gemnet_blocks.spec import Spec
from gemnet_blocks.testing.strategies.specs import kind_of, specs

Route = tuple[str, ...]

POSITIVE = ("cutoff", "fade_width", "width", "tie_tolerance")
"""Numbers that are no integers and must not be negative."""
CHOICES = ("activation", "ties", "symmetrize", "reduce", "initialization", "update_projection")
"""Text that must be one of few words."""
PART_TYPES = ("radial", "angular_radial", "envelope", "circular", "spherical", "read_out")


@dataclass(frozen=True, slots=True)
class BrokenSpec:
    """A document with one mistake.

    Attributes:
        document: plain data, as a file would say it.
        path: the dotted path that the error must name.
    """

    document: dict[str, Any]
    path: str


@dataclass(frozen=True, slots=True)
class Mistake:
    """One change of a document.

    Attributes:
        route: the entry that is changed.
        value: its new value.
        blamed: the entry that the error must name; None for the one that is changed.
        removes: whether the entry is removed instead.
    """

    route: Route
    value: Any = None
    blamed: Route | None = None
    removes: bool = False


def broken_specs(base: Spec | None = None) -> st.SearchStrategy[BrokenSpec]:
    """Documents with one mistake each: an unknown, missing or mistyped field, an impossible number, a dangling name.

    Args:
        base: what the documents are made from, with any options changed; None for a small spec.
    """
    return _with_mistake(specs(base))


@st.composite
def _with_mistake(draw: st.DrawFn, valid: st.SearchStrategy[Spec]) -> BrokenSpec:
    spec = draw(valid)
    return plant(draw(st.sampled_from(list(mistakes(spec)))), spec)


def plant(mistake: Mistake, spec: Spec) -> BrokenSpec:
    """The document of a spec with a mistake in it."""
    document = copy.deepcopy(spec.to_dict())
    owner = document
    for key in mistake.route[:-1]:
        owner = owner[key]
    if mistake.removes:
        del owner[mistake.route[-1]]
    else:
        owner[mistake.route[-1]] = mistake.value
    return BrokenSpec(document, ".".join(mistake.blamed or mistake.route))


def mistakes(spec: Spec) -> Iterator[Mistake]:
    """Every mistake that can be planted in a spec, one at a time."""
    document = spec.to_dict()
    for route, value in _entries(document, ()):
        if isinstance(value, dict):
            yield from _in_mapping(route, value)
        else:
            yield from _in_value(route, value)
    yield from _in_sections(spec, document)
    yield from _in_names(spec)


def _entries(value: Any, route: Route) -> Iterator[tuple[Route, Any]]:
    """Every entry of a document, and the document itself."""
    yield route, value
    for key, entry in value.items() if isinstance(value, dict) else ():
        yield from _entries(entry, (*route, key))


def _in_mapping(route: Route, value: dict[str, Any]) -> Iterator[Mistake]:
    """An unknown field, and something else than a mapping."""
    if route not in (("graphs",), ("interactions",)):
        yield Mistake((*route, "colour"), 3)
    if route:
        yield Mistake(route, [1, 2])
        yield Mistake(route, "text")
        yield Mistake(route, True)


def _in_value(route: Route, value: Any) -> Iterator[Mistake]:
    """Values of another type and impossible ones."""
    name = route[-1]
    if isinstance(value, bool):
        yield from (Mistake(route, wrong) for wrong in ("yes", 1, None))
    elif isinstance(value, int):
        yield from (Mistake(route, wrong) for wrong in ("3", True, -1, 1.5, math.nan, 2**63, {"a": 1}))
    elif isinstance(value, float):
        yield from (Mistake(route, wrong) for wrong in ("0.5", False, None, math.nan, -math.inf, [1.0]))
        if name in POSITIVE:
            yield Mistake(route, -0.5)
        if name in ("cutoff", "fade_width", "width"):
            yield Mistake(route, 0)
    elif isinstance(value, str):
        yield from (Mistake(route, wrong) for wrong in (3, True, [value]))
        if name in CHOICES:
            yield Mistake(route, f"{value}x")
    elif name == "tags":
        yield Mistake(route, "surface")
        yield Mistake(route, 2)


def _in_sections(spec: Spec, document: dict[str, Any]) -> Iterator[Mistake]:
    """Missing sections and fields, and misspelt types of parts."""
    for section, field in Spec.model_fields.items():
        if field.is_required():
            yield Mistake((section,), removes=True)
            yield Mistake((section,))
    for section in ("sizes", "blocks", "bases", "heads"):
        for name, field in type(getattr(spec, section)).model_fields.items():
            if field.is_required():
                yield Mistake((section, name), removes=True)
    for route, value in _entries(document, ()):
        if route[-1:] == ("type",) and (route[0] == "interactions" or route[-2] in PART_TYPES):
            yield Mistake(route, value[:-1])  # near enough to be a misspelt one


def _in_names(spec: Spec) -> Iterator[Mistake]:
    """Names that lead nowhere, in a circle, or to what they must not."""
    for name, rule in spec.graphs.items():
        yield (
            Mistake(("graphs", name), removes=True, blamed=("graphs",))
            if name == "main"
            else Mistake(("graphs", name, "symmetrize"), "union")
        )
        yield Mistake(("graphs", name, "within"), "nowhere")
        yield Mistake(("graphs", name, "within"), name)
        if rule.within is not None:
            yield Mistake(("graphs", rule.within, "within"), name, blamed=("graphs", min(name, rule.within), "within"))
    for section in ("graphs", "interactions"):
        entry = next(iter(getattr(spec, section).values()), None)
        if entry is not None:
            yield Mistake((section, "my-own"), entry.model_dump(mode="json"))
    for name, options in spec.interactions.items():
        if "graph" in type(options).model_fields:
            yield Mistake(("interactions", name, "graph"), "nowhere")
        yield from (Mistake(("interactions", name, field), removes=True) for field in ("down", "up"))
        if kind_of(options) == "quadruplet":
            yield Mistake(("bases", "spherical"), blamed=("interactions", name))
