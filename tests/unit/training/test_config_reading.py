from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gemnet_blocks.errors import SpecError
from gemnet_blocks.training import json_schema, load_config

CONFIGS = Path(__file__).parents[3] / "paper_configs"
TEXT = f"""\
model:
  extends: {CONFIGS / "symmetric.yaml"}
  sizes: {{atom: 8}}
data:
  files: [data/one.xyz]
  units: eV
  energy: total
  batch: {{structures: 5}}
loss:
  energy: {{type: mse}}
  forces: {{type: l2mae, weight: 10}}
schedule: {{type: cosine, warmup: 10}}
training: {{steps: 100, precision: 64}}
"""


def write(folder: Path, text: str = TEXT) -> Path:
    path = folder / "train.yaml"
    path.write_text(text)
    return path


def message(path: Path, **patches: object) -> str:
    with pytest.raises(SpecError) as caught:
        load_config(path, patches)
    return str(caught.value)


def test_a_model_extends_a_file_and_paths_are_relative_to_the_config(tmp_path: Path) -> None:
    config = load_config(write(tmp_path))
    assert config.model.sizes.atom == 8
    assert config.model.sizes.edge == 64
    assert config.training.precision == "64"
    assert config.folder == tmp_path


def test_a_model_may_be_the_path_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(f"extends: {CONFIGS / 'symmetric.yaml'}\nsizes: {{edge: 16}}\n")
    lines = TEXT.splitlines(keepends=True)
    config = load_config(write(tmp_path, "model: spec.yaml\n" + "".join(lines[3:])), {"model.blocks.count": 1})
    assert config.model.sizes.edge == 16
    assert config.model.blocks.count == 1


def test_patches_reach_the_model_and_everything_else(tmp_path: Path) -> None:
    changes = {"model.interactions.quadruplet": None, "training.steps": 3, "loss.forces.type": "mse"}
    config = load_config(write(tmp_path), changes)
    assert "quadruplet" not in config.model.interactions
    assert config.training.steps == 3
    assert config.loss.forces is not None
    assert (config.loss.forces.type, config.loss.forces.weight) == ("mse", 10)


def test_another_type_keeps_the_fields_that_it_has_too(tmp_path: Path) -> None:
    split = "  split: {type: random, train: 20, validation: 5}\n"
    path = write(tmp_path, TEXT.replace("  batch:", split + "  batch:"))
    changes = {
        "data.split": {"type": "group", "key": "name", "test": 1},
        "schedule": {"type": "exponential", "rate": 0.5, "every": 10},
        "loss.forces.type": "huber",
    }
    config = load_config(path, changes)
    assert config.data.split is not None
    assert config.data.split.model_dump(exclude_defaults=True) == {
        **changes["data.split"],  # type: ignore[dict-item]
        "validation": 5,
    }
    assert config.schedule.warmup == 10
    assert config.loss.forces is not None
    assert config.loss.forces.weight == 10


def test_unknown_fields_of_a_chosen_type_are_not_taken_for_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT.replace("  batch:", "  split: {type: group, key: name, train: 20}\n  batch:"))
    known = "type, key, pattern, validation, test, seed, keep_elements"
    assert f"data.split.train: unknown field; known: {known}" in message(path)


def test_written_configs_read_as_the_same(tmp_path: Path) -> None:
    config = load_config(write(tmp_path))
    again = load_config(write(tmp_path, yaml.safe_dump(config.to_dict())))
    assert again == config


