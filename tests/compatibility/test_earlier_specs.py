"""Specs of earlier versions: their content, their hashes, and every key that patches named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from recording import VERSIONS, assert_close, predictions, read_json, read_structures
from yaml import safe_load

from gemnet_blocks.ablation import Study
from gemnet_blocks.potential import Potential, References
from gemnet_blocks.spec import Execution, Spec, build, json_schema, load_spec, parse_assignment

ROOT = Path(__file__).parents[2]
SPECS = [(version, name) for version in VERSIONS for name in read_json(version / "specs.json")]


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def version(request: pytest.FixtureRequest) -> Path:
    """The folder of each version in turn."""
    return request.param


@pytest.mark.parametrize(("version", "name"), SPECS)
def test_spec_files_mean_what_they_did(version: Path, name: str) -> None:
    recorded = read_json(version / "specs.json")[name]
    spec = load_spec(version / "specs" / name)
    assert spec.content_hash == recorded["content_hash"]
    resolved = Spec.from_yaml(recorded["resolved"])
    assert resolved == spec
    assert Spec.from_yaml(spec.to_yaml()) == spec


def test_published_specs_have_the_hashes_that_they_had(version: Path) -> None:
    recorded = read_json(version / "specs.json")
    published = {name: one["content_hash"] for name, one in recorded.items() if name.startswith("paper_configs/")}
    assert len(published) > 25
    assert {name: load_spec(ROOT / name).content_hash for name in published} == published


@pytest.mark.parametrize("name", ["all-interactions.yaml", "gemnet-dt.yaml", "mean-energy.yaml"])
def test_every_key_can_still_be_patched(version: Path, name: str) -> None:
    """Giving a field the value that it has changes nothing, whatever the field is called today."""
    spec = load_spec(version / "specs" / name)
    paths = dict(_leaves(safe_load(read_json(version / "specs.json")[name]["resolved"])))
    assert {"read_out.layers", "sizes.atom", "bases.collinear.type", "heads.energy.reduce"} <= paths.keys()
    for path, value in paths.items():
        assert spec.patch({path: value}) == spec, path


def _leaves(content: Any, route: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        path = f"{route}.{key}" if route else key
        if isinstance(value, dict):
            yield from _leaves(value, path)
        else:
            yield path, value


def test_changes_on_the_command_line_are_read(version: Path) -> None:
    changes = ["read_out.layers=2", "interactions.quadruplet=null", "heads.forces.type=direct", "neighbors.ties=strict"]
    spec = load_spec(version / "specs" / "all-interactions.yaml", dict(map(parse_assignment, changes)))
    assert "quadruplet" not in spec.interactions
    assert spec.content_hash != load_spec(version / "specs" / "all-interactions.yaml").content_hash
    assert spec == load_spec(version / "specs" / "all-interactions.yaml").patch(
        {
            "read_out": {"layers": 2},
            "interactions": {"quadruplet": None},
            "heads": {"forces": {"type": "direct"}},
            "neighbors": {"ties": "strict"},
        }
    )


@pytest.mark.parametrize(
    "options",
    [
        {"angular": "factorised"},
        {"angular": {"triplet": "explicit", "quadruplet": "factorised"}, "atoms_at_most": 2},
        {"search": "torch", "sums": "torch", "matmul": "float32", "memory_budget": None, "compile": False},
    ],
)
def test_executions_are_read_and_change_no_result(version: Path, options: dict[str, Any]) -> None:
    spec = load_spec(version / "specs" / "published-rules.yaml")
    atoms = read_structures(version)["periodic"]
    references = References(dict.fromkeys(map(int, atoms.numbers), 0.0), scale=1.0, meaning="total")

    def computed(execution: Execution | None) -> dict[str, Any]:
        model = build(spec, seed=0, execution=execution).double()
        return predictions(Potential(model, spec, references).eval(), atoms)

    found, expected = computed(Execution(**options)), computed(None)
    for name in ("energy", "forces"):
        assert_close(found[name], expected[name], 1e-10, name)


def test_the_schema_for_editors_accepts_every_spec_file(version: Path) -> None:
    validator = Draft202012Validator(json_schema())
    for path in (version / "specs").glob("*.yaml"):
        problems = [error.message for error in validator.iter_errors(safe_load(path.read_text(encoding="utf-8")))]
        assert not problems, f"{path.name}: {problems[:3]}"


def test_published_studies_are_read(version: Path) -> None:
    paths = sorted(path for path in (version / "specs/paper_configs/studies").glob("*.yaml") if path.stem != "common")
    assert len(paths) > 9
    for path in paths:
        assert Study.from_file(path).folder == path.parent / path.stem
