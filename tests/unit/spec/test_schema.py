from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from small_specs import NAMES, SMALL, error_of, small_spec
from test_catalog import Message

from gemnet_blocks.basis.envelopes import ExponentialOptions
from gemnet_blocks.spec import Spec
from gemnet_blocks.spec.catalog import BUILT_IN
from gemnet_blocks.spec.schema import BasisOptions, HeadOptions, NeighborOptions

SECTIONS: list[type[BaseModel]] = [
    *(Spec, BasisOptions, HeadOptions, NeighborOptions),
    *(part.Options for parts in BUILT_IN.values() for part in parts.values()),
]


def described(options: type[BaseModel]) -> Iterator[tuple[str, str | None]]:
    for name, field in options.model_fields.items():
        yield f"{options.__name__}.{name}", field.description
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from described(field.annotation)


def test_every_field_is_documented() -> None:
    fields = dict(entry for section in SECTIONS for entry in described(section))
    assert [name for name, description in fields.items() if not description] == []
    assert "Å" in (fields["NeighborOptions.tie_tolerance"] or "")


def test_a_spec_is_a_value() -> None:
    spec = small_spec()
    for same in (copy.deepcopy(spec), pickle.loads(pickle.dumps(spec)), small_spec(), spec.patch({})):
        assert same == spec
        assert hash(same) == hash(spec)
    assert spec != small_spec({"blocks.count": 2})
    assert spec != SMALL
    assert len({spec, small_spec(), small_spec({"blocks.count": 2})}) == 2
    with pytest.raises(ValueError, match="frozen"):
        spec.elements = 3


def test_classes_it_was_read_with_do_not_count() -> None:
    assert Spec.from_yaml(SMALL, extra={"mine": Message}) == small_spec()


def test_names_are_types() -> None:
    spec = small_spec({"interactions.far": {"type": "atom_atom", "down": 2, "up": 3}})
    assert {name: options.type for name, options in spec.interactions.items()} == {
        **{name: name for name in NAMES},
        "far": "atom_atom",
    }


def test_interactions_have_one_order() -> None:
    entries = {"mine": {}, "b_pair": {"type": "atom_atom", "down": 1, "up": 1}, "a": {"type": "other"}}
    spec = small_spec({f"interactions.{name}": entry for name, entry in entries.items()})
    assert list(spec.interactions) == [*NAMES, "b_pair", "a", "mine"]
    lines = SMALL.splitlines(keepends=True)
    swapped = "".join([*lines[:15], *reversed(lines[15:20]), *lines[20:]])
    assert list(Spec.from_yaml(swapped).interactions) == list(NAMES)


def test_edge_sets_follow_those_that_they_are_within() -> None:
    spec = small_spec({"graphs": {"main": {"within": "last"}, "last": {"cutoff": 4.0, "within": "atom"}}})
    assert list(spec.graphs) == ["atom", "last", "main", "atom_edge", "quad"]


def test_main_is_symmetrized() -> None:
    assert small_spec({"graphs.main.symmetrize": None}).graphs["main"].symmetrize == "union"
    assert small_spec().graphs["quad"].symmetrize is None


def test_yaml_round_trip() -> None:
    spec = small_spec(
        {"graphs.quad.tags": (1, 2), "bases.envelope": ExponentialOptions(), "neighbors.ties": "inclusive"}
    )
    assert Spec.from_yaml(spec.to_yaml()) == spec
    assert spec.to_yaml().splitlines()[:6] == [
        "version: 2",
        "elements: 83",
        "sizes: {atom: 6, edge: 8, radial: 3, circular: 3, spherical: 4}",
        "activation: silu",
        "neighbors: {ties: inclusive, tie_tolerance: 0.01, fade_width: 0.5, periodic: true}",
        "graphs:",
    ]


def test_yaml_of_parts_that_wait_for_their_class() -> None:
    spec = small_spec({"interactions.mine": {"type": "my_lab:Block", "gate": "on", "widths": [1, 2.5, None]}})
    assert Spec.from_yaml(spec.to_yaml()) == spec