def test_one_error_lists_all_problems_with_their_lines(tmp_path: Path) -> None:
    text = TEXT.replace("atom: 8", "atmo: 8").replace("weight: 10", "wieght: 10").replace("steps: 100", "steps: many")
    told = message(write(tmp_path, text))
    path = tmp_path / "train.yaml"
    assert f"{path}:3: sizes.atmo: unknown field; did you mean 'atom'?" in told
    assert f"{path}:11: loss.forces.wieght: unknown field; did you mean 'weight'?" in told
    assert f"{path}:13: training.steps: must be an integer, got 'many'" in told
    assert len(told.splitlines()) == 3


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("type: l2mae", "type: l2mea", ":11: loss.forces.type: must be .*; did you mean 'l2mae'"),
        ("type: cosine", "type: sine", ":12: schedule.type: must be one of .*'cosine'"),
        ("type: cosine, warmup", "type: cosine, wramup", ":12: schedule.wramup: unknown field; did you mean 'warmup'"),
        ("steps: 100, ", "", ":13: training: needs a budget: steps, epochs or minutes"),
        ("structures: 5", "", ":8: data.batch: .*needs exactly one of structures, atoms and edges"),
        ("units: eV", "", "data: .*needs units"),
        (
            "type: cosine, warmup: 10",
            "type: plateau, metric: force_mae",
            "schedule.metric: must be .loss., .* did you mean .forces_mae.",
        ),
        ("type: l2mae", "type: 3", "loss.forces.type: must be 'mae', .*, got 3"),
        ("loss:", "references: {scale: 0}\nloss:", "scale: must be 'force_rms' or greater than 0, got 0"),
        ("loss:", "references: {scale: -2.9}\nloss:", "scale: must be 'force_rms' or greater than 0, got -2.9"),
        ("loss:", "references: {scale: rms}\nloss:", "scale: must be 'force_rms' or a number, got 'rms'"),
        ("loss:", "references: {scale: .nan}\nloss:", "scale: must be finite, got nan"),
        ("loss:", "references: {mean: -.inf}\nloss:", "mean: must be finite, got -inf"),
        ("loss:", "references: {mean: true}\nloss:", "mean: must be a number, got true"),
        (
            "symmetric.yaml",
            "symetric.yaml",
            "model.extends: .*symetric.yaml does not exist; did you mean 'symmetric.yaml'",
        ),
    ],
)
def test_problems(tmp_path: Path, before: str, after: str, told: str) -> None:
    import re

    found = message(write(tmp_path, TEXT.replace(before, after)))
    assert re.search(told, found), found


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"references.per_element": {"Cu": "a", "Ni": 1}}, "references.per_element.Cu: must be a number, got 'a'"),
        (
            {"training.execution.angular": {"triplet": "fast"}},
            "training.execution.angular.triplet: must be 'auto', 'factorized' or 'explicit', got 'fast'",
        ),
        ({"data.files": [1, "b.xyz"]}, "data.files.0: must be text, got 1"),
        ({"training.validate_every": {"steps": "3"}}, "validate_every.steps: must be an integer, got '3'; remove"),
    ],
)
def test_a_wrong_entry_of_a_mapping_or_list_is_the_only_problem(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(SpecError) as caught:
        load_config(write(tmp_path), changes)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"per_element.Xx": -3}, r"references.per_element.Xx: expected the symbol.*got 'Xx'; did you mean Xe\?"),
        ({"per_element.cu": -3}, r"references.per_element.cu: .* got 'cu'; did you mean Cu\?"),
        ({"per_element.copper": -3}, r"references.per_element.copper: .*; did you mean Cu\?"),
        ({"per_element": {"119": -3}}, r"references.per_element.119: .* from 1 to 118, got '119'"),
        ({"Xx": -3}, r"references: expected the symbol of an element.*did you mean Xe\?"),
        ({"Cu": -3}, r"references: energies of elements belong under per_element: write per_element: {Cu: ...}"),
    ],
)
def test_reference_energies_of_unknown_elements(tmp_path: Path, given: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told) as caught:
        load_config(write(tmp_path), {f"references.{name}": value for name, value in given.items()})
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_model_is_an_error(tmp_path: Path) -> None:
    found = message(write(tmp_path, "".join(TEXT.splitlines(keepends=True)[3:])))
    assert found.endswith("model: is missing")


def test_a_missing_section_is_an_error(tmp_path: Path) -> None:
    found = message(write(tmp_path, TEXT.replace("loss:", "lsos:")))
    assert "lsos: unknown field; did you mean 'loss'?" in found
    assert "loss: is missing" in found


def test_the_schema_admits_what_can_be_read_and_refuses_what_cannot(tmp_path: Path) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    data = yaml.safe_load(TEXT)
    data["training"]["precision"] = "64"
    validator.validate(data)
    validator.validate({**data, "model": "spec.yaml"})
    for wrong in ({"loss": {"forces": {"wieght": 1}}}, {"model": {"extends": "a.yaml", "sizes": {"atmo": 1}}}):
        assert not validator.is_valid({**data, **wrong})


def extending(folder: Path, text: str, base: str = TEXT) -> Path:
    (folder / "base").mkdir(exist_ok=True)
    write(folder / "base", base)
    return write(folder, f"extends: base/train.yaml\n{text}")


