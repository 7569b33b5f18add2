from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_specs import NAMES, SMALL, small_spec, write
from test_build import Far

from gemnet_blocks.spec import Spec, load_spec

HASH = small_spec().content_hash


def backwards(data: Any) -> Any:
    """The same mappings in the opposite order."""
    return {key: backwards(data[key]) for key in reversed(data)} if isinstance(data, dict) else data


def test_it_names_the_architecture() -> None:
    assert len(HASH) == 64
    assert small_spec().content_hash == HASH


@pytest.mark.parametrize(
    "changes",
    [
        {"graphs.unused": {"cutoff": 9.0}},
        {"graphs": {"unused": {"cutoff": 9.0, "within": "other"}, "other": {"cutoff": 10.0}}},
        {"graphs.main.cutoff": 4},  # an integer where a number is meant
        {"bases.angular_radial": {"type": "gaussian", "count": 5}},
        {"neighbors.tie_tolerance": 0.5},  # of no effect with strict ties
        {"neighbors.fade_width": 0.1},  # nor this
        {"bases.radial": {"trainable": False}, "bases.angular_radial": None},
        {"atom_embedding": {"type": "element"}},
        {"edge_embedding": "radial", "streams": {}, "blocks.combine": "skip", "blocks.divisors": {}},
        {"interactions.triplet": {"graph": "main", "symmetric": True, "scale_factor": True, "bases": {}}},
        {"interactions.triplet.bases.radial": {"type": "gaussian", "count": 5}},
        {"interactions.quadruplet.bases": {"angular_radial": {"type": "gaussian", "count": 5}, "envelope": None}},
        {"interactions.edge_atom.senders": "main"},
    ],
)
def test_equal_for_the_same_model(changes: dict[str, Any]) -> None:
    assert small_spec(changes).content_hash == HASH


def test_equal_in_any_order_and_with_defaults_spelled_out() -> None:
    for data in (yaml.safe_load(SMALL), small_spec().to_dict()):
        assert Spec.from_yaml(yaml.safe_dump(backwards(data), sort_keys=False)).content_hash == HASH
        assert Spec.from_yaml(yaml.safe_dump(data, sort_keys=True)).content_hash == HASH


def test_equal_for_a_file_that_extends_and_a_flat_one(tmp_path: Path) -> None:
    path = write(tmp_path, a="extends: small.yaml\ninteractions: {quadruplet: null}\nblocks: {count: 3}\n")
    flat = SMALL.replace("  quadruplet: {down: 4, up: 4}\n", "").replace("count: 1, before", "count: 3, before")
    assert load_spec(path).content_hash == Spec.from_yaml(flat).content_hash != HASH


def test_streams_that_interactions_add_count_as_declared_ones() -> None:
    added = small_spec({"interactions.painn": {}})
    declared = added.patch({"streams.vectors": {"irreps": "6x1o", "update": None}})
    assert declared.content_hash == added.content_hash
    assert added.patch({"streams.vectors": {"irreps": "7x1o"}}).content_hash != added.content_hash


def test_tags_are_a_set() -> None:
    hashes = {small_spec({"graphs.quad.tags": tags}).content_hash for tags in ([1, 2], [2, 1], [1, 2, 2])}
    assert len(hashes) == 1
    assert small_spec({"graphs.quad.tags": [1]}).content_hash not in hashes