def test_from_yaml_extends_nothing() -> None:
    assert error_of(Spec.from_yaml, f"{SMALL}extends: a.yaml") == (
        "spec:25: extends: is not a field of a spec: only files can extend files"
    )
    assert error_of(Spec.from_yaml, "elements: 3").splitlines() == [
        f"spec: {name}: is missing"
        for name in ("sizes", "graphs", "bases", "blocks", "interactions", "readout", "heads")
    ]


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        # wrong types
        ({"sizes.atom": "12"}, ["sizes.atom: must be an integer, got '12'; remove the quotes"]),
        ({"sizes.atom": 12.0}, ["sizes.atom: must be an integer, got 12.0"]),
        ({"sizes.atom": True}, ["sizes.atom: must be an integer, got true"]),
        ({"sizes.atom": None}, ["sizes.atom: must be an integer, got null"]),
        ({"sizes.atom": 0}, ["sizes.atom: must be at least 1, got 0"]),
        ({"sizes.atom": 10**30}, ["sizes.atom: must be below 2^63, got 1000000000000000000000000000000"]),
        ({"graphs.main.cutoff": True}, ["graphs.main.cutoff: must be a number, got true"]),
        ({"graphs.main.cutoff": "wide"}, ["graphs.main.cutoff: must be a number, got 'wide'"]),
        ({"graphs.main.cutoff": -1}, ["graphs.main.cutoff: must be greater than 0, got -1"]),
        ({"graphs.main.cutoff": float("inf")}, ["graphs.main.cutoff: must be finite, got inf"]),
        ({"graphs.main.cutoff": float("nan")}, ["graphs.main.cutoff: must be finite, got nan"]),
        ({"graphs.quad.tags": 1}, ["graphs.quad.tags: must be a list, got 1"]),
        ({"graphs.quad.tags": [0, True]}, ["graphs.quad.tags.1: must be an integer, got true"]),
        ({"graphs.quad.tags": [-1]}, ["graphs.quad.tags.0: must be at least 0, got -1"]),
        ({"neighbors.periodic": "yes"}, ["neighbors.periodic: must be true or false, got 'yes'"]),
        ({"activation": "sil"}, ["activation: must be 'silu', 'siqu' or 'identity', got 'sil'; did you mean 'silu'?"]),
        ({"bases.radial.count": 1}, ["bases.radial.count: must be at least 2, got 1"]),
        ({"blocks": 3}, ["blocks: must be a mapping of fields, got 3"]),
        (
            {"interactions": None},
            ["interactions: must be a mapping of fields, got null; set single entries to null instead"],
        ),
        (
            {"interactions.triplet": "none"},
            ["interactions.triplet: must be a mapping, such as {type: triplet, ...}, or null to remove it, got 'none'"],
        ),
        ({"readout": "sum"}, ["readout: must be a mapping, such as {type: concatenated, ...}"]),
        (
            {"heads.forces": "off"},
            [
                "heads.forces: must be a mapping of fields, got 'off'; write null for a model without forces, "
                "or a mapping such as {type: direct}"
            ],
        ),
        ({"heads.forces.type": "dirct"}, ["heads.forces.type: must be one of 'direct' or 'gradient', got 'dirct'"]),
        ({"heads.forces.type": None}, ["heads.forces.type: must be one of 'direct' or 'gradient', got null"]),
        ({"heads.forces.coupled": 1}, ["heads.forces.coupled: must be true or false, got 1"]),
        # unknown keys
        ({"size": {}}, ["size: unknown field; did you mean 'sizes'?"]),
        ({"sizes.edg": 3}, ["sizes.edg: unknown field; did you mean 'edge'?"]),
        ({"heads.energy.reduction": 3}, ["heads.energy.reduction: unknown field; did you mean 'reduce'?"]),
        ({"heads.forces.couple": 3}, ["heads.forces.couple: unknown field; did you mean 'coupled'?"]),
        ({"graphs.quad.cut_off": 3}, ["graphs.quad.cut_off: unknown field; did you mean 'cutoff'?"]),
        ({"bases.radial.cout": 3}, ["bases.radial.cout: unknown field; did you mean 'count'?"]),
        (
            {"interactions.triplet.grph": "main"},
            ["interactions.triplet.grph: unknown field; did you mean 'graph'?"],
        ),
        ({"interactions.triplet_far.type": "triplet"}, ["interactions.triplet_far.down: is missing"]),
        # parts
        (
            {"bases.radial": {"type": "gausian", "count": 3}},
            [
                "bases.radial.type: unknown radial basis 'gausian' (for a custom class, write "
                "`type: module:Class` and allow imports, or pass extra={'gausian': ...}); did you mean 'gaussian'?"
            ],
        ),
        (
            {"bases.radial.type": "legendre"},
            ["bases.radial.type: 'legendre' is of the kind circular basis, not radial basis"],
        ),
        (
            {"bases.angular_radial": {"count": 3}},
            ["bases.angular_radial: needs a `type`, such as {type: gaussian, ...}"],
        ),
        ({"interactions.triplets": {"down": 3}}, ["interactions.triplets: unknown interaction 'triplets'"]),
        # names
        (
            {"interactions.quadruplet.graph": "quat"},
            ["interactions.quadruplet.graph: unknown edge set 'quat'; did you mean 'quad'?"],
        ),
        ({"graphs.quad.within": "atm"}, ["graphs.quad.within: unknown edge set 'atm'; did you mean 'atom'?"]),
        ({"graphs.quad": None}, ["interactions.quadruplet.graph: unknown edge set 'quad'"]),
        ({"graphs.main": None}, ["graphs: needs an edge set 'main', which carries edge embeddings"]),
        (
            {"graphs.quad.symmetrize": "union"},
            ["graphs.quad.symmetrize: only 'main' can be symmetrized: remove this field"],
        ),
        (
            {"graphs.atom.within": "quad"},
            ["graphs.atom.within: edge sets are within each other: atom → quad → atom"],
        ),
        ({"graphs.atom.within": "atom"}, ["graphs.atom.within: edge sets are within each other: atom → atom"]),
        ({"bases.spherical": None}, ["interactions.quadruplet: needs bases.spherical, which is missing"]),
        (
            {"interactions": {"a-b": {"type": "atom_atom", "down": 1, "up": 1}}},
            ["interactions.a-b: is not a name: use letters, digits and underscores"],
        ),
        (
            {"graphs.keys": {"cutoff": 3}},
            ["graphs.keys: is an attribute of torch modules: choose another name, such as keys_"],
        ),
    ],
)
def test_problems(changes: dict[str, Any], messages: list[str]) -> None:
    lines = error_of(small_spec, changes).splitlines()
    for message in messages:
        assert any(line.removeprefix("patch: ").startswith(message) for line in lines), lines


def test_no_message_speaks_of_pydantic() -> None:
    changes = {
        "sizes": [],
        "heads": {"forces": 3},
        "blocks.count": "a",
        "graphs.quad.tags": "12",
        "readout.layers": -1,
    }
    text = error_of(small_spec, changes)
    assert len(text.splitlines()) == 5
    for noise in ("nput", "pydantic", "instance", "valid", "Error", "errors.", "tuple", "dict"):
        assert noise not in text


def test_graphs_in_use() -> None:
    assert small_spec().graphs_in_use() == {"atom", "main", "atom_edge", "quad"}
    only_triplets = small_spec({f"interactions.{name}": None for name in NAMES[1:]})
    assert only_triplets.graphs_in_use() == {"main", "atom"}
    assert only_triplets.patch({"graphs.main.within": None}).graphs_in_use() == {"main"}
    unknown = only_triplets.patch({"interactions.mine": {"reads": "quad"}})
    assert unknown.graphs_in_use() == {"atom", "main", "atom_edge", "quad"}
