from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_specs import PAPER_CONFIGS, SMALL, small_spec

from gemnet_blocks.spec import json_schema


def properties(node: Any, root: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a schema, with references followed."""
    if isinstance(node, list):
        for entry in node:
            yield from properties(entry, root, path)
    if isinstance(node, dict):
        for name, entry in node.get("properties", {}).items():
            yield f"{path}.{name}", resolved(entry, root)
        for key, entry in node.items():
            yield from properties(entry, root, f"{path}.{key}")


def resolved(entry: dict[str, Any], root: Any) -> dict[str, Any]:
    target = root
    for key in entry.get("$ref", "#").split("/")[1:]:
        target = target[key]
    return {**target, **entry} if "$ref" in entry else entry


def test_every_field_has_a_description() -> None:
    schema = json_schema()
    found = dict(properties(schema["$defs"], schema))
    assert len(found) > 100
    assert [path for path, entry in found.items() if not entry.get("description")] == []


def test_defaults() -> None:
    schema = json_schema()["$defs"]["complete"]
    assert schema["properties"]["elements"]["default"] == 83
    assert schema["$defs"]["NeighborOptions"]["properties"]["ties"]["default"] == "inclusive"
    assert schema["$defs"]["EdgeSetOptions"]["properties"]["max_neighbors"]["default"] is None


def test_it_is_json() -> None:
    assert json.loads(json.dumps(json_schema())) == json_schema()


def errors(document: Any) -> list[str]:
    """Paths of what a validator finds, by the draft."""
    return [error.json_path for error in validator().iter_errors(document)]


@functools.cache
def validator() -> Any:
    return pytest.importorskip("jsonschema").Draft202012Validator(json_schema())


def test_it_is_a_valid_schema() -> None:
    pytest.importorskip("jsonschema").Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", PAPER_CONFIGS, ids=[path.stem for path in PAPER_CONFIGS])
def test_paper_configs(path: Path) -> None:
    assert errors(yaml.safe_load(path.read_text(encoding="utf-8"))) == []


def test_whole_specs() -> None:
    assert errors(yaml.safe_load(SMALL)) == []
    assert errors(small_spec().to_dict()) == []
    own = {"interactions.mine": {"gate": 3}, "bases.radial": {"type": "my_lab:Basis"}, "heads.forces": None}
    assert errors(small_spec(own).to_dict()) == []
    bases = {"interactions.triplet.bases": {"radial": {"type": "gaussian", "count": 3}}}
    assert errors(small_spec(bases).to_dict()) == []
    assert errors({"elements": 3}) == ["$"] * 7
    assert errors(small_spec().to_dict() | {"size": 3}) == ["$"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sizes: {atom: 3}",
        "interactions: {quadruplet: null, mine: null}",
        "graphs: {quad: null}",
        "interactions: {triplet: {down: 3}}",
        "interactions: {far: {type: triplet, down: 3}}",
        "interactions: {triplet: {type: my_lab:Block, gate: 3}}",
        "interactions: {mine: {gate: 3}}",
        "bases: {radial: {count: 3}}",
        "interactions: {near: {type: triplet, graph: near, bases: {radial: {count: 3}, circular: null}}}",
        "interactions: {triplet: {bases: null, symmetric: false, scale_factor: false}}",
        "interactions: {edge_atom: {senders: near, bases: {radial: {type: mine, width: 3}}}}",
        "bases: {radial: {type: mine, width: 3}}",
        "bases: {spherical: null, angular_radial: null}",
        "heads: {forces: null}",
        "heads: {forces: {type: gradient}}",
        "heads: {forces: {coupled: true}}",
    ],
)
def test_differences(text: str) -> None:
    assert errors(yaml.safe_load(f"extends: a.yaml\n{text}")) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("size: {atom: 3}", "$"),
        ("sizes: {atm: 3}", "$.sizes"),
        ("sizes: {atom: '3'}", "$.sizes.atom"),
        ("sizes: null", "$.sizes"),
        ("interactions: {triplet: {dwn: 3}}", "$.interactions.triplet"),
        ("interactions: {far: {type: triplet, dwn: 3}}", "$.interactions.far"),
        ("interactions: {far: 3}", "$.interactions.far"),
        ("graphs: {main: {cutoff: 0}}", "$.graphs.main"),
        ("bases: {radial: {type: gaussian, cnt: 3}}", "$.bases.radial"),
        ("bases: {radial: {cnt: 3}}", "$.bases.radial"),
        ("interactions: {triplet: {bases: {radiall: {count: 3}}}}", "$.interactions.triplet"),
        ("interactions: {edge_atom: {symmetric: false}}", "$.interactions.edge_atom"),
        ("heads: {forces: {type: dirct}}", "$.heads.forces"),
    ],
)
def test_wrong_differences(text: str, path: str) -> None:
    assert errors(yaml.safe_load(f"extends: a.yaml\n{text}")) == [path]
