"""Specs over all options build; broken ones are refused with the path of their mistake."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import Spec, build
from gemnet_blocks.spec.catalog import BUILT_IN, options_class
from gemnet_blocks.spec.document import dump
from gemnet_blocks.testing.strategies import BrokenSpec, broken_specs, small_spec, spec_patches, specs
from gemnet_blocks.testing.strategies.specs import mistakes, plant

quick = partial(settings, derandomize=True, deadline=None, database=None, phases=(Phase.generate, Phase.shrink))
PATCHES = spec_patches()
FIXED = {
    "graphs.atom.within",  # there is no edge set before the first
    *(f"graphs.{name}.symmetrize" for name in ("atom", "atom_edge", "quad", "unused")),  # only main is symmetrized
    *(f"graphs.unused.{name}" for name in ("max_neighbors", "tags", "within")),
    *(f"atom_embedding[{name}].{state}" for name in ("element", "periodic_table") for state in ("charge", "spin")),
    *("blocks.combine", "edge_embedding", "heads.stress"),  # which go together with other options
    "blocks.divisors",  # which models have that start from another one
}
"""Options that have one value only, or only one that is drawn."""

NOT_DRAWN = {"stream update", "head", "painn", "tensor_product", "atoms"}
"""Kinds and names of parts that need feature streams, or that models do not need; their tests build them."""


@quick(max_examples=30)
@given(specs())
def test_every_spec_builds(spec: Spec) -> None:
    build(spec, seed=0)
    assert Spec.from_yaml(spec.to_yaml()) == spec
    assert spec.elements >= 83
    assert all(rule.cutoff <= 6 for rule in spec.graphs.values())


@quick(max_examples=40)
@given(PATCHES)
def test_every_patch_is_valid(changes: dict[str, Any]) -> None:
    assert isinstance(small_spec().patch(changes), Spec)


def leaves(value: Any, route: str = "") -> list[tuple[str, Any]]:
    """Every entry that is no mapping, by dotted path; for parts, the type is in the path."""
    if not isinstance(value, dict):
        return [(route, value)]
    kind = f"[{value['type']}]" if "type" in value else ""
    return [leaf for name, entry in value.items() for leaf in leaves(entry, f"{route}{kind}.{name}".lstrip("."))]


@pytest.fixture(scope="module")
def many() -> list[Spec]:
    drawn: list[Spec] = []
    quick(max_examples=600)(given(specs())(lambda spec: drawn.append(spec)))()
    return drawn


@pytest.mark.slow
def test_every_option_takes_several_values(many: list[Spec]) -> None:
    """A new option must be added to the strategy, too."""
    values: dict[str, set[str]] = defaultdict(set)
    for spec in many:
        for route, value in leaves(spec.to_dict()):
            values[route].add(repr(value))
    constant = {
        route
        for route, seen in values.items()
        if len(seen) == 1 and not route.endswith(".type") and not any(other.startswith(f"{route}[") for other in values)
    }
    # bases of single interactions, and further interactions, are drawn like all others, but each of them rarely
    constant = {route for route in constant if not re.match(r"interactions\.(.*\.bases(\.|$)|again\[)", route)}
    assert constant <= FIXED, constant - FIXED
    for kind, parts in BUILT_IN.items():
        for name, part in parts.items():
            if kind not in NOT_DRAWN and name not in NOT_DRAWN:
                drawn = {route.rpartition(".")[2] for route in values if f"[{name}]" in route}
                assert set(options_class(part).model_fields) <= drawn, f"{kind} {name}"


def test_unused_parts_are_removed(many: list[Spec]) -> None:
    without = {(spec.bases.spherical is None, "quad" not in spec.graphs) for spec in many}
    assert {(False, False), (True, False), (False, True)} <= without


def test_specs_shrink_to_the_base() -> None:
    assert find(specs(), lambda spec: True, settings=quick()) == small_spec()
    smooth = find(specs(), lambda spec: spec.neighbors.ties == "smooth", settings=quick(max_examples=500))
    assert smooth == small_spec().patch({"neighbors.ties": "smooth"})


def test_other_base_specs_are_changed_too() -> None:
    base = small_spec().patch(
        {"interactions.quadruplet": None, "interactions.atom_edge": None, "bases.spherical": None, "elements": 10}
    )

    @quick(max_examples=30)
    @given(specs(base, max_cutoff=2.0, min_elements=100))
    def check(spec: Spec) -> None:
        build(spec)
        names.update(spec.interactions)

    names: set[str] = set()
    check()
    assert names <= {"triplet", "edge_atom", "atom_atom", "again"}
    assert "triplet" in names


def refusal(broken: BrokenSpec) -> str:
    with pytest.raises(SpecError) as caught:
        Spec.from_yaml(dump(broken.document))
    return str(caught.value)


@quick(max_examples=50)
@given(broken_specs())
def test_every_mistake_is_named(broken: BrokenSpec) -> None:
    lines = refusal(broken).splitlines()
    assert any(f": {broken.path}: " in line for line in lines), (broken.path, lines)


@pytest.mark.slow
def test_mistakes_are_of_many_kinds() -> None:
    """Every other mistake that can be planted in the small spec."""
    messages = []
    for mistake in list(mistakes(small_spec()))[::2]:
        broken = plant(mistake, small_spec())
        messages.append(refusal(broken))
        assert f": {broken.path}: " in messages[-1], (broken.path, messages[-1])
    together = "\n".join(messages)
    for words in (
        "unknown field",
        "is missing",
        "must be text",
        "must be an integer",
        "must be a mapping",
        "must be finite",
        "must be below 2^63",
        "must be at least",
        "must be greater than 0",
        "got true",
        "did you mean",
        "unknown edge set 'nowhere'",
        "edge sets are within each other",
        "is not a name",
    ):
        assert words in together, words
