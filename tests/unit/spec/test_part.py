from __future__ import annotations

from typing import Annotated, Any

import pytest
from helpers import ROOT
from pydantic import ValidationError
from test_catalog import Step

from gemnet_blocks.basis.envelopes import ExponentialOptions, PolynomialOptions
from gemnet_blocks.errors import SpecError
from gemnet_blocks.options import Options
from gemnet_blocks.spec import load_spec
from gemnet_blocks.spec.catalog import ENVELOPE, Catalog
from gemnet_blocks.spec.part import PartOf, Unresolved, built_in_schemas


class Holder(Options):
    part: Annotated[Options, PartOf(ENVELOPE)]


def read(part: Any, **context: Any) -> Options:
    return Holder.model_validate({"part": part}, context=context).part


def problems(part: Any, **context: Any) -> list[tuple[tuple[int | str, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        read(part, **context)
    return [(problem["loc"], problem["msg"]) for problem in caught.value.errors()]


def test_type_chooses_the_options() -> None:
    assert read({"type": "exponential"}) == ExponentialOptions()
    assert read({"type": "polynomial", "exponent": 3}) == PolynomialOptions(exponent=3)
    assert read(PolynomialOptions(exponent=3)) == PolynomialOptions(exponent=3)


def test_problems_inside_are_located() -> None:
    found = problems({"type": "polynomial", "exponent": 0, "count": 3})
    assert [place for place, _ in found] == [("part", "exponent"), ("part", "count")]


@pytest.mark.parametrize(
    ("part", "place", "message"),
    [
        ("polynomial", ("part",), "must be a mapping, such as {type: polynomial, ...}, got 'polynomial'"),
        (None, ("part",), "must be a mapping, such as {type: polynomial, ...}, got null"),
        ({"exponent": 3}, ("part",), "needs a `type`, such as {type: polynomial, ...}"),
        ({"type": 3}, ("part", "type"), "needs a `type`, such as {type: polynomial, ...}"),
        ({"type": "polynomal"}, ("part", "type"), "did you mean 'polynomial'?"),
        ({"type": "gaussian"}, ("part", "type"), "'gaussian' is of the kind radial basis, not envelope"),
    ],
)
def test_wrong_parts(part: Any, place: tuple[str, ...], message: str) -> None:
    [(found, text)] = problems(part)
    assert found == place
    assert message in text


def test_unknown_types_wait_for_their_class() -> None:
    part = read({"type": "step", "width": 3})
    assert part == Unresolved(type="step", width=3)
    assert part.model_dump() == {"type": "step", "width": 3}
    assert problems(part, catalog=Catalog({"step": Step})) == [(("part", "width"), "Extra inputs are not permitted")]
    assert read({"type": "step"}, catalog=Catalog({"step": Step})) == Step.Options(type="step")


def test_import_paths_wait_too() -> None:
    assert isinstance(read({"type": "os:system"}), Unresolved)
    assert "expected a subclass of Envelope" in problems({"type": "os:system"}, catalog=Catalog({}, True))[0][1]


def test_schemas() -> None:
    schemas = built_in_schemas(ENVELOPE)
    assert list(schemas) == ["polynomial", "exponential"]
    assert schemas["polynomial"]["properties"]["exponent"]["default"] == 5
    *named, own = Holder.model_json_schema()["properties"]["part"]["anyOf"]
    assert [one["properties"]["type"]["const"] for one in named] == ["polynomial", "exponential"]
    assert all("type" in one["required"] for one in (*named, own))
    assert own["properties"]["type"]["not"] == {"enum": ["polynomial", "exponential"]}


@pytest.mark.parametrize("name", ["bases.spherical", "bases.radial", "bases.envelope", "interactions.triplet"])
def test_a_type_that_is_not_a_name_is_shown(name: str) -> None:
    with pytest.raises(SpecError, match=rf"{name}.type: needs a `type`, .*; got \['?/x'?\], which is not"):
        load_spec(ROOT / "paper_configs/symmetric.yaml", {f"{name}.type": ["/x"]})
