"""Files and names of specs, and the schema of shipped files."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import yaml
from small_specs import PAPER_CONFIGS, SMALL, error_of, small_spec, write

from gemnet_blocks.ablation.study_schema import json_schema as study_schema
from gemnet_blocks.spec import json_schema, load_spec
from gemnet_blocks.spec.editor import compact
from gemnet_blocks.training import json_schema as training_schema
from gemnet_blocks.util.shipped import described, shipped_folder, shipped_names


def test_specs_that_the_library_ships_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    published = {path.stem: load_spec(path) for path in PAPER_CONFIGS if path.stem in ("gemnet-oc", "symmetric")}
    assert load_spec("gemnet-oc") == published["gemnet-oc"]
    path = write(tmp_path, extending="extends: symmetric\nsizes: {edge: 8}\n")
    assert load_spec(path) == published["symmetric"].patch({"sizes.edge": 8})
    (tmp_path / "symmetric").write_text(SMALL)  # a file of this name comes first
    assert load_spec("symmetric") == small_spec()
    (tmp_path / "gemnet-oc").mkdir()  # a folder of this name does not
    assert load_spec("gemnet-oc") == published["gemnet-oc"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gemnet-co", "; did you mean 'gemnet-oc'? `gemnet-blocks specs` lists the names that the library ships"),
        ("GemNet-OC", "; did you mean 'gemnet-oc'? `gemnet-blocks specs` lists the names that the library ships"),
        ("painn", "; did you mean 'equivariant/painn'? `gemnet-blocks specs` lists the names that the library ships"),
        ("paper_configs/gemnet-oc.yaml", "; did you mean 'gemnet-oc'?"),
        ("small.yml", "; did you mean 'small.yaml'?"),
        ("nothing alike", "; `gemnet-blocks specs` lists the names that the library ships"),
    ],
)
def test_unknown_names_suggest_known_ones(
    name: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert error_of(load_spec, name) == f"{name}: there is no such file{meant}"


def test_names_of_other_documents_are_told_apart() -> None:
    assert "is a study, not a spec: `gemnet-blocks ablate` takes it" in error_of(load_spec, "studies/neighbors")
    assert "is a training config, not a spec" in error_of(load_spec, "training/gemnet-oc-is2re")


def test_specs_are_read_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they extend is relative to the current folder."""
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    extending, wrong = (io.TextIOWrapper(io.BytesIO(text)) for text in (b"extends: small.yaml", b"blocks: 1"))
    monkeypatch.setattr("sys.stdin", extending)
    assert load_spec("-") == small_spec()
    monkeypatch.setattr("sys.stdin", wrong)
    assert "standard input:1: blocks" in error_of(load_spec, "-")


SCHEMAS = {"spec": json_schema, "training": training_schema, "study": study_schema}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_schema_files_are_current(kind: str) -> None:
    """`make schemas` writes them."""
    path = shipped_folder() / f"{kind}.schema.json"
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(compact(SCHEMAS[kind]())))


def test_compact_schemas_find_the_same_errors() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    whole, short = json_schema(), compact(json_schema())
    assert len(json.dumps(short)) < len(json.dumps(whole)) / 4
    for wrong in ("sizes: {atom: -1}", "blocks: {}", "elements: 3\nextends: x\ngraphs: {main: {cutof: 3}}", SMALL):
        found = [
            sorted(error.json_path for error in jsonschema.Draft202012Validator(one).iter_errors(yaml.safe_load(wrong)))
            for one in (whole, short)
        ]
        assert found[0] == found[1]
        assert bool(found[0]) == (wrong != SMALL)


EVERY_FILE = sorted(shipped_folder().rglob("*.yaml"))


def test_editors_find_the_schema_of_every_shipped_file() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schemas = {
        kind: jsonschema.Draft202012Validator(json.loads((shipped_folder() / f"{kind}.schema.json").read_text("utf-8")))
        for kind in SCHEMAS
    }
    folders = {"recipes": "training", "studies": "study", "training": "training"}
    for path in EVERY_FILE:
        text = path.read_text(encoding="utf-8")
        found = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
        assert found, path
        schema = (path.parent / found[1]).resolve()
        assert schema.is_file(), path
        kind = folders.get(path.parent.name, "spec")
        assert schema.name == f"{kind}.schema.json", path
        if kind != "spec":  # the schema of specs is tested with every shipped spec elsewhere
            content = yaml.safe_load(text)
            if path.parent.name == "recipes":  # which leave these fields to those who extend them
                content["data"] |= {"files": ["frames.xyz"], "units": "eV", "energy": "total"}
            assert [error.message for error in schemas[kind].iter_errors(content)] == [], path


def test_shipped_files_are_described() -> None:
    kinds = ("a spec", "a study", "a training config")
    names = [name for kind in kinds for name in shipped_names(kind)]  # type: ignore[arg-type]
    assert sorted(names) == sorted(path.relative_to(shipped_folder()).with_suffix("").as_posix() for path in EVERY_FILE)
    assert all(5 < len(described(name)) < 330 and "#" not in described(name) for name in names)
    assert described("gemnet-oc") == "GemNet-OC, base model"
