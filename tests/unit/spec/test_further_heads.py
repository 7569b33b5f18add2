"""Further heads in specs: their entries, removal, order, and errors."""

from __future__ import annotations

from typing import Any

import pytest
from small_specs import SMALL, small_spec

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import Spec, build
from gemnet_blocks.structures import PropertyKind

HEADS = {
    "heads.gap": {"type": "property", "reduce": "mean"},
    "heads.charges": {"type": "property", "per": "atom"},
    "heads.dipole": {"type": "dipole"},
}


def test_kinds_follow_from_the_options() -> None:
    assert small_spec(HEADS).heads.kinds() == {
        "charges": PropertyKind("atom", "scalar"),
        "dipole": PropertyKind("structure", "vector", molecular=True),
        "gap": PropertyKind("structure", "scalar"),
    }
    assert small_spec({"heads.volume": {"type": "property"}}).heads.kinds()["volume"].extensive
    assert PropertyKind("atom", "tensor").size == (3, 3)
    assert PropertyKind("atom", "vector").components == ("x", "y", "z")


def test_null_removes_a_head_and_restores_the_hash() -> None:
    spec = small_spec(HEADS)
    assert spec.content_hash != small_spec().content_hash
    bare = spec.patch(dict.fromkeys(HEADS))
    assert bare == small_spec()
    assert bare.content_hash == small_spec().content_hash


def test_heads_are_read_back_and_do_not_depend_on_their_order() -> None:
    spec = small_spec(HEADS)
    reversed_heads = dict(reversed(spec.to_dict()["heads"].items()))
    again = Spec.from_yaml(SMALL).patch({"heads": reversed_heads})
    assert Spec.from_yaml(spec.to_yaml()) == spec == again
    assert list(again.heads.properties) == ["charges", "dipole", "gap"]
    names = [name for name, _ in build(again, seed=0).heads.named_parameters()]
    assert names == [name for name, _ in build(spec, seed=0).heads.named_parameters()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads.dipol": None}, "heads.dipol: there is nothing of this name to remove; did you mean 'dipole'?"),
        ({"heads.x": {"type": "proprty"}}, "heads.x.type: unknown head 'proprty' .* did you mean 'property'?"),
        ({"heads.enrgy": {"reduce": "sum"}}, "heads.enrgy: needs a `type`, such as {type: property, ...}"),
        ({"heads.x": {"type": "property", "redce": "sum"}}, "heads.x.redce: unknown field; did you mean 'reduce'?"),
        ({"heads.x": {"type": "property", "shape": "matrix"}}, "heads.x.shape: must be 'scalar', 'vector' or 'tensor'"),
        ({"heads.x": {"type": "property", "per": "atom", "reduce": "mean"}}, "heads.x: reduce: mean is for properties"),
        ({"heads.x": {"type": "dipole", "shape": "scalar"}}, "heads.x.shape: must be 'vector', got 'scalar'"),
        ({"heads.x": {"type": "triplet"}}, "'triplet' is of the kind interaction, not head"),
        ({"heads.x": 3}, "heads.x: must be a mapping, such as {type: property, ...}, or null to remove it, got 3"),
        ({"heads.x": {"type": "lab:Head"}}, "heads.x.type: lab:Head would import code from the module lab"),
        ({"heads.keys": {"type": "property"}}, "heads.keys: is an attribute of torch modules"),
        ({"heads.energies": {"type": "property"}}, "heads.energies: is the name of another result"),
        ({"heads.energy": None}, "heads.energy: must be a mapping of fields, got null; every model predicts energies"),
        ({"heads.stress": {"type": "stress"}}, "heads: stress needs gradient forces, got direct forces"),
        (
            {"heads.forces": None, "heads.stress": {"type": "stress"}},
            "heads: stress needs gradient forces, got no forces",
        ),
    ],
)
def test_errors_name_place_and_fix(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("(", r"\(").replace("{", r"\{").replace("?", r"\?")):
        build(small_spec({**HEADS, **changes}))
