from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from gemnet_blocks.training.earlier import HEADING, set_aside

RESULTS = [
    *("best.safetensors", "last.safetensors", "log.csv", "tensorboard/events", "not-finite-0.extxyz"),
    *("summary.json", "predictions.csv", "test/summary.json", "test/predictions.csv"),
]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_all_results_of_an_earlier_run_are_moved_and_other_files_stay(tmp_path: Path) -> None:
    own = ["train.yaml", "structures.xyz", "run.json", "relaxed.xyz", "other/summary.json"]
    write(tmp_path, [*RESULTS, *own])
    with pytest.warns(UserWarning, match=r"starts from scratch.*best\.safetensors.* moved to .*earlier-1"):
        set_aside(tmp_path)
    assert files(tmp_path) == {*own, *(f"earlier-1/{name}" for name in RESULTS)}

    write(tmp_path, ["log.csv"])
    with pytest.warns(UserWarning, match=r"\(log\.csv\) were moved to .*earlier-2"):
        set_aside(tmp_path)
    assert files(tmp_path) == {*own, "earlier-2/log.csv", *(f"earlier-1/{name}" for name in RESULTS)}


def test_a_config_that_the_user_wrote_is_kept(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: ...")
    with pytest.warns(UserWarning, match=r"config\.yaml"):
        set_aside(tmp_path)
    assert files(tmp_path) == {"earlier-1/config.yaml"}


def test_folders_without_a_run_stay(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(HEADING)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_aside(tmp_path)
    assert files(tmp_path) == {"config.yaml"}