def test_a_config_extends_another_one(tmp_path: Path) -> None:
    changes = "model: {sizes: {edge: 16}}\ndata: {files: [mine.xyz]}\nloss: {energy: {weight: 3}, forces: null}\n"
    config = load_config(extending(tmp_path, changes), {"training.seed": 5})
    assert (config.model.sizes.atom, config.model.sizes.edge) == (8, 16)
    assert (config.data.files, config.data.units.energy, config.data.batch.structures) == (("mine.xyz",), "eV", 5)
    assert config.loss.energy is not None
    assert (config.loss.energy.type, config.loss.energy.weight, config.loss.forces) == ("mse", 3, None)
    assert (config.training.steps, config.training.seed) == (100, 5)
    assert config.folder == tmp_path


def test_specs_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    lines = TEXT.splitlines(keepends=True)
    base = "model: spec.yaml\n" + "".join(lines[3:])
    path = extending(tmp_path, "model: {blocks: {count: 1}}", base)
    (tmp_path / "base" / "spec.yaml").write_text("extends: symmetric\nsizes: {edge: 16}\n")
    config = load_config(path)
    assert (config.model.sizes.edge, config.model.blocks.count) == (16, 1)
    path.write_text("extends: base/train.yaml\nmodel: {extends: symmetric, blocks: {count: 1}}")
    config = load_config(path)
    assert (config.model.sizes.edge, config.model.blocks.count) == (64, 1)
    path.write_text("extends: base/train.yaml\nmodel: triplets-only")
    assert load_config(path, {"model": "symmetric"}).model.blocks.count == 2


def test_another_budget_replaces_that_of_the_extended_config(tmp_path: Path) -> None:
    assert load_config(extending(tmp_path, "training: {minutes: 3, seed: 4}")).training.steps is None
    assert load_config(extending(tmp_path, "training: {seed: 4}")).training.steps == 100


def test_extended_configs_extend_others(tmp_path: Path) -> None:
    first = extending(tmp_path, "training: {seed: 4}")
    second = tmp_path / "second.yaml"
    second.write_text("extends: train.yaml\ntraining: {clip: 3}\n")
    config = load_config(second)
    assert (config.training.seed, config.training.clip, config.training.steps) == (4, 3, 100)
    first.write_text("extends: second.yaml\n")
    assert "second.yaml extends this file in turn" in message(second)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("extends: [a.yaml, b.yaml]", "train.yaml:1: extends: expected the path of one training config, got"),
        ("extends: recipes/molecul", "extends: .*recipes/molecul does not exist; did you mean 'recipes/molecule'"),
        ("extends: gemnet-oc", "gemnet-oc.yaml.*: is a spec, not a training config"),
        ("extends: base/train.yaml\nloss: {energy: {wieght: 1}}", "train.yaml:2: loss.energy.wieght: unknown field"),
        ("extends: base/train.yaml\nmodel: {sizes: {egde: 1}}", "train.yaml:2: .*sizes.egde: unknown field"),
        ("extends: base/train.yaml\nmodel: 3", "train.yaml:2: model: must be a spec or the path of one, got 3"),
    ],
)
def test_wrong_extensions(text: str, found: str, tmp_path: Path) -> None:
    extending(tmp_path, "")
    assert re.search(found, message(write(tmp_path, text)))


def test_problems_of_extended_configs_name_their_file(tmp_path: Path) -> None:
    path = extending(tmp_path, "training: {seed: -1}", TEXT.replace("weight: 10", "weight: -1"))
    found = message(path)
    assert re.search(r"base/train.yaml:11: loss.forces.weight: ", found)
    assert re.search(r"train.yaml:2: training.seed: ", found)


def test_the_schema_of_extending_configs(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    for text in ("data: {files: [a.xyz]}", "model: {sizes: {edge: 3}}", "model: other.yaml", "training: {seed: 1}"):
        assert validator.is_valid({"extends": "recipes/molecule", **yaml.safe_load(text)}), text
    for text in ("data: {file: [a.xyz]}", "model: {sizes: {egde: 3}}", "model: {sizes: {edge: -3}}", "extend: a"):
        assert not validator.is_valid({"extends": "recipes/molecule", **yaml.safe_load(text)}), text