DIFFERENT: dict[str, Any] = {
    "elements": 84,
    "sizes": [{"atom": 7}, {"edge": 7}, {"radial": 7}, {"circular": 7}, {"spherical": 7}],
    "activation": "siqu",
    "atom_embedding": [
        {"type": "periodic_table"},
        {"charge": True},
        {"spin": True},
        {"type": "periodic_table", "charge": True},
    ],
    "neighbors": [
        {"ties": "inclusive"},
        {"ties": "inclusive", "tie_tolerance": 0.5},
        {"ties": "smooth"},
        {"ties": "smooth", "fade_width": 0.2},
        {"periodic": False},
    ],
    "graphs": [
        *({name: {"cutoff": 3.0}} for name in ("atom", "main", "atom_edge", "quad")),
        *({name: {"max_neighbors": 2}} for name in ("atom", "main", "atom_edge", "quad")),
        *({name: {"tags": [1]}} for name in ("atom", "main", "atom_edge", "quad")),
        *({name: {"tags": []}} for name in ("atom", "main", "atom_edge", "quad")),
        {"main": {"symmetrize": "union"}},
    ],
    "bases": [
        *({"radial": fields} for fields in ({"count": 6}, {"trainable": True}, {"type": "spherical_bessel"})),
        {"angular_radial": {"type": "gaussian", "count": 6}},
        *({"envelope": fields} for fields in ({"exponent": 6}, {"type": "exponential"})),
        *({"circular": fields} for fields in ({"count": 4}, {"type": "gaussian"})),
        *({"spherical": fields} for fields in ({"count": 3}, {"type": "gaussian_outer"})),
        *({"collinear": fields} for fields in ({"width": 0.1}, {"type": "right_angle"})),
        {"scale": True},
    ],
    "blocks": [
        *({name: 2} for name in ("count", "before_skip", "after_skip", "concatenation", "update", "atom")),
        {"update_projection": "always"},
        {"combine": "add"},
        {"divisors": {"atoms": 1.0}},
    ],
    "interactions": [
        *({name: None} for name in NAMES),
        *({name: {field: 3}} for name in NAMES for field in ("down", "up")),
        {"triplet": {"graph": "quad"}},
        *({name: {"graph": "main"}} for name in NAMES[1:]),
        {"edge_atom": {"senders": "quad"}},
        *({name: {"scale_factor": False}} for name in NAMES),
        *({name: {"symmetric": False}} for name in NAMES[:3]),
        *({name: {"bases": {"radial": {"type": "gaussian", "count": 6}}}} for name in NAMES),
        {"triplet": {"bases": {"circular": {"type": "legendre", "count": 4}}}},
        *({name: {"type": "quadruplet" if name == "triplet" else "triplet"}} for name in NAMES),
        {"again": {"type": "triplet", "down": 4, "up": 4}},
    ],
    "edge_embedding": None,
    "streams": [
        {"further": {"irreps": "3x0e"}},
        {"further": {"irreps": "3x1o"}},
        {"further": {"irreps": "3x0e", "on": "edges"}},
        {"further": {"irreps": "3x0e", "initial": "embedding"}},
        {"further": {"irreps": "3x0e", "combine": "skip"}},
        {"further": {"irreps": "3x0e", "update": {"type": "gated"}}},
        {"further": {"irreps": "3x0e", "update": {"type": "residual"}}},
        {"further": {"irreps": "3x0e", "update": {"type": "residual", "layers": 2}}},
    ],
    "readout": [
        *({name: 2} for name in ("layers", "after_atom", "network")),
        {"initialization": "zeros"},
        {"type": "mine"},
    ],
    "heads": [
        {"energy": {"reduce": "mean"}},
        {"forces": None},
        {"forces": {"coupled": True}},
        {"forces": {"type": "gradient"}},
        {"forces": {"type": "gradient", "dynamic_scaling": True}},
        {"forces": {"type": "gradient"}, "stress": {"type": "stress"}},
        {"forces": {"type": "gradient"}, "energy": {"short_range": "zbl"}},
        {"charges": {"type": "property", "per": "atom"}},
        {"charges": {"type": "property"}},
        {"dipole": {"type": "dipole"}},
    ],
}
"""For every field of the small spec a value that makes another model."""
WITHIN: list[dict[str, Any]] = [
    {"main": {"within": None}},
    {"atom_edge": {"within": None}},
    {"quad": {"within": None}},
    {"atom": {"within": "far"}, "far": {"cutoff": 9.0}},
]
"""Edge sets selected among others; the same edges with strict ties."""
CASES = [
    *({section: one} for section, many in DIFFERENT.items() for one in (many if isinstance(many, list) else [many])),
    *({"graphs": graphs, "neighbors": {"ties": "inclusive_next"}} for graphs in WITHIN),
]


def leaves(data: Any, path: str = "") -> Iterator[str]:
    if isinstance(data, Mapping):
        for key, entry in data.items():
            yield from leaves(entry, f"{path}.{key}" if path else key)
    else:
        yield path


def test_different_for_every_field() -> None:
    hashes = [small_spec(changes).content_hash for changes in CASES]
    assert len({HASH, *hashes}) == len(CASES) + 1


def test_equal_selections_with_strict_ties() -> None:
    for graphs in WITHIN:
        assert small_spec({"graphs": graphs}).content_hash == HASH
    fewer = {"graphs": {"atom": {"max_neighbors": 2}}}  # of what all others are selected among
    assert small_spec(fewer).content_hash != HASH
    tagged = {"graphs": {"main": {"within": "quad"}}}
    assert small_spec(tagged).content_hash != HASH


def test_every_field_is_tried() -> None:
    tried = {path for changes in CASES for path in leaves(changes)}
    # symmetrize has one value in all edge sets but main; new bases, stresses and divisors are tried as mappings
    untried = {
        "bases.angular_radial",
        "blocks.divisors",
        "heads.stress",
        *(f"interactions.{name}.bases" for name in NAMES),
    }
    untried |= {*(f"graphs.{name}.symmetrize" for name in ("atom", "atom_edge", "quad"))}
    # of a single block there is one selection
    untried |= {f"interactions.{name}.blocks" for name in small_spec().interactions}
    assert {path for path in leaves(small_spec().to_dict()) if path not in tried} == untried


def test_edge_sets_of_custom_interactions_count() -> None:
    changes = {"interactions.far.type": "far", "graphs.far": {"cutoff": 5.0}}
    wider = {"interactions.far.type": "far", "graphs.far": {"cutoff": 6.0}}
    for extra in ({}, {"far": Far}):
        spec = Spec.from_yaml(SMALL, extra=extra)
        assert spec.patch(changes).content_hash != spec.patch(wider).content_hash
