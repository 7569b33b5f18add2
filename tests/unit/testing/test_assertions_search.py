"""The search for counterexamples, and its report."""

from __future__ import annotations

import pickle
import re
import textwrap
from math import inf
from typing import Any

import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st

from gemnet_blocks.interactions.triplet import TripletInteraction
from gemnet_blocks.spec import Spec
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.assertions import Check, CounterExample, interaction_spec, search
from gemnet_blocks.testing.strategies import generic_structures


def small(x: int) -> None:
    assert x < 100, f"{x} is not small"


def test_properties_that_hold() -> None:
    tried = []
    search(lambda x: tried.append(x), "anything", 30, x=st.integers())
    assert len(tried) == 30


def test_the_smallest_counterexample() -> None:
    with pytest.raises(CounterExample, match="small numbers: violated\n100 is not small") as caught:
        search(small, "small numbers", 200, x=st.integers(0, 1000))
    assert caught.value.property == "small numbers"
    assert caught.value.example == {"x": 100}
    assert isinstance(caught.value.error, AssertionError)
    assert isinstance(caught.value, AssertionError)
    assert str(caught.value).endswith("The smallest counterexample found:\n\n    x = 100")
    assert caught.value.__suppress_context__
    assert not getattr(caught.value, "__notes__", [])


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CounterExample):
        search(small, "small numbers", 200, x=st.integers(0, 1000))
    assert capsys.readouterr() == ("", "")


def test_arguments_that_depend_on_others() -> None:
    def check(count: int, index: int) -> None:
        assert index < count
        assert index < 3

    with pytest.raises(CounterExample) as caught:
        search(check, "indices", 100, count=st.integers(1, 9), index=lambda drawn: st.integers(0, drawn["count"] - 1))
    assert caught.value.example == {"count": 4, "index": 3}


def test_crashes_are_counterexamples_too() -> None:
    def crash(x: int) -> None:
        assume(x != 1)
        [0, 0, 0][x]

    with pytest.raises(CounterExample, match="IndexError: list index out of range\n") as caught:
        search(crash, "indices", 100, x=st.integers(0, 5))
    assert caught.value.example == {"x": 3}
    assert isinstance(caught.value.error, IndexError)


def test_structures_are_shown_as_code_that_makes_them_again() -> None:
    def few(structures: Structures) -> None:
        assert structures.atom_count < 2, "two atoms"

    with pytest.raises(CounterExample) as caught:
        search(few, "few atoms", 50, structures=generic_structures(max_atoms=6))
    found = caught.value.example["structures"]
    assert found.atom_count == 2
    values: dict[str, Any] = {}
    exec(caught.value.code, values)
    assert torch.equal(values["structures"].positions, found.positions)
    assert textwrap.indent(caught.value.code, "    ") in str(caught.value)


def test_specs_are_shown_as_code_that_makes_them_again() -> None:
    def refuse(spec: Spec) -> None:
        raise AssertionError("no")

    spec = interaction_spec(TripletInteraction)
    with pytest.raises(CounterExample) as caught:
        search(refuse, "nothing", 5, spec=st.just(spec))
    values: dict[str, Any] = {}
    exec(caught.value.code, values)
    assert values["spec"] == spec


def bounded(model: Any, number: float, limit: float = 1.0) -> None:
    assert model(number) <= limit, "too large"


def test_the_code_ends_with_the_call_that_fails() -> None:
    with pytest.raises(CounterExample, match=r"`model` is an attribute of this error") as caught:
        search(Check(bounded, abs, ("number",), {"limit": 2.0}), "bounds", 50, number=st.sampled_from([1.0, inf]))
    assert caught.value.model is abs
    assert caught.value.code == (
        f"from math import inf\nfrom {__name__} import bounded\n\nnumber = inf\nbounded(model, number, limit=2.0)"
    )
    with pytest.raises(AssertionError, match="too large"):
        exec(caught.value.code, {"model": caught.value.model})


def test_values_that_are_no_code_are_comments() -> None:
    with pytest.raises(CounterExample) as caught:
        search(lambda thing, x: small(100), "things", 5, thing=st.just(object()), x=st.just(1))
    assert re.fullmatch(r"thing = \.\.\.  # <object object at \w+>\nx = 1", caught.value.code)
    assert caught.value.model is None
    exec(caught.value.code)


def test_checks_that_fail_now_and_then() -> None:
    calls = []

    def moody(x: int) -> None:
        calls.append(x)
        assert len(calls) != 7, "the seventh"

    with pytest.raises(CounterExample, match=r"the seventh[^?]*\nThe check is not deterministic"):
        search(moody, "mood", 30, x=st.integers())


def test_the_same_search_every_time() -> None:
    seen: list[list[int]] = [[], []]
    for values in seen:
        search(lambda x, values=values: values.append(x), "anything", 20, x=st.integers())
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 5


def test_counterexamples_pickle() -> None:
    example = CounterExample("sizes", {"x": 3}, ValueError("three"))
    again = pickle.loads(pickle.dumps(example))
    assert (str(again), again.example, again.property) == (str(example), {"x": 3}, "sizes")
    example = CounterExample("sizes", {"x": 3}, ValueError("three"), check=Check(bounded, lambda x: x, ("x",)))
    again = pickle.loads(pickle.dumps(example))
    assert again.model is None
    assert again.code == example.code
