"""Training configs, runs, neighbor caches and evaluations of earlier versions."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch
from recording import VERSIONS, assert_close, read_json
from typer.testing import CliRunner

from gemnet_blocks.cli import app
from gemnet_blocks.potential.model_file import load_potential
from gemnet_blocks.training import load_config, train

CONFIGS = [
    (version, path.stem)
    for version in VERSIONS
    for path in sorted((version / "training_configs").glob("*.yaml"))
    if path.with_suffix(".resolved.yaml").exists()
]


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the run of each version in turn: data, config, cache and results."""
    return shutil.copytree(request.param / "run", tmp_path / "run")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_same_table(path: Path, recorded: Path, tolerance: float, without: tuple[str, ...] = ()) -> None:
    """Compare two tables, whose columns have the same names in the same order."""
    found, before = rows(path), rows(recorded)
    assert list(found[0]) == list(before[0])
    assert len(found) == len(before)
    for one, other in zip(found, before, strict=True):
        for name in one.keys() - set(without):
            try:
                value = float(other[name])
            except ValueError:
                assert one[name] == other[name], name
            else:
                assert_close(float(one[name]), value, tolerance * max(1, abs(value)), name)


def content(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_interrupted_run_ends_where_an_uninterrupted_one_did(run: Path) -> None:
    assert len(rows(run / "interrupted" / "log.csv")) < len(rows(run / "finished" / "log.csv"))
    assert len(list((run / "neighbors").rglob("*.safetensors"))) == 16, "the neighbors of all structures are kept"
    best = train(load_config(run / "train.yaml"), run / "interrupted", resume=True)
    assert best == run / "interrupted" / "best.safetensors"
    assert_same_table(run / "interrupted" / "log.csv", run / "finished" / "log.csv", 1e-6, without=("seconds",))
    for name in ("best", "last"):
        found, expected = (
            load_potential(run / folder / f"{name}.safetensors").state_dict() for folder in ("interrupted", "finished")
        )
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.allclose(found[key], value, rtol=1e-6, atol=1e-6), f"{name}: {key}"


def test_a_finished_run_is_left_as_it_is(run: Path) -> None:
    before = content(run / "finished")
    assert train(load_config(run / "train.yaml"), run / "finished") == run / "finished" / "best.safetensors"
    after = content(run / "finished")
    # the resolved config is written again, in the words of today
    assert {path for path in before if after.get(path) != before[path]} <= {Path("config.yaml")}


def test_the_config_in_a_run_folder_is_that_of_the_run(run: Path) -> None:
    given, resolved = load_config(run / "train.yaml"), load_config(run / "finished" / "config.yaml")
    assert given.to_dict() == resolved.to_dict()


def test_evaluations_have_the_same_columns_and_numbers(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)
    arguments = ["evaluate", "finished/best.safetensors", "train.yaml", "--output", "again", "--atoms"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    for name in ("predictions.csv", "atoms.csv"):
        assert_same_table(run / "again" / name, run / "errors" / name, 1e-8)
    assert read_json(run / "again" / "summary.json").keys() >= read_json(run / "errors" / "summary.json").keys()


@pytest.mark.parametrize(("version", "name"), CONFIGS)
def test_training_configs_mean_what_they_did(version: Path, name: str) -> None:
    folder = version / "training_configs"
    assert load_config(folder / f"{name}.yaml").to_dict() == load_config(folder / f"{name}.resolved.yaml").to_dict()
